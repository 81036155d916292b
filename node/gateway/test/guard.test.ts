import assert from "node:assert/strict";
import { test } from "node:test";
import { Guard } from "../dist/guard.js";

const guard = new Guard("192.168.1.5", ["https://music.example", "http://10.0.0.7:8080"]);

test("loopback names, the address listened on and those of allowed origins are served, with any port", () => {
  for (const host of [
    "localhost",
    "LOCALHOST:80",
    "127.0.0.1:3000",
    "[::1]:3000",
    "192.168.1.5:3000",
    "music.example",
    "10.0.0.7",
  ]) {
    assert.equal(guard.refusal([host], []), undefined, host);
  }
  assert.equal(new Guard("::1", []).refusal(["[::1]:80"], []), undefined);
  assert.equal(new Guard("fe80::1", []).refusal(["[FE80::1]:80"], []), undefined);
});

test("other names are not", () => {
  for (const host of ["evil.example", "localhost.evil.example", "127.0.0.2", "0.0.0.0:3000", "192.168.1.50"]) {
    assert.equal(guard.refusal([host], []), 421, host);
  }
});

test("one well-formed Host is needed", () => {
  assert.equal(guard.refusal([], []), 400);
  assert.equal(guard.refusal(["localhost", "localhost"], []), 400);
  for (const host of ["", "localhost:x", "localhost:123456", "a b", "user@localhost", "localhost/", "[::1"]) {
    assert.equal(guard.refusal([host], []), 400, host);
  }
});

test("an Origin is the gateway's own or a listed one", () => {
  const host = "127.0.0.1:3000";
  for (const origin of [`http://${host}`, `https://${host}`, "https://music.example", "http://10.0.0.7:8080"]) {
    assert.equal(guard.refusal([host], [origin]), undefined, origin);
  }
  const strange = [
    "null",
    "http://127.0.0.1",
    "http://localhost:3000",
    "https://evil.example",
    "http://music.example",
    `http://${host}/`,
    `${host}`,
  ];
  for (const origin of strange) {
    assert.equal(guard.refusal([host], [origin]), 403, origin);
  }
  assert.equal(guard.refusal([host], [`http://${host}`, `http://${host}`]), 403);
});

test("what is no browser has no Origin", () => {
  assert.equal(guard.refusal(["localhost:3000"], []), undefined);
});
