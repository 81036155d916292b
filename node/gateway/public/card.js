/** One session's card. */
import { Finder } from "./finder.js";
import { clock, decibels, hostOf, level, spoken } from "./format.js";
import { Icon } from "./icons.js";
import { Cover, coloursOf, drawBuffer, LevelMeter } from "./meters.js";
import { Queue } from "./queue.js";
import { html, useEffect, useReducer, useRef } from "./vendor/htm-preact.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./stage.js").Stage} Stage */

/** Milliseconds that are wanted before sound begins, as the worklet has it. */
const START_MS = 100;
/** Seconds an arrow key moves, and a page key. */
export const STEP = 5;
const LEAP = 30;
/** Seconds that the slider reaches over where nobody knows how long a track is, and by which it grows. */
const REACH = 600;
/** Milliseconds after the last key before a position wished by keys is asked for. */
const KEYS_SETTLE_MS = 180;

/** @type {Record<import("./session.js").Mood, string>} */
const WORDS = {
  idle: "Nothing playing",
  resolving: "Resolving",
  buffering: "Buffering",
  playing: "Playing",
  paused: "Paused",
  ended: "Ended",
  error: "Error",
  elsewhere: "Heard in another tab",
  locked: "Sound is off",
  offline: "Not connected",
};

/** @param {{ session: Session, stage: Stage, active: boolean, alone: boolean, onactive: () => void }} props */
export function Card({ session, stage, active, alone, onactive }) {
  const [, changed] = useReducer((/** @type {number} */ n) => n + 1, 0);
  useEffect(() => {
    session.addEventListener("change", changed);
    return () => session.removeEventListener("change", changed);
  }, [session]);
  const { state, mood } = session;
  const { track } = state;
  const heading = `card-${session.name}`;
  return html`<section class="card" data-session=${session.name} data-mood=${mood} data-active=${active}
      aria-labelledby=${heading} onFocusCapture=${onactive} onPointerDownCapture=${onactive}>
    <header class="card-head">
      <h2 id=${heading}><span class="dot" aria-hidden="true"></span>${session.name}</h2>
      <span class="mood">${moodWords(session)}</span>
      ${
        alone
          ? undefined
          : html`<a class="tool" href=${`?session=${session.name}`} target="_blank" rel="noopener"
              aria-label=${`Open ${session.name} in a tab of its own`} title="Open in a tab of its own"><${Icon} name="tab" /></a>`
      }
    </header>
    <p class="unseen" role="status">${`${session.name}: ${moodWords(session)}${track === undefined ? "" : `, ${track.title}`}`}</p>
    <div class="now">
      <${Artwork} session=${session} stage=${stage} />
      <div class="now-words">
        <p class="title" title=${track?.title ?? ""}>${track?.title ?? "Nothing has been played yet"}</p>
        <p class="uploader">${track === undefined ? "Search, paste an address, or take a built-in piece below." : byline(track, session.live)}</p>
        ${
          mood === "elsewhere"
            ? html`<button class="plain" onClick=${() => session.hear()}>Hear it here</button>`
            : undefined
        }
      </div>
    </div>
    ${state.error === "" ? undefined : html`<p class="error" role="alert">${state.error}</p>`}
    <${Progress} session=${session} stage=${stage} />
    <${Transport} session=${session} />
    <${Gauges} session=${session} stage=${stage} />
    <${Finder} session=${session} />
    <${Queue} session=${session} />
    <${Events} session=${session} />
  </section>`;
}

/** @param {Session} session */
export function moodWords(session) {
  const { mood } = session;
  return mood === "ended" && session.state.over === "stopped" ? "Stopped" : WORDS[mood];
}

/** @param {import("./state.js").Track} track @param {boolean} live */
function byline(track, live) {
  if (live) return `${track.uploader ?? hostOf(track.url)} · live`;
  const parts = [track.uploader, track.duration === undefined ? undefined : clock(track.duration)];
  return parts.filter((part) => part !== undefined).join(" · ") || track.url;
}

/**
 * A cover drawn of the track's address. Pictures of the track's own are not shown: they lie on other servers, which would learn who
 * listens to what.
 * @param {{ session: Session, stage: Stage }} props
 */
function Artwork({ session, stage }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  useEffect(() => {
    const cover = new Cover();
    return stage.paints(() => {
      if (canvas.current === null) return;
      const key = session.state.track?.url ?? "";
      cover.draw(canvas.current, key, session.voice?.meters[0], !stage.still && session.mood === "playing");
    });
  }, [session]);
  return html`<canvas class="cover" ref=${canvas} aria-hidden="true"></canvas>`;
}

