import assert from "node:assert/strict";
import { test } from "node:test";
import { AudioServiceError } from "@audiosvc/client";
import { reason, wordsOf } from "../dist/words.js";

test("what listeners can make something of is told in words", () => {
  assert.equal(reason("not_seekable", "x"), "it is live, and there is no jumping around in what is live");
  for (const code of ["extraction_timeout", "too_many_lookups", "source_ended_early", "source_timeout"]) {
    assert.notEqual(reason(code, "the daemon's"), "the daemon's");
  }
});

test("what only the daemon knows, and codes that nobody knows, are told in its words", () => {
  for (const code of ["blocked_address", "extraction_failed", "source_refused", "tomorrows_code"]) {
    assert.equal(reason(code, "10.0.0.1 is not reached from here"), "10.0.0.1 is not reached from here");
  }
});

test("an error of the daemon keeps its code, and any other says nothing of itself", () => {
  const words = { code: "unreachable", message: "the daemon is not there" };
  assert.deepEqual(wordsOf(new AudioServiceError("unreachable", "connect ECONNREFUSED 127.0.0.1:1")), words);
  assert.deepEqual(wordsOf(new TypeError("secret")), { code: "internal", message: "the gateway failed" });
});
