import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Daemon } from "@audiosvc/testing";

const run = promisify(execFile);
const PACKAGE = fileURLToPath(new URL("..", import.meta.url));

test("packed and installed into an empty project, the README's example runs", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "audiosvc-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const packed = await run("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], {
    cwd: PACKAGE,
  });
  const [{ filename, files }] = JSON.parse(packed.stdout.slice(packed.stdout.indexOf("[")));
  const names: string[] = files.map((file: { path: string }) => file.path);
  for (const name of ["package.json", "README.md", "LICENSE", "dist/index.js", "dist/index.d.ts", "src/index.ts"]) {
    assert.ok(names.includes(name), name);
  }
  assert.deepEqual(
    names.filter((name) => !/^(dist|src)\/[a-z]+\.[a-z.]+$|^(package\.json|README\.md|LICENSE)$/.test(name)),
    [],
  );

  writeFileSync(join(folder, "package.json"), '{"private":true,"type":"module"}');
  const quiet = ["--offline", "--no-audit", "--no-fund", "--ignore-scripts"];
  await run("npm", ["install", ...quiet, join(folder, filename)], { cwd: folder });
  const example = /```js\n(.*?)```/s.exec(readFileSync(join(PACKAGE, "README.md"), "utf8"))?.[1];
  assert.ok(example);
  const lines = example.split("\n").filter((line) => line.trim() !== "");
  assert.equal(lines.length, 10);
  writeFileSync(join(folder, "example.js"), example);

  const daemon = await Daemon.start();
  t.after(() => daemon.stop());
  const env = { ...process.env, AUDIOSVC_SOCKET: daemon.socket, AUDIOSVC_API: daemon.api };
  const { stdout } = await run(process.execPath, ["example.js"], { cwd: folder, env, timeout: 60_000 });
  const printed = stdout.trimEnd().split("\n");
  assert.equal(printed.filter((line) => /^\d+ bytes of Opus$/.test(line)).length, 100);
  assert.match(stdout, /type: 'finished'/);
});
