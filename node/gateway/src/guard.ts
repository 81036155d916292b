/** Who may ask, by the headers of a request alone: rebound names and other sites' pages may not. */

const HOST = /^(?<name>\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::[0-9]{1,5})?$/;
const LOOPBACK = ["localhost", "127.0.0.1", "[::1]"];

/** Answers by status: 400 a malformed Host, 421 one that is not served, 403 a strange Origin. */
export type Refusal = 400 | 403 | 421;

/** The gateway's answer to names and origins that are not its own. */
export class Guard {
  readonly #names: ReadonlySet<string>;
  readonly #origins: ReadonlySet<string>;

  /** `host` is what is listened on, and `origins` those allowed beside the own one, as `https://music.example`. */
  constructor(host: string, origins: readonly string[]) {
    const urls = origins.map((origin) => new URL(origin));
    this.#origins = new Set(urls.map((url) => url.origin));
    const own = host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
    this.#names = new Set([...LOOPBACK, own.toLowerCase(), ...urls.map((url) => url.hostname)]);
  }

  /** Why a request is not taken. `hosts` and `origins` are all the values of those headers. */
  refusal(hosts: readonly string[], origins: readonly string[]): Refusal | undefined {
    const [host, ...others] = hosts.map((value) => value.toLowerCase());
    const name = host === undefined ? undefined : HOST.exec(host)?.groups?.name;
    if (name === undefined || others.length > 0) {
      return 400;
    }
    if (!this.#names.has(name)) {
      return 421;
    }
    const own = [`http://${host}`, `https://${host}`];
    const allowed = origins.every((origin) => own.includes(origin.toLowerCase()) || this.#origins.has(origin));
    return allowed && origins.length < 2 ? undefined : 403;
  }
}
