import { AudioServiceError } from "./errors.ts";
import {
  isSessionId,
  LINE_MOST,
  type Message,
  NAMES_MOST,
  PACKET_MOST,
  SESSION_ID_BYTES,
  type UnknownEvent,
  type WireEvent,
} from "./messages.ts";

const BRACE = 0x7b;
const NEWLINE = 0x0a;
const LENGTH_BYTES = 4;
const HEAD_BYTES: number = LENGTH_BYTES + SESSION_ID_BYTES;
const PACKET_LEAST: number = SESSION_ID_BYTES + 1;

/** Storage for unfinished messages that is kept once it is empty; a larger one is let go. */
const KEEP_BYTES: number = 128 * 1024;

interface Field {
  fits(value: unknown): boolean;
  optional?: boolean;
}

const text: Field = { fits: (value) => typeof value === "string" };
const number: Field = { fits: Number.isFinite };
const count: Field = { fits: (value) => Number.isSafeInteger(value) && (value as number) >= 0 };
const truth: Field = { fits: (value) => typeof value === "boolean" };
const texts: Field = { fits: (value) => Array.isArray(value) && value.every(text.fits) };
const id: Field = { fits: (value) => typeof value === "string" && isSessionId(value) };
const optional = (field: Field): Field => ({ ...field, optional: true });
const among = (...values: string[]): Field => ({ fits: (value) => values.includes(value as string) });

const track = { session_id: id, track_id: text };

type Fields<E> = { [K in Exclude<keyof E, "type">]-?: Field };

/** What each event holds, in the order of the wire. */
const EVENTS: { [T in WireEvent["type"]]: Fields<Extract<WireEvent, { type: T }>> } = {
  hello: { protocol: count, features: texts, server: text },
  refused: { code: text, message: text },
  ready: {
    ...track,
    url: text,
    format: text,
    position: number,
    title: optional(text),
    duration: optional(number),
    thumbnail: optional(text),
    uploader: optional(text),
    live: optional(truth),
  },
  paused: { ...track, position: number },
  resumed: { ...track, position: number },
  seeked: { ...track, position: number, previous: number },
  recovered: { ...track, position: number },
  metadata: { ...track, title: text },
  attached: {
    ...track,
    status: among("idle", "extracting", "streaming", "paused", "stopped", "error"),
    position: number,
    packets: count,
  },
  detached: track,
  finished: { ...track, played: number },
  stopped: {
    ...track,
    reason: among("stop", "replaced", "idle_timeout", "consumer_timeout", "shutdown"),
    played: number,
  },
  error: { ...track, code: text, message: text, played: number, duration: optional(number) },
};

/**
 * The daemon's bytes to packets and events, at any split of the bytes.
 *
 * A payload is a copy, so holding one does not hold the chunk it came in. At most one unfinished message is held, and
 * each byte is copied a fixed number of times.
 */
export class Decoder {
  #rest: Buffer = Buffer.alloc(0);
  #length = 0;
  /** Length that the rest must reach before more can be told; a newline ends an event sooner. */
  #need = 0;
  #ids = new Map<string, string>();
  #fault: AudioServiceError | undefined;
  #utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

  /**
   * Why the stream cannot be followed any further: `invalid_length`, `invalid_session_id`, `invalid_event` or
   * `event_too_long`. The connection has to be closed.
   */
  get fault(): AudioServiceError | undefined {
    return this.#fault;
  }

