/** The page's pictograms, drawn on a 24 × 24 grid. */
import { html } from "./vendor/htm-preact.js";

const SHAPES = {
  play: "M8 5v14l11-7z",
  pause: "M7 5h4v14H7zm6 0h4v14h-4z",
  stop: "M6 6h12v12H6z",
  next: "M6 5l9 7-9 7zM16 5h2.5v14H16z",
  previous: "M18 5l-9 7 9 7zM5.5 5H8v14H5.5z",
  loud: "M4 9v6h4l5 5V4L8 9zm12.5 3a4.5 4.5 0 0 0-2.5-4v8a4.5 4.5 0 0 0 2.5-4zM14 3.2v2.1a7 7 0 0 1 0 13.4v2.1a9 9 0 0 0 0-17.6z",
  mute: "M4 9v6h4l5 5V4L8 9zm16.5.9-1.4-1.4-2.1 2.1-2.1-2.1-1.4 1.4 2.1 2.1-2.1 2.1 1.4 1.4 2.1-2.1 2.1 2.1 1.4-1.4-2.1-2.1z",
  add: "M11 5h2v6h6v2h-6v6h-2v-6H5v-2h6z",
  remove: "M6.4 5 12 10.6 17.6 5 19 6.4 13.4 12l5.6 5.6-1.4 1.4-5.6-5.6L6.4 19 5 17.6l5.6-5.6L5 6.4z",
  up: "M12 7l7 7-1.4 1.4L12 9.8l-5.6 5.6L5 14z",
  down: "M12 17l-7-7 1.4-1.4 5.6 5.6 5.6-5.6L19 10z",
  search: "M10 4a6 6 0 1 0 3.7 10.7l5 5 1.4-1.4-5-5A6 6 0 0 0 10 4zm0 2a4 4 0 1 1 0 8 4 4 0 0 1 0-8z",
  folder: "M4 6h6l2 2h8v10H4zm2 4v6h12v-6z",
  tab: "M14 4h6v6h-2V7.4l-7.3 7.3-1.4-1.4L16.6 6H14zM5 6h6v2H6v10h10v-5h2v7H4V6z",
};

/** @param {{ name: keyof typeof SHAPES }} props */
export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false"><path d=${SHAPES[name]} /></svg>`;
}
