/** The page's files, read once: what is not in the list is not there, however a path is written. */

import { createHash } from "node:crypto";
import { lstat, readdir, readFile } from "node:fs/promises";
import { extname, join, sep } from "node:path";

const TYPES: Readonly<Record<string, string>> = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".ico": "image/x-icon",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json; charset=utf-8",
  ".png": "image/png",
  ".svg": "image/svg+xml; charset=utf-8",
  ".txt": "text/plain; charset=utf-8",
  ".wasm": "application/wasm",
  ".webmanifest": "application/manifest+json; charset=utf-8",
  ".webp": "image/webp",
  ".woff2": "font/woff2",
};

/** One file as it is served. `etag` carries its quotation marks. */
export interface StaticFile {
  body: Buffer;
  type: string;
  etag: string;
}

/** The files below `folder` by their paths (`/player.js`), `index.html` as `/` too. Links and hidden files are left out. */
export async function readStaticFiles(folder: string): Promise<ReadonlyMap<string, StaticFile>> {
  const files = new Map<string, StaticFile>();
  for (const name of await readdir(folder, { recursive: true })) {
    const path = join(folder, name);
    const parts = name.split(sep);
    if (parts.some((part) => part.startsWith(".")) || !(await lstat(path)).isFile()) {
      continue;
    }
    const body = await readFile(path);
    const type = TYPES[extname(name)] ?? "application/octet-stream";
    const etag = `"${createHash("sha256").update(body).digest("base64url").slice(0, 22)}"`;
    files.set(`/${parts.join("/")}`, { body, type, etag });
  }
  const index = files.get("/index.html");
  if (index !== undefined) {
    files.set("/", index);
  }
  return files;
}
