/** What every card draws by: one call a frame for all of them, and the user's wishes about motion and colours. */

/** Seconds between two pictures where motion is not wanted. */
const STILL_PACE = 0.25;

export class Stage {
  constructor() {
    /** @type {Set<(now: number) => void>} */
    this.painters = new Set();
    this.motion = matchMedia("(prefers-reduced-motion: reduce)");
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.painted = 0;
    const frame = (/** @type {number} */ time) => {
      const now = time / 1000;
      if (!this.still || now - this.painted >= STILL_PACE) {
        this.painted = now;
        for (const paint of this.painters) paint(now);
      }
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  /** Whether the user has asked for as little motion as possible. */
  get still() {
    return this.motion.matches;
  }

  /** @param {(now: number) => void} painter called once a frame with seconds @returns {() => void} ends it */
  paints(painter) {
    this.painters.add(painter);
    return () => {
      this.painters.delete(painter);
    };
  }

  /** @param {() => void} listener called when light turns to dark or back @returns {() => void} ends it */
  onTheme(listener) {
    this.dark.addEventListener("change", listener);
    return () => this.dark.removeEventListener("change", listener);
  }
}
