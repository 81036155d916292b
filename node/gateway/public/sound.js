/** The page's audio graph: for each session a worklet, a volume for the ear, and what the meters read. */

/** Of the meters: 43 ms, more than a screen's frame. */
const METER_SIZE = 2048;
/** Of the spectrum: 0.68 s, lines 1.5 Hz apart. */
const SPECTRUM_SIZE = 32_768;
/** Seconds for a volume change to settle, so that it does not crackle. */
const SETTLE = 0.02;

/** @typedef {import("./playout.js").Phase} Phase */
/**
 * @typedef {object} Report what the audio thread said last
 * @property {Phase} phase
 * @property {number} consumed samples rendered, ever
 * @property {number} buffered samples queued
 * @property {number} underruns
 * @property {number} mark
 * @property {number} sinceMark samples rendered since that mark
 * @property {number} time of the report, in the context's seconds
 */

export class Sound {
  /** Throws where the browser lets this page have none. */
  constructor() {
    this.context = new AudioContext({ sampleRate: 48_000, latencyHint: "interactive" });
    /** @type {Promise<void> | undefined} */
    this.loaded = undefined;
  }

  /** @returns {boolean} whether the browser lets this page have sound: not over plain http from another machine */
  static available() {
    return typeof AudioContext === "function" && window.isSecureContext && "audioWorklet" in AudioContext.prototype;
  }

  get running() {
    return this.context.state === "running";
  }

  /** Seconds between a sample's rendering and the ear, as far as the browser knows. */
  get latency() {
    return (this.context.baseLatency || 0) + (this.context.outputLatency || 0);
  }

  /** To be called from a click or a key. */
  async enable() {
    await this.context.resume();
  }

  /** @returns {Promise<Voice>} */
  async voice() {
    this.loaded ??= this.context.audioWorklet.addModule(new URL("worklet.js", import.meta.url));
    await this.loaded;
    return new Voice(this.context);
  }
}

/** One session's part of the graph: player → meters, player → volume → ear. */
export class Voice {
  /** @param {AudioContext} context */
  constructor(context) {
    this.context = context;
    this.player = new AudioWorkletNode(context, "player", {
      numberOfInputs: 0,
      numberOfOutputs: 1,
      outputChannelCount: [2],
    });
    this.volume = new GainNode(context);
    this.player.connect(this.volume).connect(context.destination);
    const splitter = new ChannelSplitterNode(context, { numberOfOutputs: 2 });
    this.player.connect(splitter);
    this.meters = [0, 1].map((channel) => this.analyser(splitter, channel, METER_SIZE));
    this.spectra = [0, 1].map((channel) => this.analyser(splitter, channel, SPECTRUM_SIZE));
    this.samples = new Float32Array(METER_SIZE);
    /** @type {Report} */
    this.report = { phase: "waiting", consumed: 0, buffered: 0, underruns: 0, mark: 0, sinceMark: 0, time: 0 };
    this.player.port.onmessage = ({ data }) => {
      const before = this.report.phase;
      this.report = data;
      if (data.phase !== before) this.onphase();
    };
    /** Called when sound starts, stops or ends. */
    this.onphase = () => {};
  }

  /** @param {ChannelSplitterNode} splitter @param {number} channel @param {number} fftSize */
  analyser(splitter, channel, fftSize) {
    const node = new AnalyserNode(this.context, { fftSize, smoothingTimeConstant: 0, minDecibels: -120 });
    splitter.connect(node, channel);
    return node;
  }

  /** @param {MessagePort} worker where blocks come from */
  connect(worker) {
    this.player.port.postMessage({ worker }, [worker]);
  }

  /** @param {boolean} hold render silence and consume nothing */
  hold(hold) {
    this.player.port.postMessage({ hold });
  }

  /** @param {number} gain 0 to 1 */
  setVolume(gain) {
    this.volume.gain.setTargetAtTime(gain, this.context.currentTime, SETTLE);
  }

  /** Samples rendered since the last mark, by now. */
  get sinceMark() {
    const { phase, sinceMark, time } = this.report;
    if (phase !== "playing") return sinceMark;
    const since = Math.min(0.2, Math.max(0, this.context.currentTime - time));
    return sinceMark + since * this.context.sampleRate;
  }

  /** @returns {{ peak: number, rms: number }[]} of the last 43 ms, amplitudes from 0 to 1, left and right */
  levels() {
    return this.meters.map((meter) => {
      meter.getFloatTimeDomainData(this.samples);
      let peak = 0;
      let power = 0;
      for (const sample of this.samples) {
        peak = Math.max(peak, Math.abs(sample));
        power += sample * sample;
      }
      return { peak, rms: Math.sqrt(power / METER_SIZE) };
    });
  }

  /** @returns {{ hz: number, dbfs: number, rest: number }[]} for left and right: see `strongest` */
  tones() {
    return this.spectra.map((analyser) => {
      const lines = new Float32Array(analyser.frequencyBinCount);
      analyser.getFloatFrequencyData(lines);
      return strongest(lines, this.context.sampleRate / SPECTRUM_SIZE);
    });
  }
}

/**
 * @param {Float32Array} lines a spectrum in dB @param {number} spacing Hz between two of its lines
 * @returns {{ hz: number, dbfs: number, rest: number }} the strongest tone, and the strongest line more than 40 lines away from it
 */
export function strongest(lines, spacing) {
  const at = indexOfMost(lines, () => true);
  const [before, top, after] = [lines[at - 1] ?? -Infinity, lines[at] ?? -Infinity, lines[at + 1] ?? -Infinity];
  if (top === -Infinity) return { hz: 0, dbfs: -Infinity, rest: -Infinity };
  // The top of the parabola through three lines of a window's main lobe.
  const bend = before - 2 * top + after;
  const shift = Number.isFinite(bend) && bend !== 0 ? (before - after) / (2 * bend) : 0;
  const other = indexOfMost(lines, (line) => Math.abs(line - at) > 40);
  return { hz: (at + shift) * spacing, dbfs: top - ((before - after) * shift) / 4, rest: lines[other] ?? -Infinity };
}

/** @param {Float32Array} lines @param {(line: number) => boolean} counts */
function indexOfMost(lines, counts) {
  let most = 0;
  for (let line = 1; line < lines.length; line += 1) {
    if (counts(line) && /** @type {number} */ (lines[line]) > /** @type {number} */ (lines[most])) most = line;
  }
  return most;
}
