/**
 * How many packets a session may still be sent. What was allowed and has not come, and what has come and was not yet heard, together
 * never exceed the window; so whatever becomes of a packet, heard or dropped, its place is given to another.
 */

/** Credit is given in fives: one message each 100 ms instead of each 20. */
const STEP = 5;
/** The most one message may carry. */
const MOST = 100;

export class CreditWindow {
  /** @param {number} size packets of 20 ms */
  constructor(size) {
    this.size = size;
    /** Allowed, not yet here. */
    this.outstanding = 0;
    /** Here, not yet heard. */
    this.held = 0;
  }

  received() {
    this.outstanding = Math.max(0, this.outstanding - 1);
    this.held += 1;
  }

  /** @param {number} packets heard, or dropped by the decoder */
  consumed(packets) {
    this.held = Math.max(0, this.held - packets);
  }

  /** All that is here was thrown away. */
  dropped() {
    this.held = 0;
  }

  /** Whoever held the credit has forgotten it: the connection is new, or another tab hears the session. */
  forgotten() {
    this.outstanding = 0;
  }

  /** @returns {number} packets to allow now, counted as outstanding; 0 where it is not yet worth a message */
  grant() {
    const packets = Math.min(MOST, this.size - this.outstanding - this.held);
    if (packets < STEP) return 0;
    this.outstanding += packets;
    return packets;
  }
}
