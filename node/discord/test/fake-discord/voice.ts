/** Discord's voice servers, as far as a bot that only talks notices: the version 8 WebSocket, IP discovery, RTP. */

import { createDecipheriv, randomBytes } from "node:crypto";
import { createSocket, type Socket } from "node:dgram";
import { EventEmitter, once } from "node:events";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { xchacha20poly1305 } from "@noble/ciphers/chacha.js";
import {
  VoiceEncryptionMode,
  VoiceOpcodes,
  type VoiceReadyData,
  type VoiceSendPayload,
  type VoiceSessionDescriptionData,
} from "discord-api-types/voice/v8";
import { type WebSocket, WebSocketServer } from "ws";
import type { Certificate } from "./certificate.ts";

const HEARTBEAT_MS = 5_000;
const WAIT_MS = 15_000;
const RTP_HEADER = 12;
const DISCOVERY_REQUEST = 1;
const DISCOVERY_ANSWER = 2;

/** What a bot sends when it has nothing to send. */
const SILENCE = "f8fffe";

/** One packet as it was heard. */
export interface Rtp {
  /** Ms, when it came. */
  at: number;
  sequence: number;
  timestamp: number;
}

/** What came of one bot in one guild since it identified itself. */
export interface Line {
  guildId: string;
  sessionId: string;
  ssrc: number;
  key: Buffer;
  mode: VoiceEncryptionMode;
  socket: WebSocket;
  packets: Rtp[];
  /** The packets' payloads in hex, but for silence. */
  sounds: string[];
  resumes: number;
}

export class FakeVoice extends EventEmitter<{ packet: [string]; resumed: [string]; quiet: [string] }> {
  readonly #server: Server;
  readonly #udp: Socket = createSocket("udp4");
  readonly #lines: Line[] = [];
  /** The one mode offered, by guild; else AES. */
  readonly modes = new Map<string, VoiceEncryptionMode>();

  private constructor(certificate: Certificate) {
    super();
    this.#server = createServer(certificate);
    new WebSocketServer({ server: this.#server }).on("connection", (socket) => this.#greet(socket));
    this.#udp.on("message", (message, { address, port }) => {
      if (message.readUInt16BE(0) === DISCOVERY_REQUEST)
        this.#udp.send(discovered(message, address, port), port, address);
      else if (message.length > RTP_HEADER) this.#hear(message);
    });
  }

