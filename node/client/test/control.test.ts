import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline, Readable } from "node:stream";
import { after, before, type TestContext, test } from "node:test";
import { Daemon } from "@audiosvc/testing";
import { AudioServiceError, ControlClient } from "../dist/index.js";
import { type OpenApi, render } from "./openapi.ts";

let daemon: Daemon;
let control: ControlClient;
const folder: string = mkdtempSync(join(tmpdir(), "audiosvc-"));
const token = "a-token-of-this-test-and-no-other";

before(async () => {
  writeFileSync(join(folder, "token"), `${token}\n`, { mode: 0o600 });
  daemon = await Daemon.start({ args: ["--token-file", join(folder, "token")] });
  control = new ControlClient({ url: daemon.api, token });
});

after(async () => {
  control?.close();
  await daemon?.stop();
  rmSync(folder, { recursive: true });
});

test("the types of the API are those of the daemon's own document", async () => {
  const file = new URL("../src/openapi.ts", import.meta.url);
  const text = render((await control.openapi()) as unknown as OpenApi);
  if (process.env.AUDIOSVC_WRITE_OPENAPI !== undefined) writeFileSync(file, text);
  assert.equal(readFileSync(file, "utf8"), text, "set AUDIOSVC_WRITE_OPENAPI to write them anew");
});

test("a session from its play to its end", async () => {
  const { status, session_id, track_id } = await control.play("user:42", { url: "demo:tone?hz=440", volume: 0.5 });
  assert.deepEqual({ status, session_id }, { status: "playing", session_id: "user:42" });
  assert.equal((await control.pause("user:42")).status, "paused");
  assert.equal((await control.resume("user:42")).status, "playing");
  assert.equal((await control.seek("user:42", 12.5)).position, 12.5);
  assert.equal((await control.volume("user:42", 0.8)).volume, 0.8);
  const shown = await control.status("user:42");
  assert.deepEqual([shown.track_id, shown.volume, shown.url], [track_id, 0.8, "demo:tone?hz=440"]);
  assert.deepEqual(await control.log("user:42", "debug"), { session_id: "user:42", level: "debug" });
  assert.deepEqual((await control.health()).log.sessions, { "user:42": "debug" });
  assert.equal((await control.log("user:42", null)).level, null);
  assert.equal((await control.stats("user:42")).track_id, track_id);
  const { count, sessions } = await control.sessions();
  assert.deepEqual([count, sessions[0]?.track_id], [1, track_id]);
  assert.equal((await control.stop("user:42")).status, "stopped");
  await assert.rejects(control.status("user:42"), { code: "not_found", status: 404, sessionId: "user:42" });
});

test("what there is to play, and how the daemon is", async () => {
  const url = "demo:tone?hz=440&seconds=5";
  assert.deepEqual(await control.metadata(url), { ...(await control.metadata(url)), url, duration: 5 });
  await assert.rejects(control.files(), { code: "files_refused", status: 422 });
  assert.ok((await control.playlist("demo:")).entries.some((entry) => entry.url === "demo:prelude"));
  const { results } = await control.search("demo:", { limit: 2 });
  assert.equal(results.length, 2);
  assert.notEqual((await control.health()).status, "stopping");
  assert.deepEqual([(await control.live()).status, (await control.ready()).status], ["live", "ready"]);
  assert.match(await control.metrics(), /^audiosvc_/m);
});

test("a refusal carries the daemon's code and status", async () => {
  await assert.rejects(control.play("a", { url: "gopher://x" }), (error) => {
    assert.ok(error instanceof AudioServiceError);
    assert.deepEqual([error.code, error.status, error.sessionId], ["unsupported_url", 422, "a"]);
    return true;
  });
  await assert.rejects(control.seek("nobody", 1), { code: "not_found", status: 404 });
  await assert.rejects(control.search("demo:", { limit: 51 }), { code: "invalid_query", status: 400 });
  await assert.rejects(control.status("a b"), { code: "invalid_session_id", status: 400 });
  const stranger = new ControlClient({ url: daemon.api, token: "another" });
  await assert.rejects(stranger.health(), { code: "unauthorized", status: 401 });
  stranger.close();
});

