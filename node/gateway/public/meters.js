/** What moves: drawn on canvases once a frame, outside of what the page renders. */
import { decibels, hue } from "./format.js";

const QUIETEST = -60;
/** dB a second that the shown level falls, and that its peak mark falls after a second's rest. */
const FALL = 40;
const PEAK_RESTS = 1;
const BARS = 18;
const LOWEST_HZ = 45;
const HIGHEST_HZ = 14_000;

/** @typedef {{ ink: string, dim: string, track: string, good: string, warm: string, hot: string, accent: string }} Colours */

/** @param {HTMLElement} element @returns {Colours} as the style sheet has them now */
export function coloursOf(element) {
  const style = getComputedStyle(element);
  /** @param {string} name */
  const of = (name) => style.getPropertyValue(name).trim();
  return {
    ink: of("--ink"),
    dim: of("--dim"),
    track: of("--track"),
    good: of("--good"),
    warm: of("--warm"),
    hot: of("--hot"),
    accent: of("--accent"),
  };
}

/**
 * A canvas made as sharp as the screen.
 * @param {HTMLCanvasElement} canvas
 * @returns {{ context: CanvasRenderingContext2D, width: number, height: number }} sizes in CSS pixels
 */
function fit(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = window.devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
  }
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/** A pair of level bars, −60 to 0 dBFS: the filled part is the loudness, the thin mark the peak. */
export class LevelMeter {
  constructor() {
    this.shown = [QUIETEST, QUIETEST];
    this.peaks = [QUIETEST, QUIETEST];
    this.rested = [0, 0];
    this.at = 0;
  }

  /** @param {{ peak: number, rms: number }[]} levels @param {number} now seconds */
  take(levels, now) {
    const passed = Math.min(0.5, Math.max(0, now - this.at));
    this.at = now;
    for (const channel of [0, 1]) {
      const { peak = 0, rms = 0 } = levels[channel] ?? {};
      const shown = Math.max(QUIETEST, decibels(rms), /** @type {number} */ (this.shown[channel]) - FALL * passed);
      this.shown[channel] = Math.min(0, shown);
      const loudest = Math.min(0, Math.max(QUIETEST, decibels(peak)));
      const held = /** @type {number} */ (this.peaks[channel]);
      if (loudest >= held) {
        this.peaks[channel] = loudest;
        this.rested[channel] = now;
      } else if (now - /** @type {number} */ (this.rested[channel]) > PEAK_RESTS) {
        this.peaks[channel] = Math.max(loudest, held - FALL * passed);
      }
    }
  }

  /** @param {HTMLCanvasElement} canvas @param {Colours} colours */
  draw(canvas, colours) {
    const { context, width, height } = fit(canvas);
    const gap = 4;
    const bar = (height - gap) / 2;
    const ramp = context.createLinearGradient(0, 0, width, 0);
    ramp.addColorStop(0, colours.good);
    ramp.addColorStop(0.7, colours.good);
    ramp.addColorStop(0.85, colours.warm);
    ramp.addColorStop(1, colours.hot);
    for (const channel of [0, 1]) {
      const y = channel * (bar + gap);
      context.fillStyle = colours.track;
      round(context, 0, y, width, bar);
      context.fillStyle = ramp;
      round(context, 0, y, width * part(/** @type {number} */ (this.shown[channel])), bar);
      const peak = part(/** @type {number} */ (this.peaks[channel]));
      if (peak > 0) {
        context.fillStyle = colours.ink;
        context.fillRect(Math.min(width - 2, width * peak - 1), y, 2, bar);
      }
    }
  }
}

/** @param {number} dbfs */
function part(dbfs) {
  return Math.max(0, 1 - dbfs / QUIETEST);
}

/** @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {number} width @param {number} height */
function round(context, x, y, width, height) {
  if (width <= 0) return;
  context.beginPath();
  context.roundRect(x, y, width, height, Math.min(3, height / 2, width / 2));
  context.fill();
}

/**
 * The buffer: filled so far, with lines where sound begins and where the window ends, and a short one where it ended before it grew.
 * @param {HTMLCanvasElement} canvas @param {Colours} colours
 * @param {{ buffered: number, start: number, chosen: number, window: number }} ms
 */
export function drawBuffer(canvas, colours, { buffered, start, chosen, window: whole }) {
  const { context, width, height } = fit(canvas);
  const scale = width / (whole * 1.08);
  context.fillStyle = colours.track;
  round(context, 0, 0, width, height);
  context.fillStyle = buffered < start / 2 ? colours.hot : buffered < start ? colours.warm : colours.accent;
  round(context, 0, 0, Math.min(width, buffered * scale), height);
  context.fillStyle = colours.ink;
  for (let y = 0; y < height; y += 4) context.fillRect(start * scale, y, 1, 2);
  if (chosen < whole) context.fillRect(chosen * scale - 1, height / 2, 2, height / 2);
  context.fillRect(Math.min(width - 2, whole * scale - 1), 0, 2, height);
}

/** The picture of what has no cover: its own colours, and the spectrum of what is heard. */
export class Cover {
  constructor() {
    this.bars = new Float32Array(BARS);
    this.lines = new Float32Array(0);
  }

  /**
   * @param {HTMLCanvasElement} canvas @param {string} key whose colours; grey where it is empty
   * @param {AnalyserNode | undefined} meter
   * @param {boolean} moves whether the spectrum is shown
   */
  draw(canvas, key, meter, moves) {
    const { context, width, height } = fit(canvas);
    const tint = hue(key);
    const ground = context.createLinearGradient(0, 0, width, height);
    const colour = key === "" ? 0 : 1;
    ground.addColorStop(0, `hsl(${tint} ${colour * 45}% 36%)`);
    ground.addColorStop(1, `hsl(${(tint + 50) % 360} ${colour * 52}% 20%)`);
    context.fillStyle = ground;
    context.fillRect(0, 0, width, height);
    if (meter !== undefined && moves) this.listen(meter);
    else this.bars.fill(0);
    const pitch = (width * 0.8) / BARS;
    context.fillStyle = "hsl(0 0% 100% / 0.82)";
    for (let bar = 0; bar < BARS; bar += 1) {
      const high = Math.max(2, /** @type {number} */ (this.bars[bar]) * height * 0.66);
      context.fillRect(width * 0.1 + bar * pitch, height / 2 - high / 2, Math.max(1, pitch - 1.5), high);
    }
  }

  /** @param {AnalyserNode} meter */
  listen(meter) {
    if (this.lines.length !== meter.frequencyBinCount) this.lines = new Float32Array(meter.frequencyBinCount);
    meter.getFloatFrequencyData(/** @type {Float32Array<ArrayBuffer>} */ (this.lines));
    const spacing = meter.context.sampleRate / meter.fftSize;
    for (let bar = 0; bar < BARS; bar += 1) {
      const from = LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ) ** (bar / BARS);
      const to = LOWEST_HZ * (HIGHEST_HZ / LOWEST_HZ) ** ((bar + 1) / BARS);
      let most = -120;
      for (let line = Math.floor(from / spacing); line <= to / spacing; line += 1) {
        most = Math.max(most, this.lines[line] ?? -120);
      }
      // Music falls off by some 3 dB an octave: lifted, so that all bars have something to do.
      const lifted = Math.min(1, Math.max(0, (most + 85 + bar * 1.4) / 75));
      this.bars[bar] = Math.max(lifted, /** @type {number} */ (this.bars[bar]) * 0.86);
    }
  }
}
