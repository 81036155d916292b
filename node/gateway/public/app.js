/** The page: its sessions, its header, its keys, and what the console may look at. */
import { Card, STEP } from "./card.js";
import { Link } from "./link.js";
import { read, Session, write } from "./session.js";
import { Sound } from "./sound.js";
import { Stage } from "./stage.js";
import { html, render, useEffect, useReducer, useRef, useState } from "./vendor/htm-preact.js";

const NAME = /^[A-Za-z0-9_-]{1,30}$/;
const DEFAULT_NAMES = ["left", "right"];
/** The gateway's own limit. */
const SESSIONS_MOST = 8;
/** Windows to choose from, in packets of 20 ms. */
const WINDOWS = [15, 25, 50];

const query = new URLSearchParams(location.search);
const named = [...new Set(query.getAll("session"))].filter((name) => NAME.test(name)).slice(0, SESSIONS_MOST);
const names = named.length > 0 ? named : DEFAULT_NAMES;
const stored = read("audiosvc.window", 15);

const link = new Link(WINDOWS.includes(stored) ? stored : 15);
const sound = Sound.available() ? new Sound() : undefined;
const stage = new Stage();
const sessions = names.map((name) => new Session(name, link, sound));

/** Called from a click or a key: before one of these the browser lets no page make a sound. */
async function enable() {
  if (sound === undefined || sound.running) return;
  await sound.enable();
}

if (sound !== undefined) {
  sound.context.addEventListener("statechange", () => {
    for (const session of sessions) {
      if (sound.running) session.hear();
      session.changed();
    }
  });
  for (const kind of ["pointerdown", "keydown"])
    document.addEventListener(kind, () => void enable(), { capture: true });
}

// A button that was pressed by hand lets go of the focus: the space key is "play or pause" again, not that button once more.
document.addEventListener("click", ({ detail, target }) => {
  if (detail > 0 && target instanceof Element) target.closest("button")?.blur();
});

link.open(new URL("ws", location.href.replace(/^http/, "ws")), query.get("decoder") ?? undefined);
for (const session of sessions) {
  session.open().catch((/** @type {unknown} */ error) => session.note(`no sound: ${error}`, true));
}
window.addEventListener("online", () => link.retry());

function App() {
  const [active, setActive] = useState(0);
  const [, changed] = useReducer((/** @type {number} */ n) => n + 1, 0);
  const help = useRef(/** @type {HTMLDialogElement | null} */ (null));

  useEffect(() => {
    link.addEventListener("link", changed);
    link.addEventListener("decoder", changed);
    sound?.context.addEventListener("statechange", changed);
  }, []);
  useEffect(() => {
    const onkeydown = (/** @type {KeyboardEvent} */ event) => {
      if (event.key === "?" && !typing(event)) help.current?.showModal();
      else key(event, active, setActive);
    };
    document.addEventListener("keydown", onkeydown);
    return () => document.removeEventListener("keydown", onkeydown);
  }, [active]);

  return html`<header class="page-head">
      <h1><img src="icon.svg" alt="" width="24" height="24" /> audiosvc <span>playground</span></h1>
      <${LinkState} />
      <div class="settings">
        <label>Window
          <select value=${link.window} onChange=${(/** @type {Event} */ event) => {
            const packets = Number(/** @type {HTMLSelectElement} */ (event.target).value);
            write("audiosvc.window", packets);
            link.setWindow(packets);
            changed();
          }}>${WINDOWS.map((packets) => html`<option value=${packets}>${packets * 20} ms</option>`)}</select>
        </label>
        <span class="decoder" title="What decodes the packets">${link.decoder}</span>
        <button class="plain small" onClick=${() => help.current?.showModal()} aria-label="Help and keyboard shortcuts" title="Help (?)">?</button>
      </div>
    </header>
    <${Notices} />
    <main class="cards" data-count=${sessions.length}>
      ${sessions.map(
        (
          session,
          at,
        ) => html`<${Card} key=${session.name} session=${session} stage=${stage} alone=${sessions.length === 1}
          active=${at === active} onactive=${() => setActive(at)} />`,
      )}
    </main>
    <${Help} dialog=${help} />`;
}

/** Whether sound can be had, and what to do about it. */
function Notices() {
  if (sound === undefined) {
    return html`<div class="banner" role="alert">
      <p><strong>This page has no sound here.</strong> It came over plain http from another machine, and browsers give audio worklets and
      decoders only to pages from https or from this very machine. The controls work: what plays can be heard elsewhere. To hear it here,
      put TLS in front of the gateway, or bring it to this machine's own address with <code>ssh -L 3000:127.0.0.1:3000 host</code>.</p>
    </div>`;
  }
  if (sound.running) return undefined;
  return html`<div class="banner">
    <p><strong>Sound is off.</strong> A browser keeps a page silent until it is clicked.</p>
    <button class="plain strong" onClick=${enable}>Enable sound</button>
  </div>`;
}

/** The connection in words; a countdown while it is down. */
function LinkState() {
  const [, tick] = useReducer((/** @type {number} */ n) => n + 1, 0);
  useEffect(() => {
    const timer = setInterval(() => link.status === "waiting" && tick(0), 500);
    return () => clearInterval(timer);
  }, []);
  const waits = link.status === "waiting";
  const seconds = Math.max(1, Math.ceil((link.retryAt - performance.now()) / 1000));
  const well = link.status === "open" && link.daemon !== "disconnected";
  return html`<div class="link" data-link=${well ? "well" : link.status === "open" ? "daemon" : link.status}>
    <span class="dot" aria-hidden="true"></span>
    <span role="status">${linkWords()}</span>
    ${waits ? html`<span aria-hidden="true">in ${seconds} s</span><button class="plain small" onClick=${() => link.retry()}>Now</button>` : undefined}
  </div>`;
}

