/** A web site on this machine: a radio station, a feed of three parts, and a file that does not say how long it is. */

import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** Bytes of one second: 8 kHz, mono, 16 bits. */
const SECOND = 16_000;

/** Bytes of sound between two titles. */
const TITLE_INTERVAL = SECOND;

/** Of the file that does not say so. */
const UNMEASURED_SECONDS = 60;

const HEADER = 44;

export class Site {
  /** As `http://127.0.0.1:PORT`. */
  url = "";
  /** What the station plays now. */
  song = "First song";
  readonly #server = createServer((request, response) => this.#answer(request, response));

  static async start(): Promise<Site> {
    const site = new Site();
    site.#server.listen(0, "127.0.0.1");
    await once(site.#server, "listening");
    site.url = `http://127.0.0.1:${(site.#server.address() as AddressInfo).port}`;
    return site;
  }

  close(): void {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    switch (request.url) {
      case "/radio":
        this.#radio(request, response);
        break;
      case "/feed.xml":
        response.setHeader("content-type", "application/rss+xml");
        response.end(feed(this.url));
        break;
      case "/unmeasured.au":
        response.setHeader("content-type", "audio/basic");
        // Without a length of the answer, too.
        response.write(unmeasured());
        response.end();
        break;
      default:
        response.setHeader("content-type", "audio/wav");
        response.end(wav(2));
    }
  }

  /** Two seconds at once, then one a second. */
  #radio(request: IncomingMessage, response: ServerResponse): void {
    const titled = request.headers["icy-metadata"] === "1";
    response.writeHead(200, {
      "content-type": "audio/x-wav",
      "icy-name": "Test FM",
      ...(titled && { "icy-metaint": TITLE_INTERVAL }),
    });
    const send = (sound: Buffer): void => {
      response.write(sound);
      if (titled) {
        response.write(title(this.song));
      }
    };
    // Its first block holds the header too.
    send(header(0xffff_ffff, TITLE_INTERVAL));
    send(sine(TITLE_INTERVAL));
    const timer = setInterval(() => send(sine(TITLE_INTERVAL)), 1000);
    response.on("close", () => clearInterval(timer));
  }
}

function feed(url: string): string {
  const parts = [1, 2, 3].map((n) => {
    const at = `${url}/part${n}.wav`;
    return `<item><title>Part ${n}</title><link>${at}</link><enclosure url="${at}" type="audio/wav" length="1"/></item>`;
  });
  return `<?xml version="1.0"?><rss version="2.0"><channel><title>Feed</title><link>${url}/</link>${parts.join("")}</channel></rss>`;
}

/** The header of a file with so many bytes of sound, and the sound behind it up to `length` bytes. */
function header(bytes: number, length: number): Buffer {
  const head = Buffer.alloc(HEADER);
  head.write("RIFF\0\0\0\0WAVEfmt ", "latin1");
  head.writeUInt32LE(Math.min(0xffff_ffff, 36 + bytes), 4);
  head.set([16, 0, 0, 0, 1, 0, 1, 0, 0x40, 0x1f, 0, 0, 0x80, 0x3e, 0, 0, 2, 0, 16, 0], 16);
  head.write("data", 36, "latin1");
  head.writeUInt32LE(bytes, 40);
  return Buffer.concat([head, sine(length - HEADER)]);
}

/** Sun's format has a number that stands for a length that is not known. */
function unmeasured(): Buffer {
  const head = Buffer.from(".snd");
  const numbers = Buffer.alloc(20);
  for (const [i, number] of [24, 0xffff_ffff, 3, SECOND / 2, 1].entries()) {
    numbers.writeUInt32BE(number, 4 * i);
  }
  return Buffer.concat([head, numbers, sine(UNMEASURED_SECONDS * SECOND).swap16()]);
}

export function wav(seconds: number): Buffer {
  return header(seconds * SECOND, HEADER + seconds * SECOND);
}

/** So many bytes of a sine of 400 Hz; what follows on it fits if they are whole periods. */
function sine(bytes: number): Buffer {
  const sound = Buffer.alloc(bytes);
  for (let at = 0; at + 1 < bytes; at += 2) {
    sound.writeInt16LE(Math.round(6000 * Math.sin((2 * Math.PI * 400 * at) / SECOND)), at);
  }
  return sound;
}

/** A block of ICY metadata: its length in sixteens, then text filled up with zeros. */
function title(song: string): Buffer {
  const text = Buffer.from(`StreamTitle='${song}';`);
  const sixteens = Math.ceil(text.length / 16);
  return Buffer.concat([Buffer.from([sixteens]), text, Buffer.alloc(16 * sixteens - text.length)]);
}