  /** The messages that `bytes` complete, in order. After a `fault` there are none. */
  feed(bytes: Uint8Array): Message[] {
    const out: Message[] = [];
    if (this.#fault !== undefined) return out;
    let data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (this.#length > 0) {
      this.#append(data);
      if (this.#length < this.#need && !(this.#rest[0] === BRACE && data.includes(NEWLINE))) return out;
      data = this.#rest.subarray(0, this.#length);
    }
    let end = data.length;
    try {
      end = this.#decode(data, out);
    } catch (error) {
      if (!(error instanceof AudioServiceError)) throw error;
      this.#fault = error;
    }
    const left = data.subarray(end);
    this.#length = 0;
    if (left.length > 0) this.#append(left);
    else if (this.#rest.length > KEEP_BYTES) this.#rest = Buffer.alloc(0);
    return out;
  }

  /** Adds to what is left over. `data` may lie in the very storage it goes to the front of. */
  #append(data: Buffer): void {
    const length = this.#length + data.length;
    if (length > this.#rest.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(length, 2 * this.#rest.length, 512));
      this.#rest.copy(larger, 0, 0, this.#length);
      this.#rest = larger;
    }
    data.copy(this.#rest, this.#length);
    this.#length = length;
  }

  /** Puts the whole messages into `out`; returns where the first unfinished one starts. */
  #decode(data: Buffer, out: Message[]): number {
    const size = data.length;
    let at = 0;
    while (at < size) {
      const first = data[at];
      if (first === BRACE) {
        const newline = data.subarray(at, at + LINE_MOST).indexOf(NEWLINE);
        if (newline < 0) {
          if (size - at >= LINE_MOST) throw fault("event_too_long", `an event is longer than ${LINE_MOST} bytes`);
          this.#need = LINE_MOST;
          break;
        }
        out.push(this.#readEvent(data.subarray(at, at + newline)));
        at += newline + 1;
        continue;
      }
      if (first !== 0) throw fault("invalid_length", `no message begins with the byte ${first}`);
      if (size - at < LENGTH_BYTES) {
        this.#need = LENGTH_BYTES;
        break;
      }
      const length = data.readUInt32BE(at);
      if (length < PACKET_LEAST || length > PACKET_MOST) {
        throw fault("invalid_length", `a packet's length is ${PACKET_LEAST} to ${PACKET_MOST}, not ${length}`);
      }
      const end = at + LENGTH_BYTES + length;
      if (end > size) {
        this.#need = end - at;
        break;
      }
      const session_id = this.#readId(data.toString("latin1", at + LENGTH_BYTES, at + HEAD_BYTES));
      out.push({ kind: "packet", session_id, payload: Buffer.from(data.subarray(at + HEAD_BYTES, end)) });
      at = end;
    }
    return at;
  }

  #readId(field: string): string {
    const known = this.#ids.get(field);
    if (known !== undefined) return known;
    const text = field.replace(/ +$/, "");
    if (!isSessionId(text)) {
      throw fault("invalid_session_id", `a packet's session id is malformed: ${JSON.stringify(field)}`);
    }
    if (this.#ids.size >= NAMES_MOST) this.#ids.clear();
    this.#ids.set(field, text);
    return text;
  }

  #readEvent(line: Buffer): Message {
    let said: unknown;
    try {
      said = JSON.parse(this.#utf8.decode(line));
    } catch (error) {
      throw new AudioServiceError("invalid_event", "an event is not JSON in UTF-8", { cause: error });
    }
    const { type, ...fields } = said as { type?: unknown } & Record<string, unknown>;
    if (typeof type !== "string") throw fault("invalid_event", "an event has no type");
    if (!isKnown(type)) return { kind: "unknown", event: { type, fields } satisfies UnknownEvent };
    const event: Record<string, unknown> = { type };
    for (const [name, field] of Object.entries<Field>(EVENTS[type])) {
      const value = fields[name];
      if (field.optional && (value === undefined || value === null)) continue;
      if (!field.fits(value)) throw fault("invalid_event", `an event ${type} has no fitting ${name}`);
      event[name] = value;
    }
    return { kind: "event", event: event as unknown as WireEvent };
  }
}

function isKnown(type: string): type is WireEvent["type"] {
  return Object.hasOwn(EVENTS, type);
}

function fault(code: string, message: string): AudioServiceError {
  return new AudioServiceError(code, message);
}
