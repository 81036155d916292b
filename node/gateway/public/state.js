/** What the gateway has said of a session, folded into one thing to show. Nothing here touches the browser. */

/** @typedef {{ url: string, title: string, duration?: number, uploader?: string, live?: true }} Track */
/** @typedef {{ name: string, url: string, kind: "folder" | "file", size?: number }} FileEntry */
/** @typedef {"idle" | "resolving" | "playing" | "paused"} Status */
/** @typedef {{ at: number, text: string, grave: boolean, times: number }} Entry */
/**
 * @typedef {object} SessionState
 * @property {boolean} joined
 * @property {boolean} heard by this page
 * @property {Status} status
 * @property {Track | undefined} track what plays, or what played last
 * @property {number} position seconds, as of the gateway's last word
 * @property {number} told when that was, in ms
 * @property {"" | "finished" | "stopped"} over why nothing plays, where something did
 * @property {string} error why the last track or action failed
 * @property {Track[]} queue
 * @property {number} index of what plays in the queue, -1 for none
 * @property {string} query asked for and not yet answered, or answered by `results`
 * @property {boolean} searching
 * @property {Track[]} results
 * @property {Track[]} pieces the daemon's built-in ones
 * @property {string} address that was typed last, which may turn out to be a list
 * @property {{ url: string, count: number } | undefined} list that it is; its first track was taken already
 * @property {{ path: string, entries: FileEntry[] } | undefined} files a folder of the daemon's, where it shows any
 * @property {number} recoveries times the daemon opened a failed source again
 * @property {Entry[]} log newest first
 */
/** @typedef {Record<string, unknown> & { type?: unknown }} GatewayMessage */

/** The query that lists the built-in pieces. */
export const PIECES = "demo:";
const LOG_LENGTH = 50;

/** @returns {SessionState} */
export function initial() {
  return {
    joined: false,
    heard: false,
    status: "idle",
    track: undefined,
    position: 0,
    told: 0,
    over: "",
    error: "",
    queue: [],
    index: -1,
    query: "",
    searching: false,
    results: [],
    pieces: [],
    address: "",
    list: undefined,
    files: undefined,
    recoveries: 0,
    log: [],
  };
}

/**
 * @param {SessionState} state @param {GatewayMessage} message @param {number} now milliseconds
 * @returns {SessionState} a new one, or the same where the message changes nothing
 */
export function reduce(state, message, now) {
  switch (message.type) {
    case "session":
      return { ...state, joined: true };
    case "state": {
      const status = /** @type {Status} */ (message.status);
      const track = trackOf(message.track) ?? state.track;
      const changed = {
        ...state,
        joined: true,
        heard: message.heard === true,
        status,
        track,
        position: numberOf(message.position) ?? state.position,
        told: now,
        over: status === "idle" ? state.over : /** @type {const} */ (""),
      };
      if (state.joined && state.heard && !changed.heard) return noted(changed, now, "heard in another tab now");
      return changed;
    }
    case "nowPlaying":
      return noted(
        { ...state, status: "resolving", ...current(message, state), error: "", over: "" },
        now,
        "asked for",
        true,
      );
    case "ready":
      return noted(
        { ...state, status: "playing", ...current(message, state), error: "", over: "" },
        now,
        "ready",
        true,
      );
    case "metadata":
      return noted({ ...state, track: trackOf(message.track) ?? state.track }, now, "on air", true);
    case "recovered":
      return noted(
        { ...state, recoveries: state.recoveries + 1 },
        now,
        `the source failed and was opened again at ${seconds(message.position)}`,
      );
    case "seeked":
      return noted(
        { ...state, position: numberOf(message.position) ?? 0 },
        now,
        `seeked to ${seconds(message.position)}`,
      );
    case "paused":
    case "resumed":
      return noted(
        { ...state, status: message.type === "paused" ? "paused" : "playing", error: "" },
        now,
        `${message.type} at ${seconds(message.position)}`,
      );
    case "stopped":
      return noted({ ...state, status: "idle", over: "stopped" }, now, `stopped (${text(message.reason)})`);
    case "finished":
      return noted({ ...state, status: "idle", over: "finished" }, now, `finished after ${seconds(message.played)}`);
    case "queueUpdated":
      return { ...state, queue: tracksOf(message.queue), index: numberOf(message.index) ?? -1 };
    case "queueFinished":
      return noted(state, now, "the queue is through");
    case "searchResults":
      return found(state, text(message.query), tracksOf(message.results));
    case "listed":
      return listed(state, text(message.url), numberOf(message.count) ?? 0);
    case "listAdded":
      return added(state, message, now);
    case "files":
      return { ...state, files: { path: text(message.path), entries: filesOf(message.entries) } };
    case "error":
      return failed(state, message, now);
    default:
      return state;
  }
}

/** @param {SessionState} state @param {string} query */
export function searching(state, query) {
  return query === PIECES ? state : { ...state, query, searching: true, results: [] };
}

