/**
 * The audio thread's end: takes decoded blocks straight from the worker's port, renders them, and tells the worker what it has consumed.
 * That telling is what pulls the sound through the whole chain.
 */
import { Playout } from "./playout.js";

/** Blocks told to the worker at once. */
const STEP = 5;
/** Seconds between two reports to the page. */
const REPORT = 0.05;

class PlayerProcessor extends AudioWorkletProcessor {
  constructor() {
    super();
    this.playout = new Playout(0.1 * sampleRate);
    /** @type {MessagePort | undefined} */
    this.worker = undefined;
    this.epoch = 0;
    this.reported = 0;
    /** Times it ran dry that the worker was told of. */
    this.told = 0;
    this.port.onmessage = ({ data }) => {
      if (data.hold !== undefined) this.playout.hold(data.hold);
      if (data.worker !== undefined) this.connect(data.worker);
    };
  }

  /** @param {MessagePort} worker */
  connect(worker) {
    this.worker = worker;
    worker.onmessage = ({ data }) => {
      switch (data.type) {
        case "block":
          this.playout.push(data);
          break;
        case "mark":
          this.playout.pushMark(data.mark);
          break;
        case "end":
          this.playout.end();
          break;
        case "flush":
          this.epoch = data.epoch;
          this.playout.flush(data.mark);
          break;
      }
    };
  }

  /** @param {Float32Array[][]} _inputs @param {Float32Array[][]} outputs @returns {boolean} */
  process(_inputs, outputs) {
    const [left, right] = outputs[0] ?? [];
    if (left === undefined || right === undefined) return true;
    const before = this.playout.phase;
    this.playout.render(left, right);
    const { phase, done } = this.playout;
    const dry = this.playout.underruns > this.told;
    if (dry || done >= STEP || (phase !== "playing" && done > 0)) {
      this.told = this.playout.underruns;
      this.worker?.postMessage({ consumed: this.playout.takeDone(), dry, epoch: this.epoch });
    }
    if (phase !== before || currentTime - this.reported >= REPORT) {
      this.reported = currentTime;
      const { consumed, buffered, underruns, mark, sinceMark } = this.playout;
      this.port.postMessage({ phase, consumed, buffered, underruns, mark, sinceMark, time: currentTime });
    }
    return true;
  }
}

registerProcessor("player", PlayerProcessor);
