/** The gateway's HTTP side and its command line; no daemon is there. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type IncomingHttpHeaders, request } from "node:http";
import { type AddressInfo, createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import WebSocket from "ws";
import { Gateway } from "../dist/index.js";
import { SOCKETS_MOST } from "../dist/server.js";
import { Page } from "./page.ts";

let folder: string;
let gateway: Gateway;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "audiosvc-gateway-"));
  gateway = await Gateway.start({
    socket: join(folder, "audio.sock"),
    api: `unix:${join(folder, "api.sock")}`,
    origins: ["https://music.example"],
  });
});

after(async () => {
  await gateway?.close();
  await rm(folder, { recursive: true });
});

interface Answer {
  status: number | undefined;
  headers: IncomingHttpHeaders;
  body: string;
}

async function ask(path: string, headers: Record<string, string> = {}, method = "GET"): Promise<Answer> {
  const { hostname, port } = new URL(gateway.url);
  // With a path of its own, so that nothing folds dots away.
  const asking = request({ hostname, port, path, method, headers }).end();
  const [answer] = await once(asking, "response");
  let body = "";
  for await (const chunk of answer.setEncoding("utf8")) {
    body += chunk;
  }
  return { status: answer.statusCode, headers: answer.headers, body };
}

/** The status that an upgrade is answered with. */
async function upgrade(path: string, headers: Record<string, string> = {}): Promise<number> {
  const socket = new WebSocket(new URL(path, gateway.url.replace("http", "ws")), { headers });
  try {
    return await new Promise((resolve, reject) => {
      socket.on("upgrade", ({ statusCode }) => resolve(statusCode ?? 0));
      socket.on("unexpected-response", (_, { statusCode }) => resolve(statusCode ?? 0));
      socket.on("error", reject);
    });
  } finally {
    socket.on("error", () => undefined);
    socket.terminate();
  }
}

test("the page is served with a strict policy, and is asked for again", async () => {
  const { status, headers, body } = await ask("/?session=anna");
  assert.equal(status, 200);
  assert.equal(headers["content-type"], "text/html; charset=utf-8");
  assert.equal(headers["x-content-type-options"], "nosniff");
  assert.equal(headers["cache-control"], "no-cache");
  const policy = String(headers["content-security-policy"]);
  const { host } = new URL(gateway.url);
  for (const rule of [
    "default-src 'none'",
    "img-src 'self'",
    "script-src 'self' 'wasm-unsafe-eval'",
    "frame-ancestors 'none'",
  ]) {
    assert.ok(policy.split("; ").includes(rule), rule);
  }
  assert.ok(policy.includes(`connect-src 'self' ws://${host} wss://${host}`));
  assert.ok(!policy.includes("unsafe-inline"));
  assert.match(body, /<!doctype html>/i);
  const again = await ask("/", { "If-None-Match": String(headers.etag) });
  assert.deepEqual([again.status, again.body], [304, ""]);
});

test("scripts come as UTF-8", async () => {
  const { body } = await ask("/");
  const script = /<script[^>]+src="\/?([^"]+)"/.exec(body)?.[1];
  const { status, headers } = await ask(`/${script}`);
  assert.equal(status, 200);
  assert.equal(headers["content-type"], "text/javascript; charset=utf-8");
});

test("HEAD is answered without the body", async () => {
  const { status, headers, body } = await ask("/", {}, "HEAD");
  assert.equal(status, 200);
  assert.ok(Number(headers["content-length"]) > 0);
  assert.equal(body, "");
});

test("what is not among the page's files is not there, however it is written", async () => {
  const paths = [
    "/nothing.html",
    "/vendor",
    "/vendor/",
    "/../package.json",
    "/..%2fpackage.json",
    "/%2e%2e/package.json",
    "/vendor/../../package.json",
    "//etc/passwd",
    "/index.html/",
    "/index.html%00",
    "/\\..\\package.json",
    "http://127.0.0.1/index.html",
    "*",
  ];
  for (const path of paths) {
    const { status, headers, body } = await ask(path);
    assert.equal(status, 404, path);
    assert.equal(headers["content-type"], "application/json; charset=utf-8");
    assert.equal(JSON.parse(body).code, "not_found");
  }
});

