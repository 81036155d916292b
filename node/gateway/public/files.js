/** A small browser of the daemon's own folder, where it shows one. */
import { size } from "./format.js";
import { Icon } from "./icons.js";
import { html } from "./vendor/htm-preact.js";

/** @typedef {import("./session.js").Session} Session */
/** @typedef {import("./state.js").FileEntry} FileEntry */

/** @param {{ session: Session }} props */
export function Files({ session }) {
  const { files } = session.state;
  if (files === undefined) return undefined;
  const { path, entries } = files;
  const tracks = entries.filter(({ kind }) => kind === "file").length;
  return html`<details class="files">
    <summary>Files</summary>
    <div class="strip">
      <p role="status">${path === "" ? "The media folder" : path}</p>
      ${
        path === ""
          ? undefined
          : html`<button class="plain small" onClick=${() => session.openFolder(outer(path))}>Up</button>`
      }
      ${
        tracks === 0
          ? undefined
          : html`<button class="plain small" onClick=${() => session.addFolder(path)}>Queue all ${tracks}</button>`
      }
    </div>
    ${entries.length === 0 ? html`<p class="nothing">Nothing to play in here.</p>` : undefined}
    <ul class="tracks">
      ${entries.map((entry) => html`<${Row} key=${entry.url} session=${session} entry=${entry} />`)}
    </ul>
  </details>`;
}

/** @param {{ session: Session, entry: FileEntry }} props */
function Row({ session, entry }) {
  const { name, url } = entry;
  if (entry.kind === "folder") {
    return html`<li>
      <button class="track" onClick=${() => session.openFolder(url)} title="Open">
        <span class="track-number"><${Icon} name="folder" /></span>
        <span class="track-title">${name}</span>
      </button>
    </li>`;
  }
  return html`<li>
    <button class="track" onClick=${() => session.play(url)} title="Play now">
      <span class="track-title">${name}</span>
      <span class="time">${entry.size === undefined ? "" : size(entry.size)}</span>
    </button>
    <button class="tool small" aria-label=${`Add ${name} to the queue`} title="Add to the queue"
      onClick=${() => session.add({ url, title: name })}><${Icon} name="add" /></button>
  </li>`;
}

/** @param {string} path @returns {string} the folder that the folder is in, "" for the outermost */
function outer(path) {
  const cut = path.lastIndexOf("/");
  return cut < 0 || path.slice(0, cut) === "." ? "" : path.slice(0, cut);
}
