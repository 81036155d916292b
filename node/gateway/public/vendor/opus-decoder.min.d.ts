/** As much of opus-decoder as the page uses: loaded as a module, it leaves this in the global scope. */
export interface Decoder {
  ready: Promise<void>;
  free(): void;
  decodeFrame(packet: Uint8Array): { channelData: Float32Array<ArrayBuffer>[]; samplesDecoded: number };
}
export interface Left {
  "opus-decoder": { OpusDecoder: new (options: { channels: number }) => Decoder };
}