function linkWords() {
  if (link.status === "connecting") return "Connecting…";
  if (link.status === "waiting") return "Connection lost, reconnecting";
  return link.daemon === "disconnected" ? "Connected; the daemon is not reachable" : "Connected";
}

/** @param {{ dialog: { current: HTMLDialogElement | null } }} props */
function Help({ dialog }) {
  return html`<dialog ref=${dialog} aria-labelledby="help-title">
    <h2 id="help-title" class="help-title">Keys</h2>
    <p class="help-words">They act on the card that was used last, the one with the bright edge.</p>
    <dl class="keys">
      <dt><kbd>space</kbd></dt><dd>play or pause</dd>
      <dt><kbd>←</kbd> <kbd>→</kbd></dt><dd>${STEP} s back or on</dd>
      <dt><kbd>↑</kbd> <kbd>↓</kbd></dt><dd>louder or softer</dd>
      <dt><kbd>m</kbd></dt><dd>mute</dd>
      <dt><kbd>p</kbd> <kbd>n</kbd></dt><dd>previous, next</dd>
      <dt><kbd>s</kbd></dt><dd>stop</dd>
      <dt><kbd>/</kbd></dt><dd>find something to play</dd>
      <dt><kbd>1</kbd> … <kbd>8</kbd></dt><dd>choose a card</dd>
    </dl>
    <p class="help-words">Each session plays by itself: add <code>?session=name</code> to the address for a tab with one of its own.</p>
    <p class="help-words">In the console, <code>audiosvc.stats("${names[0]}")</code> tells what is heard.</p>
    <form method="dialog"><button class="plain strong">Close</button></form>
  </dialog>`;
}

/** @param {KeyboardEvent} event @returns {boolean} whether the key belongs to what has the focus */
function typing(event) {
  const { target } = event;
  return target instanceof HTMLInputElement && target.type === "text";
}

/** @param {KeyboardEvent} event @param {number} active @param {(at: number) => void} setActive */
function key(event, active, setActive) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || typing(event)) return;
  const { target } = event;
  if (target instanceof HTMLSelectElement || (target instanceof Element && target.closest("dialog") !== null)) return;
  const onRange = target instanceof HTMLInputElement;
  const presses =
    target instanceof HTMLButtonElement ||
    target instanceof HTMLAnchorElement ||
    (target instanceof Element && target.localName === "summary");
  const session = sessions[active];
  if (session === undefined) return;
  const chosen = sessions[Number(event.key) - 1];
  if (chosen !== undefined) {
    setActive(sessions.indexOf(chosen));
    return;
  }
  const act = KEYS[event.key];
  if (act === undefined || (event.key === " " && presses) || (event.key.startsWith("Arrow") && onRange)) return;
  event.preventDefault();
  act(session);
}

/** @type {Record<string, ((session: Session) => void) | undefined>} */
const KEYS = {
  " ": (session) => session.canToggle && session.toggle(),
  ArrowLeft: (session) => session.canSeek && session.seek(session.position - STEP),
  ArrowRight: (session) => session.canSeek && session.seek(session.position + STEP),
  ArrowUp: (session) => session.setVolume(session.volume + 0.05),
  ArrowDown: (session) => session.setVolume(session.volume - 0.05),
  m: (session) => session.setMuted(!session.muted),
  n: (session) => session.state.queue.length > 0 && session.next(),
  p: (session) => session.canToggle && session.previous(),
  s: (session) => session.state.status !== "idle" && session.stop(),
  "/": (session) => document.getElementById(`find-${session.name}`)?.focus(),
};

/**
 * What the console may look at.
 * @param {Session} session
 */
function stats(session) {
  const { state, figures, voice } = session;
  return {
    mood: session.mood,
    status: state.status,
    error: state.error,
    heard: state.heard,
    title: state.track?.title,
    position: session.position,
    live: session.live,
    recoveries: state.recoveries,
    consumedSamples: voice?.report.consumed ?? 0,
    underruns: session.underruns,
    bufferedMs: session.bufferedMs,
    windowMs: session.windowMs,
    latencyMs: session.latencyMs,
    credit: figures.credit,
    packets: figures.packets,
    kilobits: figures.kilobits,
    decoder: link.decoder,
    queue: state.queue.map((track) => track.url),
    tones: voice?.tones() ?? [],
    levels: voice?.levels() ?? [],
  };
}

Object.defineProperty(globalThis, "audiosvc", {
  value: Object.freeze({
    sessions: Object.freeze([...names]),
    link: () => ({ status: link.status, daemon: link.daemon, version: link.version }),
    /** @param {string} name */
    stats(name) {
      const session = sessions.find((one) => one.name === name);
      return session === undefined ? undefined : stats(session);
    },
    /** The audio node a session's sound comes out of, before the volume. @param {string} name */
    output: (name) => sessions.find((one) => one.name === name)?.voice?.player,
  }),
});

document.title = named.length === 1 ? `${names[0]} · audiosvc playground` : "audiosvc playground";
render(html`<${App} />`, /** @type {HTMLElement} */ (document.getElementById("page")));
