import assert from "node:assert/strict";
import { test } from "node:test";
import { AudioServiceError, encode, type Held, type Line } from "../dist/index.js";
import { greet } from "../dist/lines.js";
import { lines } from "./vectors.ts";

for (const { name, line, wire } of lines) {
  test(`shared vector: ${name}`, () => assert.equal(encode(line).toString(), wire.toString()));
}

const refused: [string, string, Line][] = [
  ["a session id with a space", "invalid_session_id", { type: "subscribe", session_id: "guild a" }],
  ["a session id of 37 characters", "invalid_session_id", { type: "unsubscribe", session_id: "x".repeat(37) }],
  ["a session id that ends in a newline", "invalid_session_id", { type: "subscribe", session_id: "a\n" }],
  ["credit beyond 500", "invalid_line", { type: "credit", session_id: "a", packets: 501 }],
  ["credit of fewer than none", "invalid_line", { type: "credit", session_id: "a", packets: -1 }],
  ["credit of half packets", "invalid_line", { type: "credit", session_id: "a", packets: 0.5 }],
  ["a name of 201 characters", "invalid_line", { type: "hello", client: "x".repeat(201) }],
  ["a name with half a character", "invalid_line", { type: "hello", client: "\ud83c" }],
  ["a resume of no session", "invalid_session_id", { type: "hello", resume: { "": 1 } }],
  ["a resume of a negative count", "invalid_line", { type: "hello", resume: { a: { track_id: "t", packets: -1 } } }],
  [
    "a line beyond 64 KiB",
    "line_too_long",
    { type: "hello", resume: { a: { track_id: "t".repeat(65536), packets: 1 } } },
  ],
];

for (const [name, code, line] of refused) {
  test(`refused: ${name}`, () => {
    assert.throws(
      () => encode(line),
      (error) => error instanceof AudioServiceError && error.code === code,
    );
  });
}

test("a name of 200 characters beyond the basic plane fits", () => {
  encode({ type: "hello", client: "🎵".repeat(200) });
});

test("a greeting that holds nothing is one hello", () => {
  assert.deepEqual(greet(undefined, new Map()), [{ type: "hello" }]);
  assert.deepEqual(greet("bot/1", new Map()), [{ type: "hello", client: "bot/1" }]);
});

test("a greeting that holds thousands of sessions is several lines, each within its bound", () => {
  const held = new Map<string, Held>();
  for (let i = 0; i < 1000; i++)
    held.set(`session-${i}`.padEnd(36, "x"), { track_id: "0".repeat(32), packets: 123456 });
  const greeting = greet("bot/1", held);
  for (const line of greeting) encode(line);
  const all = Object.assign({}, ...greeting.map((line) => (line.type === "hello" ? line.resume : {})));
  assert.deepEqual(new Map(Object.entries(all)), held);
});