  static async start(certificate: Certificate): Promise<FakeVoice> {
    const voice = new FakeVoice(certificate);
    voice.#server.listen(0, "127.0.0.1");
    voice.#udp.bind(0, "127.0.0.1");
    await Promise.all([once(voice.#server, "listening"), once(voice.#udp, "listening")]);
    return voice;
  }

  /** For VOICE_SERVER_UPDATE. */
  get endpoint(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What the guild has heard since the bot joined it last; undefined before that. */
  line(guildId: string): Line | undefined {
    return this.#lines.findLast((line) => line.guildId === guildId);
  }

  /** Resolves as soon as `reached` is true of the guild's line; it is asked at each packet. */
  async until(guildId: string, reached: (line: Line) => boolean): Promise<void> {
    const signal = AbortSignal.timeout(WAIT_MS);
    for (;;) {
      const line = this.line(guildId);
      if (line !== undefined && reached(line)) return;
      await once(this, "packet", { signal });
    }
  }

  /** Cuts the guild's WebSocket, or closes it with a code. */
  drop(guildId: string, code?: number): void {
    const socket = this.line(guildId)?.socket;
    if (code === undefined) socket?.terminate();
    else socket?.close(code);
  }

  async close(): Promise<void> {
    for (const { socket } of this.#lines) socket.terminate();
    this.#udp.close();
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  #greet(socket: WebSocket): void {
    const say = (op: VoiceOpcodes, d: unknown) => socket.send(JSON.stringify({ op, d }));
    say(VoiceOpcodes.Hello, { v: 8, heartbeat_interval: HEARTBEAT_MS });
    socket.on("message", (data) => {
      const message = JSON.parse(String(data)) as VoiceSendPayload;
      if (message.op === VoiceOpcodes.Identify) {
        say(VoiceOpcodes.Ready, this.#identify(socket, message.d.server_id, message.d.session_id));
      } else if (message.op === VoiceOpcodes.Resume) {
        const { server_id, session_id } = message.d;
        const line = this.#lines.findLast((other) => other.guildId === server_id && other.sessionId === session_id);
        if (line === undefined) return socket.close(4006);
        line.socket = socket;
        line.resumes += 1;
        say(VoiceOpcodes.Resumed, null);
        this.emit("resumed", line.guildId);
      } else if (message.op === VoiceOpcodes.SelectProtocol) {
        const { key, mode } = this.#lineOf(socket);
        const d: VoiceSessionDescriptionData = { mode, secret_key: [...key], dave_protocol_version: 0 };
        say(VoiceOpcodes.SessionDescription, d);
      } else if (message.op === VoiceOpcodes.Heartbeat) {
        say(VoiceOpcodes.HeartbeatAck, { t: message.d.t });
      } else if (message.op === VoiceOpcodes.Speaking) {
        if (Number(message.d.speaking) === 0) this.emit("quiet", this.#lineOf(socket).guildId);
      }
    });
  }

  #identify(socket: WebSocket, guildId: string, sessionId: string): VoiceReadyData {
    const mode = this.modes.get(guildId) ?? VoiceEncryptionMode.AeadAes256GcmRtpSize;
    const ssrc = 1000 + this.#lines.length;
    const state = { packets: [], sounds: [], resumes: 0 };
    this.#lines.push({ guildId, sessionId, ssrc, key: randomBytes(32), mode, socket, ...state });
    const { port } = this.#udp.address();
    return { ssrc, ip: "127.0.0.1", port, modes: [mode] };
  }

  #lineOf(socket: WebSocket): Line {
    const line = this.#lines.find((other) => other.socket === socket);
    if (line === undefined) throw new Error("a voice client did not identify itself");
    return line;
  }

  #hear(message: Buffer): void {
    const line = this.#lines.find(({ ssrc }) => ssrc === message.readUInt32BE(8));
    if (line === undefined) throw new Error("a packet of nobody");
    line.packets.push({ at: Date.now(), sequence: message.readUInt16BE(2), timestamp: message.readUInt32BE(4) });
    const payload = decrypt(line, message).toString("hex");
    if (payload !== SILENCE) line.sounds.push(payload);
    this.emit("packet", line.guildId);
  }
}

/** The header is authenticated, the last 4 bytes begin the nonce. Throws if anything is not right. */
function decrypt({ key, mode }: Line, message: Buffer): Buffer {
  const header = message.subarray(0, RTP_HEADER);
  const sealed = message.subarray(RTP_HEADER, -4);
  if (mode === VoiceEncryptionMode.AeadXChaCha20Poly1305RtpSize) {
    const nonce = Buffer.concat([message.subarray(-4)], 24);
    return Buffer.from(xchacha20poly1305(key, nonce, header).decrypt(sealed));
  }
  const decipher = createDecipheriv("aes-256-gcm", key, Buffer.concat([message.subarray(-4)], 12));
  decipher.setAAD(header).setAuthTag(sealed.subarray(-16));
  return Buffer.concat([decipher.update(sealed.subarray(0, -16)), decipher.final()]);
}

/** Tells the bot its own address. */
function discovered(request: Buffer, address: string, port: number): Buffer {
  const answer = Buffer.from(request);
  answer.writeUInt16BE(DISCOVERY_ANSWER, 0);
  answer.write(`${address}\0`, 8);
  answer.writeUInt16BE(port, answer.length - 2);
  return answer;
}
