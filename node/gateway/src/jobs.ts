/** What a session has to do that takes time: one thing after another. */

/** A queue of jobs. The first is begun at once, each other one when the one before it is done. */
export class Jobs {
  readonly #failed: (error: unknown) => void;
  readonly #waiting: (() => Promise<void>)[] = [];
  readonly #closing = new AbortController();
  #working = false;

  /** `failed` is told of a job that throws; the next one follows all the same. */
  constructor(failed: (error: unknown) => void) {
    this.#failed = failed;
  }

  /** Jobs not begun yet. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Aborted by `close`, for the job that is under way then. */
  get signal(): AbortSignal {
    return this.#closing.signal;
  }

  add(job: () => Promise<void>): void {
    if (this.signal.aborted) {
      return;
    }
    this.#waiting.push(job);
    if (!this.#working) {
      this.#working = true;
      void this.#work();
    }
  }

  /** Forgets what waits, and takes no more. */
  close(): void {
    this.#waiting.length = 0;
    this.#closing.abort();
  }

  async #work(): Promise<void> {
    for (let job = this.#waiting.shift(); job !== undefined; job = this.#waiting.shift()) {
      try {
        await job();
      } catch (error) {
        this.#failed(error);
      }
    }
    this.#working = false;
  }
}