/**
 * An address was typed, to be played or queued: the gateway is asked whether it is a list.
 * @param {SessionState} state @param {string} address
 */
export function typed(state, address) {
  return { ...state, address, list: undefined };
}

/**
 * Adds a line to the log; one that repeats the last only counts.
 * @param {SessionState} state @param {number} now @param {string} line @param {boolean} [titled] @param {boolean} [grave]
 * @returns {SessionState}
 */
export function noted(state, now, line, titled = false, grave = false) {
  const title = titled && state.track !== undefined ? `: ${state.track.title}` : "";
  const entry = { at: now, text: line + title, grave, times: 1 };
  const [last, ...older] = state.log;
  if (last?.text === entry.text) return { ...state, log: [{ ...entry, times: last.times + 1 }, ...older] };
  return { ...state, log: [entry, ...state.log].slice(0, LOG_LENGTH) };
}

/** @param {SessionState} state @param {GatewayMessage} message @param {number} now */
function failed(state, message, now) {
  const action = text(message.action);
  // Whether an address can be played, its play tells; that there are no files here is no failure.
  if (action === "list") return state;
  if (action === "files" && message.code === "files_refused") return { ...state, files: undefined };
  const reason = text(message.message) || text(message.code) || "unknown";
  const error = action === "" ? `${reason}.` : `${ACTIONS[action] ?? action} was refused: ${reason}.`;
  return noted({ ...state, error, searching: action === "search" ? false : state.searching }, now, error, false, true);
}

/** @type {Record<string, string | undefined>} */
const ACTIONS = {
  play: "Playing",
  stop: "Stopping",
  pause: "Pausing",
  resume: "Going on",
  resumeFrom: "Going on",
  seek: "Seeking",
  skip: "Skipping",
  previous: "Going back",
  search: "The search",
  join: "Joining",
  addToQueue: "Adding to the queue",
  addList: "Adding the list",
  files: "Opening the folder",
  playFromQueue: "Playing",
  moveInQueue: "Moving",
  removeFromQueue: "Removing",
};

/** @param {SessionState} state @param {string} query @param {Track[]} tracks */
function found(state, query, tracks) {
  const listed = query === PIECES ? { ...state, pieces: tracks } : state;
  return query === state.query ? { ...listed, searching: false, results: tracks } : listed;
}

/** @param {SessionState} state @param {string} url @param {number} count */
function listed(state, url, count) {
  return url === state.address && count > 1 ? { ...state, list: { url, count } } : state;
}

/** @param {SessionState} state @param {GatewayMessage} message @param {number} now */
function added(state, { count, left }, now) {
  const told = noted(state, now, `${numberOf(count) ?? 0} tracks of a list were added to the queue`);
  const missing = numberOf(left) ?? 0;
  if (missing === 0) return told;
  const error = `${missing} tracks of the list were left out: the queue is full.`;
  return noted({ ...told, error }, now, error, false, true);
}

/** @param {GatewayMessage} message @param {SessionState} state */
function current(message, state) {
  return { track: trackOf(message.track) ?? state.track, position: numberOf(message.position) ?? 0 };
}

/** @param {unknown} value */
function seconds(value) {
  return typeof value === "number" ? `${value.toFixed(1)} s` : "?";
}

/** @param {unknown} value @returns {number | undefined} */
function numberOf(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}

/** @param {unknown} value */
function text(value) {
  return typeof value === "string" ? value : "";
}

/** @param {unknown} value @returns {Track | undefined} */
function trackOf(value) {
  if (typeof value !== "object" || value === null) return undefined;
  const { url, title, duration, uploader, live } = /** @type {Record<string, unknown>} */ (value);
  if (typeof url !== "string") return undefined;
  /** @type {Track} */
  const track = { url, title: text(title) || url };
  if (typeof duration === "number") track.duration = duration;
  if (typeof uploader === "string") track.uploader = uploader;
  if (live === true) track.live = true;
  return track;
}

/** @param {unknown} value @returns {Track[]} */
function tracksOf(value) {
  return Array.isArray(value) ? value.map(trackOf).filter((track) => track !== undefined) : [];
}

/** @param {unknown} value @returns {FileEntry[]} */
function filesOf(value) {
  return Array.isArray(value) ? value.map(fileOf).filter((entry) => entry !== undefined) : [];
}

/** @param {unknown} value @returns {FileEntry | undefined} */
function fileOf(value) {
  if (typeof value !== "object" || value === null) return undefined;
  const { name, url, kind, size } = /** @type {Record<string, unknown>} */ (value);
  if (typeof name !== "string" || typeof url !== "string") return undefined;
  /** @type {FileEntry} */
  const entry = { name, url, kind: kind === "folder" ? "folder" : "file" };
  if (typeof size === "number") entry.size = size;
  return entry;
}