test("other methods are refused", async () => {
  for (const method of ["POST", "PUT", "DELETE", "OPTIONS"]) {
    const { status, headers } = await ask("/", {}, method);
    assert.equal(status, 405);
    assert.equal(headers.allow, "GET, HEAD");
  }
});

test("a name that was rebound to this machine is not served", async () => {
  for (const path of ["/", "/healthz", "/ws"]) {
    assert.equal((await ask(path, { Host: "evil.example" })).status, 421);
  }
  assert.equal((await ask("/", { Host: "music.example" })).status, 200);
  assert.equal((await ask("/", { Host: "a b" })).status, 400);
  assert.equal(await upgrade("/ws", { Host: "evil.example" }), 421);
});

test("only the gateway's own pages and those of listed origins may connect", async () => {
  const { origin } = new URL(gateway.url);
  for (const allowed of [origin, "https://music.example"]) {
    assert.equal(await upgrade("/ws", { Origin: allowed }), 101);
  }
  for (const strange of ["https://evil.example", "null", "http://127.0.0.1:1", `${origin}.evil.example`]) {
    assert.equal(await upgrade("/ws", { Origin: strange }), 403);
  }
  assert.equal(await upgrade("/ws"), 101);
});

test("the WebSocket is at /ws and nowhere else", async () => {
  assert.equal(await upgrade("/"), 404);
  assert.equal(await upgrade("/ws/"), 404);
  assert.equal((await ask("/ws")).status, 426);
});

