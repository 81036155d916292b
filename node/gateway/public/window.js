/**
 * How deep a session's buffer is: as was chosen, and deeper for a while after the sound ran dry, since what made this machine or its
 * network stand still once may do so again.
 */

/** Packets by which it grows each time: 200 ms. */
const GROWTH = 10;
/** Packets by which it goes back, and those that have to be heard without running dry for each such step: 100 ms after 60 s of sound. */
const RETURN = 5;
const CALM = 3000;
/** Where growth ends: 1 s. Who hears it wants a skip or a pause to be near. */
const MOST = 50;

export class AdaptiveWindow {
  /** @param {number} chosen packets of 20 ms */
  constructor(chosen) {
    this.chosen = chosen;
    this.grown = 0;
    /** Packets heard since it last changed, or ran dry. */
    this.calm = 0;
  }

  /** @returns {number} packets */
  get size() {
    return this.chosen + this.grown;
  }

  /** Begins anew from there. @param {number} packets */
  choose(packets) {
    this.chosen = packets;
    this.grown = 0;
    this.calm = 0;
  }

  /** The sound stopped for want of packets. */
  ranDry() {
    this.grown = Math.max(0, Math.min(this.grown + GROWTH, MOST - this.chosen));
    this.calm = 0;
  }

  /** @param {number} packets heard */
  heard(packets) {
    if (this.grown === 0) return;
    this.calm += packets;
    if (this.calm < CALM) return;
    this.grown = Math.max(0, this.grown - RETURN);
    this.calm = 0;
  }
}
