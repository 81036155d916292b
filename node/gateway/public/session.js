/** One session as the page holds it: what the gateway says of it, what is heard of it, and what can be done with it. */
import { initial, noted, PIECES, reduce, searching, typed } from "./state.js";

/** @typedef {import("./link.js").Link} Link */
/** @typedef {import("./sound.js").Sound} Sound */
/** @typedef {import("./sound.js").Voice} Voice */
/** @typedef {"idle" | "resolving" | "buffering" | "playing" | "paused" | "ended" | "error" | "elsewhere" | "locked" | "offline"} Mood */

/** Seconds from which on "previous" means this track's beginning. */
const RESTART_AFTER = 3;
/** Seconds that a position is shown as wished until the sound gets there. */
const WISH_LASTS = 4;
/** Actions that leave an error on the card. @type {Set<unknown>} */
const QUIET = new Set(["search", "list", "files"]);

export class Session extends EventTarget {
  /** @param {string} name @param {Link} link @param {Sound | undefined} sound undefined: this page can only control */
  constructor(name, link, sound) {
    super();
    this.name = name;
    this.link = link;
    this.sound = sound;
    this.state = initial();
    /** @type {Voice | undefined} */
    this.voice = undefined;
    /** Positions by mark; the audio thread says which mark it has passed. @type {Map<number, number>} */
    this.marks = new Map();
    this.figures = { packets: 0, bytes: 0, kilobits: 0, credit: 0, held: 0, window: 0, heard: false };
    this.volume = read(`audiosvc.volume.${name}`, 0.8);
    this.muted = read(`audiosvc.muted.${name}`, 0) === 1;
    /** Where the user wants to be, until the sound is there. @type {{ position: number, until: number } | undefined} */
    this.wish = undefined;
    /** Where a track that does not play any more would go on. */
    this.resumeAt = 0;
    /** Whether a connection that was there is gone. */
    this.lost = false;
    link.addEventListener("message", (event) => this.onmessage(/** @type {CustomEvent} */ (event).detail));
    link.addEventListener("mark", (event) => this.onmark(/** @type {CustomEvent} */ (event).detail));
    link.addEventListener("figures", (event) => {
      this.figures = /** @type {CustomEvent} */ (event).detail.figures[name] ?? this.figures;
    });
    link.addEventListener("decoderFailed", (event) => {
      const { session, message } = /** @type {CustomEvent} */ (event).detail;
      if (session === name) this.note(`decoder made anew: ${message}`, true);
    });
    link.addEventListener("window", (event) => {
      const { session, from, to } = /** @type {CustomEvent} */ (event).detail;
      if (session === name)
        this.note(`${to > from ? "ran dry: the" : "calm: the"} window is ${to * 20} ms now`, to > from);
    });
    link.addEventListener("unsent", (event) => {
      const { message } = /** @type {CustomEvent} */ (event).detail;
      if (message.session === name) this.onmessage(unsent(message));
    });
    link.addEventListener("link", () => this.onlink());
  }

  /** Makes its part of the audio graph, and joins. */
  async open() {
    if (this.sound === undefined) {
      this.link.join(this.name, false);
      return;
    }
    this.voice = await this.sound.voice();
    this.voice.onphase = () => this.changed();
    this.voice.setVolume(this.muted ? 0 : this.volume);
    const { port1, port2 } = new MessageChannel();
    this.voice.connect(port2);
    this.link.join(this.name, this.sound.running, port1);
  }

  /** Lets this page hear the session, and no other tab. */
  hear() {
    if (this.sound?.running && this.voice !== undefined && !this.state.heard) this.link.join(this.name, true);
  }

  changed() {
    this.dispatchEvent(new Event("change"));
  }

  /** @param {string} line @param {boolean} [grave] */
  note(line, grave = false) {
    this.state = noted(this.state, Date.now(), line, false, grave);
    this.changed();
  }

  onlink() {
    const open = this.link.status === "open";
    if (!open && this.state.joined) {
      this.state = { ...noted(this.state, Date.now(), "connection lost", false, true), joined: false };
      this.lost = true;
    } else if (open && this.lost) {
      this.state = noted(this.state, Date.now(), "connected again");
      this.lost = false;
    }
    this.askForStock();
    this.changed();
  }

