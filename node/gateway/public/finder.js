/** Where a session's next sound comes from: an address, a search, the daemon's built-in pieces, or its files. */
import { Files } from "./files.js";
import { clock, kindOf } from "./format.js";
import { Icon } from "./icons.js";
import { html, useState } from "./vendor/htm-preact.js";

/** @typedef {import("./session.js").Session} Session */

/** Characters of an address and of words to search for, as the gateway has it. */
const ADDRESS_MOST = 2048;
const WORDS_MOST = 500;

/** @param {{ session: Session }} props */
export function Finder({ session }) {
  const [text, setText] = useState("");
  const { state, name } = session;
  const kind = kindOf(text);

  /** @param {Event} event */
  function onsubmit(event) {
    event.preventDefault();
    if (kind === "address") {
      session.take(text.trim(), "play");
      setText("");
    } else if (kind === "words") {
      session.search(text.trim().slice(0, WORDS_MOST));
    }
  }

  function add() {
    session.take(text.trim(), "add");
    setText("");
  }

  const field = `find-${name}`;
  return html`<div class="finder">
    <form role="search" onSubmit=${onsubmit} aria-label=${`Find something for ${name}`}>
      <label class="unseen" for=${field}>Address or search words</label>
      <input id=${field} class="find" type="text" value=${text} autocomplete="off" autocapitalize="off" spellcheck=${false}
        enterkeyhint=${kind === "address" ? "go" : "search"} placeholder="Address, or words to search" maxlength=${ADDRESS_MOST}
        onInput=${(/** @type {Event} */ event) => setText(/** @type {HTMLInputElement} */ (event.target).value)} />
      ${kind === "address" ? html`<button type="button" class="plain" onClick=${add}>Queue</button>` : undefined}
      <button type="submit" class="plain strong" disabled=${kind === "nothing" || !state.joined}>
        ${kind === "address" ? "Play" : "Search"}
      </button>
    </form>
    <${Offer} session=${session} />
    ${
      state.pieces.length === 0
        ? undefined
        : html`<ul class="pieces" aria-label="Built-in pieces">
            ${state.pieces.map(
              (piece) => html`<li key=${piece.url}>
                <button class="chip" onClick=${() => session.play(piece.url)} title=${`Play ${piece.title} now`}>
                  <${Icon} name="play" />${piece.title}</button
                ><button class="chip" aria-label=${`Add ${piece.title} to the queue`} title="Add to the queue"
                  onClick=${() => session.add(piece)}><${Icon} name="add" /></button>
              </li>`,
            )}
          </ul>`
    }
    <${Results} session=${session} />
    <${Files} session=${session} />
  </div>`;
}

/** The other tracks of a list whose address was typed. @param {{ session: Session }} props */
function Offer({ session }) {
  const { list } = session.state;
  if (list === undefined) return undefined;
  return html`<div class="strip offer">
    <p role="status">That is a list of ${list.count} tracks, and its first one is taken. Add all?</p>
    <button class="plain small strong" onClick=${() => session.addOthers()}>Add the other ${list.count - 1}</button>
    <button class="plain small" onClick=${() => session.closeList()}>No</button>
  </div>`;
}

/** @param {{ session: Session }} props */
function Results({ session }) {
  const { query, searching, results } = session.state;
  if (query === "") return undefined;
  const words = searching
    ? `Searching for “${query}”…`
    : `${results.length === 0 ? "Nothing" : results.length} found for “${query}”`;
  return html`<div class="results">
    <div class="strip">
      <p role="status">${words}</p>
      <button class="plain small" onClick=${() => session.clearResults()}>Close</button>
    </div>
    <ul class="tracks">
      ${results.map(
        (track) => html`<li key=${track.url}>
          <button class="track" onClick=${() => session.play(track.url)} title="Play now">
            <span class="track-title">${track.title}</span>
            <span class="track-by">${track.uploader ?? ""}</span>
            <span class="time">${clock(track.duration)}</span>
          </button>
          <button class="tool small" aria-label=${`Add ${track.title} to the queue`} title="Add to the queue"
            onClick=${() => session.add(track)}><${Icon} name="add" /></button>
        </li>`,
      )}
    </ul>
  </div>`;
}
