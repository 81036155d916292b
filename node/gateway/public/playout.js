/**
 * The queue between the decoder and the sound card, as the audio thread sees it: blocks of samples in, one render quantum out at a time.
 * It waits for a little sound before it starts, counts each time it runs dry, and fades over one quantum (2.7 ms) wherever sound starts
 * or stops in mid-wave, so that neither clicks.
 */

/** @typedef {"waiting" | "playing" | "held" | "ended"} Phase */
/** @typedef {{ left: Float32Array, right: Float32Array }} Block */

export class Playout {
  /** @param {number} start samples wanted before sound begins */
  constructor(start) {
    this.start = start;
    /** @type {(Block | number)[]} blocks, and marks between them */
    this.queue = [];
    /** Of the first block, samples already rendered. */
    this.offset = 0;
    this.buffered = 0;
    this.held = false;
    /** Nothing more is to come. */
    this.last = false;
    this.gain = 0;
    /** @type {Phase} */
    this.phase = "waiting";
    /** Samples rendered, ever. */
    this.consumed = 0;
    /** Blocks rendered to their end and not yet asked for by `takeDone`. */
    this.done = 0;
    this.underruns = 0;
    /** The mark that was passed last, and the samples rendered since. */
    this.mark = 0;
    this.sinceMark = 0;
  }

  /** @param {Block} block both channels equally long */
  push(block) {
    this.queue.push(block);
    this.buffered += block.left.length;
    this.last = false;
  }

  /** @param {number} mark counted from when all that was pushed before is rendered */
  pushMark(mark) {
    this.queue.push(mark);
  }

  /** What is queued is the end of it: running dry is no underrun then. */
  end() {
    this.last = true;
  }

  /** Drops all that is queued. @param {number} mark where counting begins anew */
  flush(mark) {
    this.queue.length = 0;
    this.offset = 0;
    this.buffered = 0;
    this.done = 0;
    this.last = false;
    this.gain = 0;
    this.phase = "waiting";
    this.mark = mark;
    this.sinceMark = 0;
  }

  /** @param {boolean} held rendering silence and consuming nothing */
  hold(held) {
    this.held = held;
  }

  /** @returns {number} blocks rendered to their end since this was last asked */
  takeDone() {
    const done = this.done;
    this.done = 0;
    return done;
  }

  /**
   * Fills one quantum; what is not written stays as it was (the platform hands out zeros).
   * @param {Float32Array} left @param {Float32Array} right
   */
  render(left, right) {
    this.passMarks();
    if (this.held) {
      if (this.gain > 0) this.copy(left, right, 0);
      this.phase = "held";
      return;
    }
    if (this.phase !== "playing") {
      if (this.buffered === 0 || (this.buffered < this.start && !this.last)) {
        this.phase = this.last ? "ended" : "waiting";
        return;
      }
      this.phase = "playing";
    }
    const short = this.buffered < left.length;
    this.copy(left, right, this.buffered > left.length || this.last ? 1 : 0);
    if (this.last && this.buffered === 0) {
      this.phase = "ended";
      this.gain = 0;
    } else if (short) {
      this.phase = "waiting";
      this.underruns += 1;
    }
  }

  /** @param {Float32Array} left @param {Float32Array} right @param {number} target gain at the end of what is copied */
  copy(left, right, target) {
    const frames = Math.min(left.length, this.buffered);
    const from = this.gain;
    let at = 0;
    while (at < frames) {
      const block = this.queue[0];
      if (block === undefined) break;
      if (typeof block === "number") {
        this.passMarks();
        continue;
      }
      const taken = Math.min(frames - at, block.left.length - this.offset);
      left.set(block.left.subarray(this.offset, this.offset + taken), at);
      right.set(block.right.subarray(this.offset, this.offset + taken), at);
      this.offset += taken;
      at += taken;
      this.buffered -= taken;
      this.consumed += taken;
      this.sinceMark += taken;
      if (this.offset === block.left.length) {
        this.queue.shift();
        this.offset = 0;
        this.done += 1;
      }
    }
    if (from !== 1 || target !== 1) {
      for (let frame = 0; frame < at; frame += 1) {
        const gain = from + ((target - from) * (frame + 1)) / at;
        left[frame] = /** @type {number} */ (left[frame]) * gain;
        right[frame] = /** @type {number} */ (right[frame]) * gain;
      }
    }
    this.gain = target;
  }

  passMarks() {
    while (typeof this.queue[0] === "number") {
      this.mark = this.queue[0];
      this.sinceMark = 0;
      this.queue.shift();
    }
  }
}
