import { Ledger } from "./ledger.ts";
import { CREDIT_MOST } from "./messages.ts";
import type { SessionStream } from "./stream.ts";

/** One session, as the client keeps it: what is held of it, who takes it, and the credit given for it. */
export class Channel {
  readonly id: string;
  readonly ledger: Ledger;
  /** Asked for by `subscribe` or `session`. */
  named = false;
  stream: SessionStream | undefined;
  #outstanding: number | undefined;
  /** Credit that repeated packets have used up, to be given back. */
  #owed = 0;

  constructor(id: string) {
    this.id = id;
    this.ledger = new Ledger(id);
  }

  /** Credit given and not used yet; undefined while the session is paced in real time. */
  get outstanding(): number | undefined {
    return this.#outstanding;
  }

  /** Credit for `packets` more is given. Returns the credit outstanding. */
  grant(packets: number): number {
    this.#outstanding = Math.min(CREDIT_MOST, (this.#outstanding ?? 0) + packets);
    return this.#outstanding;
  }

  /** A packet has come and used its credit up. */
  spend(): void {
    if (this.#outstanding !== undefined && this.#outstanding > 0) this.#outstanding -= 1;
  }

  /** The packet had come before, so its credit is to be given back. Returns whether there is any to give. */
  reclaim(): boolean {
    if (this.#outstanding === undefined) return false;
    this.#outstanding += 1;
    this.#owed += 1;
    return true;
  }

  /** Packets of credit to give back now; from here on they are given. */
  settle(): number {
    const owed = Math.min(CREDIT_MOST, this.#owed);
    this.#owed = 0;
    return owed;
  }

  /** The session is not heard any more; should it be again, it is paced in real time until credit is given. */
  forgetCredit(): void {
    this.#outstanding = undefined;
    this.#owed = 0;
  }
}
