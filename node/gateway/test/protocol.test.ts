import assert from "node:assert/strict";
import { test } from "node:test";
import { BadMessage, isSessionName, type PageMessage, parseMessage, sessionIdOf } from "../dist/protocol.js";

function parse(fields: Record<string, unknown>): PageMessage {
  return parseMessage(JSON.stringify({ session: "anna", ...fields }));
}

function refusal(text: string): BadMessage {
  try {
    parseMessage(text);
  } catch (error) {
    assert.ok(error instanceof BadMessage);
    return error;
  }
  throw new assert.AssertionError({ message: `${text} was taken` });
}

const taken: [sent: Record<string, unknown>, read: Record<string, unknown>][] = [
  [{ action: "join" }, { action: "join", heard: true }],
  [
    { action: "join", heard: false },
    { action: "join", heard: false },
  ],
  [
    { action: "join", heard: null },
    { action: "join", heard: true },
  ],
  [{ action: "leave" }, { action: "leave" }],
  [
    { action: "credit", packets: 1 },
    { action: "credit", packets: 1 },
  ],
  [
    { action: "credit", packets: 100 },
    { action: "credit", packets: 100 },
  ],
  [
    { action: "play", url: "demo:prelude" },
    { action: "play", url: "demo:prelude" },
  ],
  [
    { action: "play", url: "u".repeat(2048) },
    { action: "play", url: "u".repeat(2048) },
  ],
  [
    { action: "seek", seconds: 0 },
    { action: "seek", seconds: 0 },
  ],
  [
    { action: "resumeFrom", seconds: 12.5 },
    { action: "resumeFrom", seconds: 12.5 },
  ],
  [
    { action: "volume", volume: 2 },
    { action: "volume", volume: 2 },
  ],
  [
    { action: "addToQueue", url: "demo:a" },
    { action: "addToQueue", url: "demo:a" },
  ],
  [
    { action: "addToQueue", url: "demo:a", title: null },
    { action: "addToQueue", url: "demo:a" },
  ],
  [
    { action: "addToQueue", url: "demo:a", title: "A" },
    { action: "addToQueue", url: "demo:a", title: "A" },
  ],
  [
    { action: "playFromQueue", index: 0 },
    { action: "playFromQueue", index: 0 },
  ],
  [
    { action: "removeFromQueue", index: 499 },
    { action: "removeFromQueue", index: 499 },
  ],
  [
    { action: "moveInQueue", index: 3, to: 1 },
    { action: "moveInQueue", index: 3, to: 1 },
  ],
  [
    { action: "search", query: "bach" },
    { action: "search", query: "bach" },
  ],
  [
    { action: "list", url: "https://a/list" },
    { action: "list", url: "https://a/list" },
  ],
  [
    { action: "addList", url: "https://a/list" },
    { action: "addList", url: "https://a/list", from: 0 },
  ],
  [
    { action: "addList", url: "https://a/list", from: 1 },
    { action: "addList", url: "https://a/list", from: 1 },
  ],
  [{ action: "files" }, { action: "files", path: "" }],
  [
    { action: "files", path: "albums" },
    { action: "files", path: "albums" },
  ],
  [{ action: "stop", whatever: [1] }, { action: "stop" }],
  ...["pause", "resume", "skip", "previous", "clearQueue", "getQueue"].map(
    (action): [Record<string, unknown>, Record<string, unknown>] => [{ action }, { action }],
  ),
];

for (const [sent, read] of taken) {
  test(`taken: ${JSON.stringify(sent).slice(0, 60)}`, () => {
    assert.deepEqual(parse(sent), { session: "anna", ...read });
  });
}

const refused: [sent: Record<string, unknown>, message: RegExp][] = [
  [{}, /action must be/],
  [{ action: 7 }, /action must be/],
  [{ action: "dance" }, /no such action/],
  [{ action: "__proto__" }, /no such action/],
  [{ action: "join", heard: "yes" }, /heard must be true or false/],
  [{ action: "credit" }, /packets must be a whole number from 1 to 100/],
  [{ action: "credit", packets: 0 }, /packets/],
  [{ action: "credit", packets: 101 }, /packets/],
  [{ action: "credit", packets: 1.5 }, /packets/],
  [{ action: "credit", packets: "5" }, /packets/],
  [{ action: "play" }, /url must be a text of 1 to 2048 characters/],
  [{ action: "play", url: "" }, /url/],
  [{ action: "play", url: "  " }, /url/],
  [{ action: "play", url: ["demo:a"] }, /url/],
  [{ action: "play", url: "u".repeat(2049) }, /url/],
  [{ action: "seek" }, /seconds must be a number/],
  [{ action: "seek", seconds: -0.1 }, /seconds/],
  [{ action: "seek", seconds: 2_592_001 }, /seconds/],
  [{ action: "resumeFrom", seconds: "1" }, /seconds/],
  [{ action: "volume", volume: 2.1 }, /volume/],
  [{ action: "addToQueue", url: "demo:a", title: "t".repeat(301) }, /title/],
  [{ action: "addToQueue", url: "demo:a", title: 1 }, /title/],
  [{ action: "playFromQueue", index: -1 }, /index/],
  [{ action: "moveInQueue", index: 0 }, /to must be/],
  [{ action: "search", query: "q".repeat(501) }, /query/],
  [{ action: "list" }, /url/],
  [{ action: "addList", url: "u", from: -1 }, /from/],
  [{ action: "addList", url: "u".repeat(2049) }, /url/],
  [{ action: "files", path: " " }, /path/],
  [{ action: "files", path: "p".repeat(2049) }, /path/],
];

for (const [sent, message] of refused) {
  test(`refused: ${JSON.stringify(sent).slice(0, 60)}`, () => {
    const error = refusal(JSON.stringify({ session: "anna", ...sent }));
    assert.match(error.message, message);
    assert.equal(error.session, "anna");
    assert.equal(error.action, typeof sent.action === "string" ? sent.action : undefined);
  });
}

for (const text of ["", "x", "[]", "null", "7", '"join"', "{", "[".repeat(4000)]) {
  test(`refused: ${text.slice(0, 20)}`, () => {
    const error = refusal(text);
    assert.equal(error.message, "a message is one JSON object");
    assert.equal(error.session, undefined);
    assert.equal(error.action, undefined);
  });
}

test("infinity is no number of seconds", () => {
  assert.match(refusal('{"session":"a","action":"seek","seconds":1e999}').message, /seconds/);
});

test("a message without a legal session's name is refused, and says which action it was", () => {
  for (const session of [undefined, 7, "", "a b", "user:1", "x".repeat(31), "ä", "a\n"]) {
    const error = refusal(JSON.stringify({ action: "stop", session }));
    assert.match(error.message, /session must be/);
    assert.equal(error.session, undefined);
    assert.equal(error.action, "stop");
  }
});

test("an action's name goes back only if it is short", () => {
  assert.equal(refusal(JSON.stringify({ session: "a", action: "x".repeat(41) })).action, undefined);
  assert.equal(refusal(JSON.stringify({ action: "x".repeat(41) })).action, undefined);
});

test("a session's name makes a session id of the daemon's", () => {
  assert.ok(isSessionName("Az_-09"));
  assert.ok(isSessionName("x".repeat(30)));
  assert.equal(sessionIdOf("anna"), "user:anna");
});