  /** The built-in pieces and the daemon's folder, once they can be had. */
  askForStock() {
    const { joined, pieces, files } = this.state;
    if (!joined || this.link.daemon !== "connected") return;
    if (pieces.length === 0) this.link.send({ action: "search", query: PIECES, session: this.name });
    if (files === undefined) this.link.send({ action: "files", session: this.name });
  }

  /** @param {import("./state.js").GatewayMessage} message */
  onmessage(message) {
    if (message.session !== this.name) {
      if (message.type === "error" && message.session === undefined) this.note(String(message.message), true);
      return;
    }
    const first = !this.state.joined;
    const before = this.state.status;
    // What is live goes on without its listener: where it was left is nowhere.
    const at = this.live ? 0 : this.position;
    this.state = reduce(this.state, message, Date.now());
    if (first && this.state.joined) this.askForStock();
    if (message.type === "ready" || message.type === "seeked" || message.type === "stopped") this.wish = undefined;
    // A user's stop and a track's end begin anew; what was cut off goes on.
    if (message.type === "stopped" || message.type === "finished") this.resumeAt = 0;
    if (message.type === "stopped" && message.reason !== "stop") this.resumeAt = at;
    if (message.type === "error" && message.action === undefined) this.resumeAt = before === "resolving" ? 0 : at;
    if (this.state.status !== before || message.type === "error") this.voice?.hold(this.state.status === "paused");
    this.changed();
  }

  /** @param {{ session: string, mark: number, position: number }} detail */
  onmark({ session, mark, position }) {
    if (session !== this.name) return;
    this.marks.set(mark, position);
    for (const old of this.marks.keys()) {
      if (this.marks.size <= 8) break;
      this.marks.delete(old);
    }
  }

  // What is heard.

  /** Seconds into the track, at the ear. */
  get position() {
    if (this.wish !== undefined) {
      if (performance.now() < this.wish.until) return this.wish.position;
      this.wish = undefined;
    }
    const { track, status } = this.state;
    const { duration } = track ?? {};
    if (status === "resolving") return 0;
    if (status === "idle" && this.mood !== "playing") return this.resumeAt;
    const position = this.heardPosition ?? this.toldPosition;
    return duration === undefined ? position : Math.min(position, duration);
  }

  get heardPosition() {
    if (this.voice === undefined || !this.state.heard) return undefined;
    const base = this.marks.get(this.voice.report.mark);
    return base === undefined ? undefined : base + this.voice.sinceMark / this.voice.context.sampleRate;
  }

  /** By the gateway's last word, for who does not hear. */
  get toldPosition() {
    const { position, status, told } = this.state;
    return status === "playing" ? position + (Date.now() - told) / 1000 : position;
  }

  /** Milliseconds of sound on this side of the gateway: in the decoder and queued behind it. */
  get bufferedMs() {
    return this.voice === undefined ? 0 : this.voice.report.buffered / 48;
  }

  /** Milliseconds that it may hold: what was chosen, or more since it ran dry. */
  get windowMs() {
    return (this.figures.window || this.link.window) * 20;
  }

  /** Milliseconds from a packet's arrival to the ear. */
  get latencyMs() {
    return this.sound === undefined ? 0 : this.bufferedMs + this.sound.latency * 1000;
  }

  get underruns() {
    return this.voice?.report.underruns ?? 0;
  }

  /** @returns {Mood} what the card says in one word */
  get mood() {
    const { status, over, error, heard, joined } = this.state;
    const phase = this.voice?.report.phase;
    if (!joined) return "offline";
    if (status === "resolving") return "resolving";
    if (status === "paused") return "paused";
    if (status === "playing") {
      if (this.voice !== undefined && !heard && this.sound?.running) return "elsewhere";
      if (this.sound === undefined || !this.sound.running) return "locked";
      return phase === "playing" || phase === "held" ? "playing" : "buffering";
    }
    if (error !== "") return "error";
    // The gateway has sent the last packet; the ear has still to hear it.
    if (over === "finished") return phase === "playing" ? "playing" : "ended";
    return over === "stopped" ? "ended" : "idle";
  }

  // What can be done.

  /** @param {Record<string, unknown>} message */
  send(message) {
    if (!QUIET.has(message.action)) this.state = { ...this.state, error: "" };
    this.link.send({ ...message, session: this.name });
  }

  /** @param {string} url */
  play(url) {
    this.hear();
    this.send({ action: "play", url });
  }

