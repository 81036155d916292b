/** Who takes part in a session, and which one of them hears it. */

/** Members in the order of joining; who hears is the last one that wants to. */
export class Audience<Member> {
  readonly #members = new Map<Member, { channel: number; heard: boolean }>();
  #hearing: { readonly member: Member; readonly channel: number } | undefined;

  get size(): number {
    return this.#members.size;
  }

  /** Who hears, and on which channel. */
  get hearing(): { readonly member: Member; readonly channel: number } | undefined {
    return this.#hearing;
  }

  [Symbol.iterator](): Iterator<Member> {
    return this.#members.keys();
  }

  has(member: Member): boolean {
    return this.#members.has(member);
  }

  /** `member` is the last one to have joined, even if it takes part already. */
  join(member: Member, channel: number, heard: boolean): void {
    this.#members.delete(member);
    this.#members.set(member, { channel, heard });
    this.#settle();
  }

  leave(member: Member): void {
    this.#members.delete(member);
    this.#settle();
  }

  /** All leave. */
  clear(): void {
    this.#members.clear();
    this.#settle();
  }

  #settle(): void {
    const last = [...this.#members].findLast(([, { heard }]) => heard);
    this.#hearing = last && { member: last[0], channel: last[1].channel };
  }
}
