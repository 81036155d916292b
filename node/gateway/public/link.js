/** The page's side of the worker that talks to the gateway. */

/** @typedef {"connecting" | "open" | "waiting"} LinkStatus */

/** Sends on what the worker says as events named by its `type`, the message as `detail`. */
export class Link extends EventTarget {
  /** @param {number} window packets */
  constructor(window) {
    super();
    this.window = window;
    /** @type {LinkStatus} */
    this.status = "connecting";
    /** When the next attempt is due, by `performance.now()`. */
    this.retryAt = 0;
    /** @type {"connected" | "disconnected" | "unknown"} */
    this.daemon = "unknown";
    this.version = "";
    this.decoder = "";
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module", name: "audiosvc" });
    this.worker.onmessage = ({ data }) => this.onmessage(data);
  }

  /** @param {URL} url @param {string} [decoder] `WebAssembly` to do without WebCodecs */
  open(url, decoder) {
    this.worker.postMessage({ type: "open", url: url.href, decoder });
  }

  /** @param {Record<string, any>} data */
  onmessage(data) {
    if (data.type === "link") {
      this.status = data.status;
      this.retryAt = performance.now() + (data.delay ?? 0);
      if (this.status !== "open") this.daemon = "unknown";
    } else if (data.type === "decoder") {
      this.decoder = data.kind;
    } else if (data.type === "message" && data.message.type === "hello") {
      this.daemon = data.message.daemon;
      this.version = data.message.version;
      this.dispatchEvent(new CustomEvent("link"));
    }
    const detail = data.type === "message" ? data.message : data;
    this.dispatchEvent(new CustomEvent(data.type, { detail }));
  }

  /** @param {string} session @param {boolean} heard @param {MessagePort} [audio] to the audio thread */
  join(session, heard, audio) {
    const transfer = audio === undefined ? [] : [audio];
    this.worker.postMessage({ type: "join", session, heard, audio, window: this.window }, transfer);
  }

  /** @param {Record<string, unknown>} message */
  send(message) {
    this.worker.postMessage({ type: "send", message });
  }

  retry() {
    this.worker.postMessage({ type: "retry" });
  }

  /** @param {number} window packets */
  setWindow(window) {
    this.window = window;
    this.worker.postMessage({ type: "window", window });
  }
}