test("a refused upgrade that is gone before its answer does no harm", async () => {
  const { hostname, port } = new URL(gateway.url);
  const socket = createConnection(Number(port), hostname);
  await once(socket, "connect");
  socket.write("GET /ws HTTP/1.1\r\nHost: evil.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  socket.resetAndDestroy();
  assert.equal((await ask("/healthz")).status, 200);
});

test("health says whether the daemon is there", async () => {
  const { status, headers, body } = await ask("/healthz");
  assert.equal(status, 200);
  assert.equal(headers["cache-control"], "no-store");
  const { sockets, ...rest } = JSON.parse(body);
  assert.deepEqual(rest, { status: "ok", daemon: "disconnected", sessions: 0, held: 0, buffered: 0 });
  assert.equal(typeof sockets, "number");
});

test("without a daemon pages are told so, and what they ask is refused in words", async (t) => {
  const page = new Page(gateway.url);
  t.after(() => page.socket.terminate());
  assert.deepEqual(await page.next("hello"), { type: "hello", version: "0.1.0", daemon: "disconnected" });
  await page.join("early");
  page.say("play", "early", { url: "demo:prelude" });
  const { code, action } = await page.next("error", "early");
  assert.deepEqual([code, action], ["unreachable", "play"]);
  page.say("search", "early", { query: "demo:" });
  assert.equal((await page.next("error", "early")).action, "search");
});

test("so many pages and no more", async (t) => {
  const pages = Array.from({ length: SOCKETS_MOST }, () => new Page(gateway.url));
  t.after(() => {
    for (const page of pages) {
      page.socket.terminate();
    }
  });
  await Promise.all(pages.map((page) => page.next("hello")));
  assert.equal(await upgrade("/ws"), 503);
});

test("a page that does not answer the goodbye is cut off", async () => {
  const own = await Gateway.start({ socket: "/nowhere", api: "http://127.0.0.1:1" });
  const page = new Page(own.url);
  await page.next("hello");
  page.socket.pause();
  await Promise.all([own.close(), own[Symbol.asyncDispose]()]);
  page.socket.resume();
  assert.equal(await page.closed(), 1001);
});

test("two gateways at one address: the second one says why not", async () => {
  const port = Number(new URL(gateway.url).port);
  await assert.rejects(Gateway.start({ socket: "/nowhere", api: "http://127.0.0.1:1", port }), { code: "EADDRINUSE" });
});

const CLI = fileURLToPath(new URL("../dist/cli.js", import.meta.url));

async function run(...args: string[]): Promise<{ status: number; out: string; err: string }> {
  const env = { PATH: process.env.PATH };
  const child = spawn(process.execPath, [CLI, ...args], { env, stdio: ["ignore", "pipe", "pipe"] });
  const texts = [child.stdout, child.stderr].map(async (stream) => {
    let text = "";
    for await (const chunk of stream.setEncoding("utf8")) {
      text += chunk;
    }
    return text;
  });
  const [[status], out, err] = await Promise.all([once(child, "exit"), ...texts]);
  return { status, out: out ?? "", err: err ?? "" };
}

test("the command line says what is wrong with it", async () => {
  const token = join(folder, "empty");
  await writeFile(token, "\n");
  const socket = ["--socket", "/nowhere"];
  const wrong: [args: string[], message: RegExp][] = [
    [[], /--socket PATH/],
    [["--what"], /Unknown option/],
    [[...socket, "--listen", "3000"], /HOST:PORT/],
    [[...socket, "--listen", "127.0.0.1:70000"], /HOST:PORT/],
    [[...socket, "--origin", "music.example"], /https:\/\/music\.example/],
    [[...socket, "--grace", "soon"], /seconds/],
    [[...socket, "--token-file", "/nowhere/token"], /--token-file/],
    [[...socket, "--token-file", token], /is empty/],
  ];
  const answers = await Promise.all(wrong.map(([args]) => run(...args)));
  for (const [i, { status, err }] of answers.entries()) {
    assert.equal(status, 2, err);
    assert.match(err, wrong[i]?.[1] ?? /^$/);
  }
  const { status, out } = await run("--help");
  assert.equal(status, 0);
  assert.match(out, /--listen HOST:PORT/);
  const { host } = new URL(gateway.url);
  const taken = await run("--socket", "/nowhere", "--listen", host);
  assert.deepEqual([taken.status, taken.out], [1, ""]);
  assert.match(taken.err, /EADDRINUSE/);
});

test("the command prints the page's address, and ends on SIGTERM", async () => {
  const args = [CLI, "--socket", join(folder, "audio.sock"), "--listen", "127.0.0.1:0"];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(createInterface(child.stdout), "line");
  const url = /^audiosvc-gateway is at (http:\/\/127\.0\.0\.1:\d+\/)$/.exec(line)?.[1] ?? "";
  const page = new Page(url);
  await page.next("hello");
  child.kill("SIGTERM");
  assert.equal(await page.closed(), 1001);
  assert.deepEqual(await once(child, "exit"), [0, null]);
});

test("the command shows the API's token, and nobody else does", async (t) => {
  const shown: unknown[] = [];
  const api = createServer((asked, answer) => {
    shown.push(asked.headers.authorization);
    answer.writeHead(404, { "Content-Type": "application/json" });
    answer.end('{"status":"error","code":"not_found","message":"no such session"}');
  });
  await once(api.listen(0, "127.0.0.1"), "listening");
  t.after(() => api.close());
  const token = join(folder, "token");
  await writeFile(token, "secret\n");
  const { port } = api.address() as AddressInfo;
  const args = [CLI, "--socket", "/nowhere", "--listen", "127.0.0.1:0", "--token-file", token];
  const env = { ...process.env, AUDIOSVC_API: `http://127.0.0.1:${port}` };
  const child = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(createInterface(child.stdout), "line");
  const page = new Page(line.split(" ").at(-1));
  await page.next("hello");
  await page.join("anna");
  page.say("search", "anna", { query: "bach" });
  assert.equal((await page.next("error", "anna")).code, "not_found");
  assert.deepEqual(new Set(shown), new Set(["Bearer secret"]));
  await page.close();
  child.kill("SIGINT");
  assert.deepEqual(await once(child, "exit"), [0, null]);
});