  /**
   * What was typed or pasted, which may be the address of a list: then its first track is taken, and the others are offered.
   * @param {string} url @param {"play" | "add"} how
   */
  take(url, how) {
    this.state = typed(this.state, url);
    if (how === "play") this.play(url);
    else this.add({ url, title: url });
    this.send({ action: "list", url });
    this.changed();
  }

  /** Adds the tracks of the list that was offered, without the first. */
  addOthers() {
    const { list } = this.state;
    if (list !== undefined) this.send({ action: "addList", url: list.url, from: 1 });
    this.closeList();
  }

  closeList() {
    this.state = { ...this.state, list: undefined };
    this.changed();
  }

  /** @param {string} path of a folder of the daemon's, "" for the outermost */
  openFolder(path) {
    this.send({ action: "files", ...(path !== "" && { path }) });
  }

  /** @param {string} path */
  addFolder(path) {
    this.send({ action: "addList", url: path || "." });
  }

  /** @param {number} index */
  jump(index) {
    this.hear();
    this.send({ action: "playFromQueue", index });
  }

  /** @param {import("./state.js").Track} track */
  add(track) {
    this.send({ action: "addToQueue", url: track.url, title: track.title.slice(0, 300) });
  }

  /** @param {string} query */
  search(query) {
    this.state = searching(this.state, query);
    this.send({ action: "search", query });
    this.changed();
  }

  clearResults() {
    this.state = { ...this.state, query: "", searching: false, results: [] };
    this.changed();
  }

  /** Plays, pauses, goes on: whatever the one button means now. */
  toggle() {
    this.hear();
    const { status, track, queue } = this.state;
    if (status === "playing" || status === "resolving") {
      this.voice?.hold(true);
      this.send({ action: "pause" });
    } else if (status === "paused") {
      this.voice?.hold(false);
      this.send({ action: "resume" });
    } else if (queue.length > 0 && track === undefined) {
      this.send({ action: "playFromQueue", index: 0 });
    } else if (track !== undefined) {
      this.send({ action: "resumeFrom", seconds: this.resumeAt });
    }
  }

  /** @returns {boolean} */
  get canToggle() {
    return this.state.joined && (this.state.track !== undefined || this.state.queue.length > 0);
  }

  stop() {
    this.send({ action: "stop" });
  }

  next() {
    this.send({ action: "skip" });
  }

  /** This track's beginning, or the track before it. */
  previous() {
    if (this.position > RESTART_AFTER && this.canSeek) this.seek(0);
    else this.send({ action: "previous" });
  }

  /** @param {number} seconds */
  seek(seconds) {
    const duration = this.state.track?.duration ?? Number.MAX_VALUE;
    const position = Math.max(0, Math.min(seconds, duration - 0.1));
    this.wish = { position, until: performance.now() + WISH_LASTS * 1000 };
    this.send({ action: "seek", seconds: position });
    this.changed();
  }

  get canSeek() {
    return this.under && this.state.track !== undefined && !this.live;
  }

  /** Whether what plays goes on by itself, as radio does. */
  get live() {
    return this.under && this.state.track?.live === true;
  }

  /** Whether a track is under way. */
  get under() {
    return this.state.status === "playing" || this.state.status === "paused";
  }

  /** @param {number} volume 0 to 1 */
  setVolume(volume) {
    this.volume = Math.max(0, Math.min(1, volume));
    this.muted = false;
    this.loudness();
  }

  /** @param {boolean} muted */
  setMuted(muted) {
    this.muted = muted;
    this.loudness();
  }

  loudness() {
    this.voice?.setVolume(this.muted ? 0 : this.volume);
    write(`audiosvc.volume.${this.name}`, this.volume);
    write(`audiosvc.muted.${this.name}`, this.muted ? 1 : 0);
    this.changed();
  }
}

/** @param {Record<string, unknown>} message @returns {import("./state.js").GatewayMessage} the refusal that the gateway could not send */
function unsent({ action, session }) {
  return { type: "error", session, action, code: "not_connected", message: "the gateway is not connected" };
}

/** @param {string} key @param {number} otherwise @returns {number} */
export function read(key, otherwise) {
  try {
    const value = Number.parseFloat(localStorage.getItem(key) ?? "");
    return Number.isFinite(value) ? value : otherwise;
  } catch {
    return otherwise; // A browser that keeps nothing for this site.
  }
}

/** @param {string} key @param {number} value */
export function write(key, value) {
  try {
    localStorage.setItem(key, String(value));
  } catch {
    // As above: it lasts as long as the page then.
  }
}
