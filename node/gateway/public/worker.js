/**
 * Owns the WebSocket and the decoders, away from whatever keeps the page busy. Sound goes from here straight to the audio thread; the
 * page gets the gateway's messages, and figures four times a second.
 */
import { CreditWindow } from "./credit.js";
import { hasWebCodecs, webAssembly, webCodecs } from "./decoder.js";
import { AdaptiveWindow } from "./window.js";

/** @typedef {import("./decoder.js").Decoder} Decoder */
/** @typedef {Record<string, unknown> & { type?: unknown, session?: unknown }} GatewayMessage */

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 8_000;
const FIGURES_MS = 250;
/** A packet in samples, and in seconds. */
const FRAME = 960;
const PACKET = 0.02;
/** Seconds by which the gateway's position may differ from the one counted here: it is told of a running track. */
const DRIFT = 0.25;
/** Failures in a row after which the browser's own decoder is given up for the WebAssembly one. */
const TOLERATED_FAILURES = 3;

let url = "";
/** @type {WebSocket | undefined} */
let socket;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let retry;
let attempts = 0;
/** @type {"WebCodecs" | "WebAssembly"} */
let kind = "WebCodecs";
/** @type {Map<string, Feed>} */
const feeds = new Map();
/** @type {Map<number, Feed>} */
const channels = new Map();
let marks = 0;

/** One session's way from the socket to the audio thread. */
class Feed {
  /** @param {string} name @param {number} window packets */
  constructor(name, window) {
    this.name = name;
    this.window = new AdaptiveWindow(window);
    this.credit = new CreditWindow(window);
    /** Whether this page wants to hear it. */
    this.wanted = false;
    /** Whether the gateway sends it here. */
    this.heard = false;
    /** The last track ended by itself: what is held of it is its end, not stale. */
    this.ended = false;
    /** Another track was asked for: what still comes is the rest of the old one. */
    this.leaving = false;
    /** Where the next packet lies in the track, in seconds. */
    this.position = 0;
    this.epoch = 0;
    /** Of this epoch: packets given to the decoder, and blocks it gave back. */
    this.fed = 0;
    this.decoded = 0;
    /** What goes to the audio thread behind the block of that number. @type {{ behind: number, message: object }[]} */
    this.later = [];
    this.failures = 0;
    this.packets = 0;
    this.bytes = 0;
    /** Bytes of each of the last eight quarter seconds. @type {number[]} */
    this.quarters = [];
    this.quarter = 0;
    /** @type {Decoder | undefined} */
    this.decoder = undefined;
    /** @type {MessagePort | undefined} */
    this.audio = undefined;
  }

  /** @param {MessagePort} audio */
  connect(audio) {
    this.audio = audio;
    audio.onmessage = ({ data }) => {
      if (data.epoch !== this.epoch) return;
      this.credit.consumed(data.consumed);
      this.window.heard(data.consumed);
      // What a connection that is gone leaves dry, no window would have filled.
      if (data.dry && this.heard) this.window.ranDry();
      this.resize();
      this.allow();
    };
  }

  /** Takes over what the window is now. */
  resize() {
    const { size } = this.window;
    if (size === this.credit.size) return;
    tell({ type: "window", session: this.name, from: this.credit.size, to: size });
    this.credit.size = size;
  }

  /** @param {number} window packets, as the user wants it */
  choose(window) {
    this.window.choose(window);
    this.credit.size = window;
    this.allow();
  }

  join() {
    this.credit.forgotten();
    send({ action: "join", session: this.name, heard: this.wanted });
  }

  /** Gives the gateway what credit there is to give. */
  allow() {
    if (!this.heard || this.audio === undefined) return;
    const packets = this.credit.grant();
    if (packets > 0) send({ action: "credit", session: this.name, packets });
  }

  /** @param {Uint8Array<ArrayBuffer>} packet */
  packet(packet) {
    this.packets += 1;
    this.bytes += packet.length;
    this.quarter += packet.length;
    this.credit.received();
    this.ended = false;
    this.fed += 1;
    this.position += PACKET;
    this.decoder ??= this.makeDecoder();
    this.decoder.decode(packet);
    if (this.leaving) this.afterwards({ type: "end" });
  }

  /** @param {Float32Array} left @param {Float32Array} right */
  block(left, right) {
    this.audio?.postMessage({ type: "block", left, right }, [left.buffer, right.buffer]);
    this.decoded += 1;
    this.settle();
  }

  /** Tells the audio thread something that holds once all packets so far are through. @param {object} message */
  afterwards(message) {
    this.later.push({ behind: this.fed, message });
    this.settle();
  }

  settle() {
    for (let next = this.later[0]; next !== undefined && next.behind <= this.decoded; next = this.later[0]) {
      this.audio?.postMessage(next.message);
      this.later.shift();
    }
  }

  makeDecoder() {
    const make = kind === "WebCodecs" ? webCodecs : webAssembly;
    return make({
      block: ({ left, right }) => {
        this.failures = 0;
        this.block(left, right);
      },
      // Silence in its place keeps the time, and the pace at which packets are asked for.
      lost: (packets) => {
        for (let packet = 0; packet < packets; packet += 1)
          this.block(new Float32Array(FRAME), new Float32Array(FRAME));
      },
      failed: (message) => {
        this.decoder = undefined;
        this.failures += 1;
        if (kind === "WebCodecs" && this.failures >= TOLERATED_FAILURES) {
          kind = "WebAssembly";
          this.failures = 0;
          tell({ type: "decoder", kind });
        }
        tell({ type: "decoderFailed", session: this.name, message });
      },
    });
  }

