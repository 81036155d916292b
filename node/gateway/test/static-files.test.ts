import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { readStaticFiles } from "../dist/static-files.js";

test("the files of a folder and those below it, by their paths and with their types; no links, nothing hidden", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "audiosvc-static-"));
  t.after(() => rm(folder, { recursive: true }));
  await mkdir(join(folder, "vendor"));
  await mkdir(join(folder, ".git"));
  const names = ["index.html", "page.js", "vendor/lib.js", "vendor/lib.LICENSE", ".env", ".git/config"];
  await Promise.all(names.map((name) => writeFile(join(folder, name), name)));
  await symlink("/etc/passwd", join(folder, "link.txt"));
  const files = await readStaticFiles(folder);
  assert.deepEqual([...files.keys()].sort(), ["/", "/index.html", "/page.js", "/vendor/lib.LICENSE", "/vendor/lib.js"]);
  assert.equal(files.get("/"), files.get("/index.html"));
  assert.equal(files.get("/page.js")?.type, "text/javascript; charset=utf-8");
  assert.equal(files.get("/vendor/lib.LICENSE")?.type, "application/octet-stream");
  assert.equal(files.get("/vendor/lib.js")?.body.toString(), "vendor/lib.js");
  assert.match(files.get("/page.js")?.etag ?? "", /^"[\w-]{22}"$/);
  assert.notEqual(files.get("/page.js")?.etag, files.get("/vendor/lib.js")?.etag);
});

test("a folder without an index has no /", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "audiosvc-static-"));
  t.after(() => rm(folder, { recursive: true }));
  assert.equal((await readStaticFiles(folder)).size, 0);
});