/** @param {{ session: Session, stage: Stage }} props */
function Progress({ session, stage }) {
  const slider = useRef(/** @type {HTMLInputElement | null} */ (null));
  const elapsed = useRef(/** @type {HTMLElement | null} */ (null));
  /** Set while the user moves the slider: it follows the hand, not the sound. */
  const hand = useRef({ holds: false, timer: 0 });
  const { track } = session.state;
  const { canSeek, live } = session;

  useEffect(
    () =>
      stage.paints(() => {
        const { current } = slider;
        if (current === null || elapsed.current === null) return;
        const whole = session.state.track?.duration;
        const position = hand.current.holds ? current.valueAsNumber : session.position;
        if (!hand.current.holds) place(current, session, position);
        const share = whole === undefined || whole === 0 ? 0 : (100 * position) / whole;
        current.style.setProperty("--share", `${share.toFixed(2)}%`);
        const shown = clock(position);
        if (elapsed.current.textContent !== shown) {
          elapsed.current.textContent = shown;
          const end = whole === undefined ? "" : ` of ${spoken(whole)}`;
          current.setAttribute("aria-valuetext", `${session.live ? "live, " : ""}${spoken(position)}${end}`);
        }
      }),
    [session],
  );

  function settle() {
    clearTimeout(hand.current.timer);
    if (!hand.current.holds || slider.current === null) return;
    hand.current.holds = false;
    session.seek(slider.current.valueAsNumber);
  }

  /** @param {KeyboardEvent} event */
  function onkeydown(event) {
    const by = KEYS[event.key];
    const { current } = slider;
    if (by === undefined || current === null) return;
    event.preventDefault();
    event.stopPropagation();
    if (by === Infinity && session.state.track?.duration === undefined) return;
    const from = hand.current.holds ? current.valueAsNumber : session.position;
    hand.current.holds = true;
    place(current, session, from + by);
    clearTimeout(hand.current.timer);
    hand.current.timer = window.setTimeout(settle, KEYS_SETTLE_MS);
  }

  return html`<div class="progress">
    <span class="time" ref=${elapsed}>${clock(session.position)}</span>
    <input type="range" class="seek" min="0" step="0.05" disabled=${!canSeek} ref=${slider}
      aria-label=${`Position in ${session.name}`}
      onInput=${() => {
        hand.current.holds = true;
      }}
      onChange=${settle} onKeyDown=${onkeydown} />
    ${live ? html`<span class="time live">live</span>` : html`<span class="time">${clock(track?.duration)}</span>`}
  </div>`;
}

/**
 * Moves the thumb to `position`. Where nobody knows the end, there is always some way to go on.
 * @param {HTMLInputElement} slider @param {Session} session @param {number} position
 */
function place(slider, session, position) {
  const least = Math.max(0, position);
  const open = session.canSeek ? Math.ceil((least + LEAP) / REACH) * REACH : 1;
  const end = session.state.track?.duration ?? open;
  slider.max = String(end);
  slider.value = String(Math.min(least, end));
}

/** @type {Record<string, number | undefined>} */
const KEYS = {
  ArrowLeft: -STEP,
  ArrowDown: -STEP,
  ArrowRight: STEP,
  ArrowUp: STEP,
  PageDown: -LEAP,
  PageUp: LEAP,
  Home: -Infinity,
  End: Infinity,
};

/** @param {{ session: Session }} props */
function Transport({ session }) {
  const { state, muted, volume, name } = session;
  const going = state.status === "playing" || state.status === "resolving";
  const { length } = state.queue;
  const shown = muted ? 0 : volume;
  return html`<div class="transport">
    <div class="buttons" role="group" aria-label=${`Playback of ${name}`}>
      <button class="tool" aria-label="Previous" title="Previous (p)" disabled=${!session.canToggle}
        onClick=${() => session.previous()}><${Icon} name="previous" /></button>
      <button class="main" aria-label=${going ? "Pause" : "Play"} title="Play or pause (space)" disabled=${!session.canToggle}
        onClick=${() => session.toggle()}><${Icon} name=${going ? "pause" : "play"} /></button>
      <button class="tool" aria-label="Next" title="Next (n)" disabled=${!state.joined || length === 0}
        onClick=${() => session.next()}><${Icon} name="next" /></button>
      <button class="tool" aria-label="Stop" title="Stop (s)" disabled=${!state.joined || state.status === "idle"}
        onClick=${() => session.stop()}><${Icon} name="stop" /></button>
    </div>
    <div class="volume">
      <button class="tool" aria-label="Mute" aria-pressed=${muted ? "true" : "false"} title="Mute (m)"
        onClick=${() => session.setMuted(!muted)}><${Icon} name=${shown === 0 ? "mute" : "loud"} /></button>
      <input type="range" min="0" max="100" step="1" value=${Math.round(shown * 100)} aria-label=${`Volume of ${name}`}
        aria-valuetext=${`${Math.round(shown * 100)} percent`} style=${{ "--share": `${shown * 100}%` }}
        onInput=${(/** @type {Event} */ event) =>
          session.setVolume(/** @type {HTMLInputElement} */ (event.target).valueAsNumber / 100)} />
    </div>
  </div>`;
}

