/**
 * Raw 20 ms Opus packets in, 48 kHz stereo samples out: by the browser's own decoder where there is one (WebCodecs), else by libopus
 * compiled to WebAssembly.
 */

/** @typedef {{ left: Float32Array, right: Float32Array }} Block */
/**
 * One block for each packet, in their order.
 * @typedef {object} Output
 * @property {(block: Block) => void} block
 * @property {(packets: number) => void} lost packets that give no sound
 * @property {(message: string) => void} failed this decoder is done for; the packets in it were reported as lost
 */
/** @typedef {{ kind: "WebCodecs" | "WebAssembly", decode: (packet: Uint8Array<ArrayBuffer>) => void, close: () => void }} Decoder */

const PACKET_US = 20_000;

/** @returns {boolean} */
export function hasWebCodecs() {
  return typeof AudioDecoder === "function";
}

/** @param {Output} output @returns {Decoder} */
export function webCodecs(output) {
  let fed = 0;
  let answered = 0;
  let open = true;
  const decoder = new AudioDecoder({
    output(data) {
      if (open) {
        // Timestamps come back off by a microsecond now and then.
        const number = Math.round(data.timestamp / PACKET_US) + 1;
        if (number - answered > 1) output.lost(number - answered - 1);
        answered = number;
        output.block(samplesOf(data));
      }
      data.close();
    },
    error(error) {
      // The platform has closed it by now.
      if (!open) return;
      open = false;
      if (fed > answered) output.lost(fed - answered);
      output.failed(error.message);
    },
  });
  // No description: with an OpusHead the decoder would cut the pre-skip off the first packet.
  decoder.configure({ codec: "opus", sampleRate: 48_000, numberOfChannels: 2 });
  return {
    kind: "WebCodecs",
    decode(packet) {
      if (!open) return;
      decoder.decode(new EncodedAudioChunk({ type: "key", timestamp: fed * PACKET_US, data: packet }));
      fed += 1;
    },
    close() {
      open = false;
      if (decoder.state !== "closed") decoder.close();
    },
  };
}

/** @param {AudioData} data @returns {Block} */
function samplesOf(data) {
  const left = new Float32Array(data.numberOfFrames);
  data.copyTo(left, { planeIndex: 0, format: "f32-planar" });
  if (data.numberOfChannels === 1) return { left, right: left.slice() };
  const right = new Float32Array(data.numberOfFrames);
  data.copyTo(right, { planeIndex: 1, format: "f32-planar" });
  return { left, right };
}

/** @param {Output} output @returns {Decoder} */
export function webAssembly(output) {
  /** Packets that came before the module was ready; credit bounds them. @type {Uint8Array<ArrayBuffer>[]} */
  const early = [];
  /** @type {import("./vendor/opus-decoder.min.js").Decoder | undefined} */
  let decoder;
  let open = true;
  load()
    .then((ready) => {
      if (!open) return ready.free();
      decoder = ready;
      for (const packet of early.splice(0)) decode(packet);
    })
    .catch((/** @type {unknown} */ error) => {
      if (!open) return;
      open = false;
      output.lost(early.length);
      output.failed(`the WebAssembly decoder does not load: ${error instanceof Error ? error.message : error}`);
    });

  /** @param {Uint8Array<ArrayBuffer>} packet */
  function decode(packet) {
    if (!open) return;
    if (decoder === undefined) {
      early.push(packet);
      return;
    }
    const { channelData, samplesDecoded } = decoder.decodeFrame(packet);
    const [left, right] = channelData;
    if (samplesDecoded === 0 || left === undefined || right === undefined) output.lost(1);
    else output.block({ left, right });
  }

  return {
    kind: "WebAssembly",
    decode,
    close() {
      open = false;
      decoder?.free();
    },
  };
}

async function load() {
  await import("./vendor/opus-decoder.min.js");
  const left = /** @type {import("./vendor/opus-decoder.min.js").Left} */ (/** @type {unknown} */ (globalThis));
  const decoder = new left["opus-decoder"].OpusDecoder({ channels: 2 });
  await decoder.ready;
  return decoder;
}
