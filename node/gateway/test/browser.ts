/** A real browser for tests: the Chromium that `@sparticuz/chromium` carries inside itself, or the one of $AUDIOSVC_CHROMIUM. */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { type Browser, chromium, type Page } from "playwright-core";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** What the page's console surface tells of a session. */
export interface Stats {
  mood: string;
  status: string;
  error: string;
  heard: boolean;
  title?: string;
  position: number;
  live: boolean;
  recoveries: number;
  consumedSamples: number;
  underruns: number;
  bufferedMs: number;
  windowMs: number;
  credit: number;
  packets: number;
  decoder: string;
  queue: string[];
  tones: { hz: number; dbfs: number; rest: number }[];
}

/** Starts it; `names` are host names that lead to this machine. Ends by `close`, which leaves nothing behind. */
export async function startBrowser(names: string[] = []): Promise<{ browser: Browser; close(): Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), "audiosvc-chromium-"));
  const found = process.env.AUDIOSVC_CHROMIUM;
  const launch = found === undefined ? await unpack(folder) : { executablePath: found };
  const rules = names.map((name) => `MAP ${name} 127.0.0.1`).join(",");
  const browser = await chromium.launch({ ...launch, args: [...FLAGS, `--host-resolver-rules=${rules}`] });
  const close = async (): Promise<void> => {
    await browser.close();
    await rm(folder, { recursive: true, force: true });
  };
  return { browser, close };
}

/** Unpacks it with the libraries and the font it brings along, and tells how to start it. */
async function unpack(folder: string): Promise<{ executablePath: string; env: Record<string, string> }> {
  const before = { ...process.env };
  // The package unpacks its libraries only where it takes the machine for Amazon's, and says by the environment where they are.
  Object.assign(process.env, { TMPDIR: folder, AWS_LAMBDA_JS_RUNTIME: "nodejs22.x" });
  try {
    const { default: packed } = await import("@sparticuz/chromium");
    const executablePath = await packed.executablePath();
    // Its own configuration looks for its font where Amazon's machines would have it; without any font Chromium ends.
    const fonts = join(folder, "fonts");
    const places = `<dir>${fonts}</dir><dir>/usr/share/fonts</dir><cachedir>${fonts}</cachedir>`;
    await writeFile(join(fonts, "fonts.conf"), `<?xml version="1.0"?><fontconfig>${places}</fontconfig>`);
    return { executablePath, env: { ...process.env, FONTCONFIG_PATH: fonts } as Record<string, string> };
  } finally {
    for (const name of Object.keys(process.env)) {
      if (!(name in before)) {
        delete process.env[name];
      }
    }
    Object.assign(process.env, before);
  }
}

/** What the page says of a session. */
export async function stats(page: Page, session: string): Promise<Stats> {
  return await page.evaluate<Stats>(`audiosvc.stats(${JSON.stringify(session)})`);
}

/** Waits until the JavaScript `expression` is true. The page's own policy forbids Playwright's `waitForFunction`. */
export async function waitFor(page: Page, expression: string, timeout = 15_000): Promise<void> {
  const late = performance.now() + timeout;
  while (!(await page.evaluate<boolean>(expression))) {
    if (performance.now() > late) {
      throw new Error(`not within ${timeout} ms: ${expression}`);
    }
    await setTimeout(50);
  }
}

/** Waits until `condition`, JavaScript about the session's `stats`, is true. */
export async function until(page: Page, session: string, condition: string, timeout?: number): Promise<Stats> {
  try {
    await waitFor(page, `(({ ...stats }) => ${condition})(audiosvc.stats(${JSON.stringify(session)}))`, timeout);
  } catch (error) {
    throw new Error(JSON.stringify(await stats(page, session)), { cause: error });
  }
  return await stats(page, session);
}

const RECORDER = `registerProcessor("recorder", class extends AudioWorkletProcessor {
  blocks = [];
  running = true;
  constructor() {
    super();
    this.port.onmessage = () => { this.running = false; this.port.postMessage(this.blocks); };
  }
  process([input]) {
    if (this.running && input[0] !== undefined) this.blocks.push(input[0].slice());
    return this.running;
  }
});`;

/**
 * Records the left channel of what a session's player puts out, from now until the returned function is called. The page must have been
 * opened with `bypassCSP`: a recorder is no part of it.
 */
export async function record(page: Page, session: string): Promise<() => Promise<Float32Array>> {
  await page.evaluate(`(async () => {
    const output = audiosvc.output(${JSON.stringify(session)});
    await output.context.audioWorklet.addModule("data:text/javascript," + ${JSON.stringify(encodeURIComponent(RECORDER))});
    globalThis.recorder = new AudioWorkletNode(output.context, "recorder", { numberOfOutputs: 0 });
    output.connect(recorder);
  })()`);
  return async () => {
    const text = await page.evaluate<string>(`new Promise((resolve) => {
      recorder.port.onmessage = async ({ data }) => {
        const reader = new FileReader();
        reader.onload = () => resolve(reader.result.split(",")[1]);
        reader.readAsDataURL(new Blob(data));
      };
      recorder.port.postMessage("stop");
    })`);
    const bytes = Buffer.from(text, "base64");
    return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  };
}