/** @param {{ session: Session, stage: Stage }} props */
function Gauges({ session, stage }) {
  const meter = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const bar = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const [, tick] = useReducer((/** @type {number} */ n) => n + 1, 0);
  const levels = useRef(/** @type {LevelMeter | null} */ (null));
  levels.current ??= new LevelMeter();

  useEffect(() => {
    session.link.addEventListener("figures", tick);
    return () => session.link.removeEventListener("figures", tick);
  }, [session]);

  useEffect(() => {
    let colours = /** @type {import("./meters.js").Colours | undefined} */ (undefined);
    const forget = stage.onTheme(() => {
      colours = undefined;
    });
    const stop = stage.paints((now) => {
      if (meter.current === null || bar.current === null || levels.current === null) return;
      colours ??= coloursOf(meter.current);
      levels.current.take(session.voice?.levels() ?? [], now);
      levels.current.draw(meter.current, colours);
      const { bufferedMs: buffered, windowMs: window } = session;
      drawBuffer(bar.current, colours, { buffered, start: START_MS, chosen: session.link.window * 20, window });
    });
    return () => {
      forget();
      stop();
    };
  }, [session]);

  const { figures, underruns, bufferedMs, latencyMs, windowMs } = session;
  const { recoveries } = session.state;
  const [left, right] = session.voice?.levels() ?? [];
  return html`<div class="gauges">
    <div class="gauge">
      <span class="gauge-name" aria-hidden="true">L<br />R</span>
      <canvas class="levels" ref=${meter} role="img" aria-label="Levels, left and right, −60 to 0 dBFS"></canvas>
      <span class="gauge-value">${level(decibels(left?.peak ?? 0))}<br />${level(decibels(right?.peak ?? 0))}</span>
    </div>
    <div class="gauge">
      <span class="gauge-name">Buffer</span>
      <canvas class="buffer" ref=${bar} role="img" aria-label="Buffer, with lines where sound begins and where the window ends"></canvas>
      <span class="gauge-value">${Math.round(bufferedMs)} ms<br />of ${windowMs}</span>
    </div>
    <dl class="figures">
      <${Figure} name="Latency" value=${Math.round(latencyMs)} unit="ms" title="Buffer, and what the browser and the device add" />
      <${Figure} name="Underruns" value=${underruns} unit="" alarm=${underruns > 0} title="Times the sound ran dry while it played" />
${
  recoveries === 0
    ? undefined
    : html`<${Figure} name="Recoveries" value=${recoveries} unit="" title="Times a failed source was opened again, and the sound went on" />`
}
      <${Figure} name="Rate" value=${Math.round(figures.kilobits)} unit="kbit/s" title="Of Opus packets, over two seconds" />
      <${Figure} name="Packets" value=${figures.packets.toLocaleString("en")} unit="" title="Of 20 ms, received since the page was opened" />
      <${Figure} name="Credit" value=${figures.credit} unit=${`of ${windowMs / 20}`} title="Packets the gateway may still send" />
    </dl>
  </div>`;
}

/** @param {{ name: string, value: string | number, unit: string, title: string, alarm?: boolean }} props */
function Figure({ name, value, unit, title, alarm = false }) {
  return html`<div title=${title} data-alarm=${alarm}><dt>${name}</dt><dd>${value}${unit === "" ? undefined : html` <small>${unit}</small>`}</dd></div>`;
}

/** @param {{ session: Session }} props */
function Events({ session }) {
  const { log } = session.state;
  return html`<details class="events">
    <summary>Events <span class="count">${log.length}</span></summary>
    ${log.length === 0 ? html`<p class="nothing">None yet.</p>` : undefined}
    <ol>
      ${log.map(
        (entry) => html`<li data-grave=${entry.grave}>
          <time>${new Date(entry.at).toLocaleTimeString("en-GB")}</time>
          <span>${entry.text}${entry.times > 1 ? ` ×${entry.times}` : ""}</span>
        </li>`,
      )}
    </ol>
  </details>`;
}