/** An API of the test's own. */
async function serve(
  t: TestContext,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  path?: string,
) {
  const server: Server = createServer(answer);
  server.listen(path ?? { host: "127.0.0.1", port: 0 });
  await once(server, "listening");
  const url = path === undefined ? `http://127.0.0.1:${(server.address() as AddressInfo).port}` : `unix:${path}`;
  const client = new ControlClient({ url, token: "t" });
  t.after(() => {
    client.close();
    server.closeAllConnections();
    server.close();
  });
  return { client, server };
}

test("over a Unix socket: path, host, token, body", async (t) => {
  const seen: unknown[] = [];
  const path = join(folder, "api.sock");
  const { client } = await serve(
    t,
    async (request, response) => {
      const body: Buffer[] = [];
      for await (const chunk of request) body.push(chunk);
      const { method, url, headers } = request;
      seen.push([
        method,
        url,
        headers.host,
        headers.authorization,
        headers["content-type"],
        String(Buffer.concat(body)),
      ]);
      response.end("{}");
    },
    path,
  );
  await client.play("user:42", { url: "demo:tone" });
  await client.stop("..");
  await client.metadata("http://x/?a=b&c=ü");
  assert.deepEqual(seen, [
    ["POST", "/session/user%3A42/play", "localhost", "Bearer t", "application/json", '{"url":"demo:tone"}'],
    ["POST", "/session/../stop", "localhost", "Bearer t", undefined, ""],
    ["GET", "/metadata?url=http%3A%2F%2Fx%2F%3Fa%3Db%26c%3D%C3%BC", "localhost", "Bearer t", undefined, ""],
  ]);
});

test("connections are kept and used again", async (t) => {
  const { client, server } = await serve(t, (_, response) => response.end("{}"));
  let connections = 0;
  server.on("connection", () => {
    connections += 1;
  });
  for (let i = 0; i < 5; i++) await client.health();
  assert.equal(connections, 1);
});

test("a kept connection that the daemon closes as it is used is replaced", async (t) => {
  let requests = 0;
  const { client } = await serve(t, (request, response) => {
    requests += 1;
    if (requests === 2) request.socket.resetAndDestroy();
    else response.end("{}");
  });
  await client.health();
  await client.health();
  assert.equal(requests, 3);
});

test("no answer in time, an abort and a close each have their code", async (t) => {
  const { client } = await serve(t, () => {});
  await assert.rejects(client.health({ timeout: 20 }), { code: "timeout" });
  const aborting = new AbortController();
  const aborted = assert.rejects(client.stop("a", { signal: aborting.signal }), { code: "aborted", sessionId: "a" });
  aborting.abort();
  await aborted;
  await assert.rejects(client.health({ signal: AbortSignal.abort() }), { code: "aborted" });
  const closed = assert.rejects(client.health(), { code: "closed" });
  client.close();
  await closed;
  await assert.rejects(client.health(), { code: "closed" });
});

test("an answer that is none has a code too", async (t) => {
  const answers: [string, (response: ServerResponse) => void][] = [
    ["not JSON", (response) => response.end("<html>")],
    ["a failure without a code", (response) => response.writeHead(500).end("{}")],
    ["a failure that is null", (response) => response.writeHead(500).end("null")],
    ["without end", (response) => pipeline(Readable.from(zeros()), response, () => {})],
  ];
  let answer = answers[0];
  const { client } = await serve(t, (_, response) => answer?.[1](response));
  for (answer of answers) await assert.rejects(client.sessions(), { code: "invalid_answer" }, answer[0]);
});

function* zeros(): Generator<Buffer> {
  for (;;) yield Buffer.alloc(1 << 20);
}

test("a busy daemon says when to ask again", async (t) => {
  const { client } = await serve(t, (_, response) => {
    response.writeHead(503, { "retry-after": "3" });
    response.end('{"status":"error","code":"too_many_sessions","message":"m","session_id":"a"}');
  });
  await assert.rejects(client.play("a", { url: "demo:tone" }), {
    code: "too_many_sessions",
    status: 503,
    retryAfter: 3,
    sessionId: "a",
  });
});

test("where nobody listens the API is unreachable", async () => {
  await using client = new ControlClient({ url: `unix:${join(folder, "nobody.sock")}` });
  await assert.rejects(client.health(), { code: "unreachable" });
});

test("an address that is none of the two kinds is refused", () => {
  for (const url of ["https://x", "http://x/api"]) {
    assert.throws(() => new ControlClient({ url }), { code: "invalid_option" });
  }
});