  /** Drops all that is on its way to the ear. @param {number} position of what comes next */
  flush(position) {
    this.epoch += 1;
    this.ended = false;
    this.leaving = false;
    this.decoder?.close();
    this.decoder = undefined;
    this.credit.dropped();
    this.fed = 0;
    this.decoded = 0;
    this.later.length = 0;
    this.audio?.postMessage({ type: "flush", epoch: this.epoch, mark: this.mark(position) });
    this.allow();
  }

  /** @param {number} position @returns {number} a number the audio thread reports when it gets there */
  mark(position) {
    marks += 1;
    this.position = position;
    tell({ type: "mark", session: this.name, mark: marks, position });
    return marks;
  }

  end() {
    this.ended = true;
    this.afterwards({ type: "end" });
  }

  /** @param {GatewayMessage} message */
  message(message) {
    const position = typeof message.position === "number" ? message.position : 0;
    switch (message.type) {
      case "session":
        for (const [number, feed] of channels) if (feed === this) channels.delete(number);
        channels.set(Number(message.channel), this);
        break;
      case "state": {
        const heard = message.heard === true;
        if (this.heard && !heard) this.credit.forgotten();
        this.heard = heard;
        const stands = message.status === "playing" || message.status === "paused";
        if (heard && stands && Math.abs(position - this.position) > DRIFT) {
          this.afterwards({ type: "mark", mark: this.mark(position) });
        }
        this.allow();
        break;
      }
      case "nowPlaying":
        this.leaving = true;
        this.afterwards({ type: "end" });
        break;
      case "ready":
        this.leaving = false;
        if (this.ended) this.afterwards({ type: "mark", mark: this.mark(position) });
        else this.flush(position);
        break;
      case "seeked":
        this.flush(position);
        break;
      case "stopped":
        this.flush(0);
        break;
      case "finished":
        this.end();
        break;
      case "error":
        if (message.action === undefined) this.end();
        break;
    }
  }

  figures() {
    this.quarters.push(this.quarter);
    if (this.quarters.length > 8) this.quarters.shift();
    this.quarter = 0;
    const seconds = (this.quarters.length * FIGURES_MS) / 1000;
    const bytes = this.quarters.reduce((sum, quarter) => sum + quarter, 0);
    return {
      packets: this.packets,
      bytes: this.bytes,
      kilobits: (bytes * 8) / 1000 / seconds,
      credit: this.credit.outstanding,
      held: this.credit.held,
      window: this.credit.size,
      heard: this.heard,
    };
  }
}

/** @param {unknown} message @param {Transferable[]} [transfer] */
function tell(message, transfer = []) {
  self.postMessage(message, { transfer });
}

/** @param {object} message @returns {boolean} */
function send(message) {
  if (socket?.readyState !== WebSocket.OPEN) return false;
  socket.send(JSON.stringify(message));
  return true;
}

function open() {
  clearTimeout(retry);
  tell({ type: "link", status: "connecting", attempts });
  const opened = new WebSocket(url);
  socket = opened;
  opened.binaryType = "arraybuffer";
  opened.onopen = () => {
    attempts = 0;
    tell({ type: "link", status: "open", attempts });
    for (const feed of feeds.values()) feed.join();
  };
  opened.onmessage = ({ data }) => {
    if (typeof data === "string") text(data);
    else binary(new Uint8Array(data));
  };
  opened.onclose = ({ code, reason }) => {
    if (socket !== opened) return;
    socket = undefined;
    channels.clear();
    for (const feed of feeds.values()) {
      feed.heard = false;
      feed.credit.forgotten();
    }
    const most = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** attempts);
    const delay = most * (0.75 + Math.random() / 4);
    attempts += 1;
    tell({ type: "link", status: "waiting", attempts, delay, code, reason });
    retry = setTimeout(open, delay);
  };
}

/** @param {string} data */
function text(data) {
  /** @type {GatewayMessage} */
  let message;
  try {
    message = JSON.parse(data);
  } catch {
    tell({ type: "nonsense" });
    return;
  }
  // The page learns of a message first, of the mark it makes next.
  tell({ type: "message", message });
  if (typeof message.session === "string") feeds.get(message.session)?.message(message);
}

/** @param {Uint8Array<ArrayBuffer>} frame */
function binary(frame) {
  const [channel] = frame;
  if (channel === undefined) return;
  channels.get(channel)?.packet(frame.subarray(1));
}

self.onmessage = ({ data }) => {
  switch (data.type) {
    case "open":
      url = data.url;
      kind = data.decoder === "WebAssembly" || !hasWebCodecs() ? "WebAssembly" : "WebCodecs";
      tell({ type: "decoder", kind });
      open();
      setInterval(() => {
        /** @type {Record<string, object>} */
        const figures = {};
        for (const feed of feeds.values()) figures[feed.name] = feed.figures();
        tell({ type: "figures", figures });
      }, FIGURES_MS);
      break;
    case "retry":
      if (socket === undefined) open();
      break;
    case "join": {
      const feed = feeds.get(data.session) ?? new Feed(data.session, data.window);
      feeds.set(data.session, feed);
      feed.wanted = data.heard;
      if (data.audio !== undefined) feed.connect(data.audio);
      if (socket?.readyState === WebSocket.OPEN) feed.join();
      break;
    }
    case "window":
      for (const feed of feeds.values()) feed.choose(data.window);
      break;
    case "send":
      if (!send(data.message)) tell({ type: "unsent", message: data.message });
      break;
  }
};
