/** How many messages one socket may send: a bucket of tokens that fills as time goes by. */

/** Messages a second on average, and at once. */
export const MESSAGES_PER_SECOND = 50;
export const MESSAGES_BURST = 100;

/** What a `credit` costs: eight sessions that are played give some 80 a second. */
export const CREDIT_COST = 0.25;

/** The allowance of one socket. Times are in ms, of any clock that does not go back. */
export class Allowance {
  #tokens = MESSAGES_BURST;
  #at: number;

  constructor(now: number) {
    this.#at = now;
  }

  /** Whether a message of that `cost` is still allowed at `now`; if so, it is paid. */
  take(now: number, cost: number): boolean {
    this.#tokens = Math.min(MESSAGES_BURST, this.#tokens + ((now - this.#at) * MESSAGES_PER_SECOND) / 1000);
    this.#at = now;
    if (this.#tokens < cost) {
      return false;
    }
    this.#tokens -= cost;
    return true;
  }
}
