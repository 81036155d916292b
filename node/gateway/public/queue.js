/** A session's queue: jump, move by buttons or by dragging, remove, clear. */
import { clock } from "./format.js";
import { Icon } from "./icons.js";
import { html, useState } from "./vendor/htm-preact.js";

/** @typedef {import("./session.js").Session} Session */

/** @param {{ session: Session }} props */
export function Queue({ session }) {
  const [dragged, setDragged] = useState(-1);
  const [over, setOver] = useState(-1);
  const { queue, index, pieces, results } = session.state;
  // The gateway learns how long a track is when it plays; until then, a list it was taken from may know.
  const known = new Map([...pieces, ...results].map((track) => [track.url, track.duration]));

  /** @param {number} from @param {number} to */
  function move(from, to) {
    if (from >= 0 && from !== to) session.send({ action: "moveInQueue", index: from, to });
  }

  function drop() {
    move(dragged, over);
    setDragged(-1);
    setOver(-1);
  }

  return html`<div class="queue">
    <div class="strip">
      <h3>Queue <span class="count">${queue.length}</span></h3>
      ${
        queue.length === 0
          ? undefined
          : html`<button class="plain small" onClick=${() => session.send({ action: "clearQueue" })}>Clear</button>`
      }
    </div>
    ${queue.length === 0 ? html`<p class="nothing">Empty. What is added here plays one after the other.</p>` : undefined}
    <ol class="tracks" onDragOver=${(/** @type {DragEvent} */ event) => dragged >= 0 && event.preventDefault()} onDrop=${drop}>
      ${queue.map(
        (track, at) => html`<li key=${`${at} ${track.url}`} draggable="true" data-current=${at === index}
            data-over=${at === over && dragged >= 0 && dragged !== at ? (dragged < at ? "below" : "above") : undefined}
            onDragStart=${(/** @type {DragEvent} */ event) => {
              event.dataTransfer?.setData("text/plain", track.url);
              setDragged(at);
            }}
            onDragEnter=${() => setOver(at)} onDragEnd=${() => setDragged(-1)}>
          <button class="track" onClick=${() => session.jump(at)} aria-current=${at === index ? "true" : undefined} title="Play now">
            <span class="track-number">${at === index ? html`<${Icon} name="play" />` : at + 1}</span>
            <span class="track-title">${track.title}</span>
            <span class="time">${track.live ? "live" : clock(track.duration ?? known.get(track.url))}</span>
          </button>
          <button class="tool small" aria-label=${`Move ${track.title} up`} title="Up" disabled=${at === 0}
            onClick=${() => move(at, at - 1)}><${Icon} name="up" /></button>
          <button class="tool small" aria-label=${`Move ${track.title} down`} title="Down" disabled=${at === queue.length - 1}
            onClick=${() => move(at, at + 1)}><${Icon} name="down" /></button>
          <button class="tool small" aria-label=${`Remove ${track.title}`} title="Remove"
            onClick=${() => session.send({ action: "removeFromQueue", index: at })}><${Icon} name="remove" /></button>
        </li>`,
      )}
    </ol>
  </div>`;
}
