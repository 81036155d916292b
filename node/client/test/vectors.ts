/** The wire's shared vectors, `tests/vectors/wire.json`: how their bytes are written, and where they are. */

import { readFileSync } from "node:fs";
import type { Line, Message } from "../dist/index.js";

type Bytes = string | { text: string } | { repeat: Bytes; times: number } | Bytes[];
type Text = string | { repeat: string; times: number };
type Fields = Record<string, unknown>;

interface Said {
  packet?: { session_id: string; payload: Bytes };
  event?: Fields & { type: string };
  unknown?: Fields & { type: string };
}

interface Vectors {
  packets: { name: string; session_id: string; payload: Bytes; wire: Bytes }[];
  events: { name: string; message: Fields; wire: Bytes }[];
  streams: { name: string; wire: Bytes; messages: Said[] }[];
  malformed: { name: string; wire: Bytes; messages: Said[]; error: string }[];
  lines: { name: string; line: Fields; wire: Bytes }[];
}

/** A stream of the daemon, and what a client makes of it. */
export interface StreamVector {
  name: string;
  wire: Buffer;
  messages: Message[];
  error: string | undefined;
}

const vectors: Vectors = JSON.parse(readFileSync(new URL("../../../tests/vectors/wire.json", import.meta.url), "utf8"));

function bytes(written: Bytes): Buffer {
  if (typeof written === "string") return Buffer.from(written, "hex");
  if (Array.isArray(written)) return Buffer.concat(written.map(bytes));
  if ("text" in written) return Buffer.from(written.text);
  return Buffer.concat(new Array(written.times).fill(bytes(written.repeat)));
}

function text(written: Text): string {
  return typeof written === "string" ? written : written.repeat.repeat(written.times);
}

function fields(written: Fields): Fields {
  const isText = (value: unknown): value is Text => typeof value === "object" && value !== null && "repeat" in value;
  return Object.fromEntries(Object.entries(written).map(([k, v]) => [k, isText(v) ? text(v) : v]));
}

function message(said: Said): Message {
  if (said.packet !== undefined) {
    return { kind: "packet", session_id: said.packet.session_id, payload: bytes(said.packet.payload) };
  }
  if (said.event !== undefined) return { kind: "event", event: fields(said.event) } as unknown as Message;
  const { type, ...rest } = said.unknown ?? { type: "" };
  return { kind: "unknown", event: { type, fields: rest } };
}

export const streams: StreamVector[] = [
  ...vectors.packets.map(({ name, wire, ...packet }) => ({
    name,
    wire: bytes(wire),
    messages: [message({ packet })],
    error: undefined,
  })),
  ...vectors.events.map(({ name, wire, message: event }) => ({
    name,
    wire: bytes(wire),
    messages: [message({ event: event as Fields & { type: string } })],
    error: undefined,
  })),
  ...[...vectors.streams, ...vectors.malformed].map((vector) => ({
    name: vector.name,
    wire: bytes(vector.wire),
    messages: vector.messages.map(message),
    error: "error" in vector ? (vector.error as string) : undefined,
  })),
];

export const lines: { name: string; line: Line; wire: Buffer }[] = vectors.lines.map(({ name, line, wire }) => ({
  name,
  line: fields(line) as unknown as Line,
  wire: bytes(wire),
}));
