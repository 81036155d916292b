import { AudioServiceError } from "./errors.ts";
import { CREDIT_MOST, type Held, isSessionId, LINE_MOST, type Line } from "./messages.ts";

const CLIENT_NAME_MOST = 200;

/** Sessions in the `resume` of one `hello`: well below the bound of a line. */
const RESUMED_A_LINE = 256;

function refuse(message: string): never {
  throw new AudioServiceError("invalid_line", message);
}

function checkId(id: string): void {
  if (!isSessionId(id)) throw new AudioServiceError("invalid_session_id", `not a session id: ${JSON.stringify(id)}`);
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}

/**
 * One line of the client, newline included.
 *
 * Throws {@link AudioServiceError} `invalid_session_id`, `invalid_line` (a field does not fit) or `line_too_long` (64 KiB).
 */
export function encode(line: Line): Buffer {
  if (line.type === "hello") {
    const { client, resume } = line;
    if (client !== undefined && ([...client].length > CLIENT_NAME_MOST || /\p{Surrogate}/u.test(client))) {
      refuse(`a client's name is Unicode text of at most ${CLIENT_NAME_MOST} characters`);
    }
    for (const [id, held] of Object.entries(resume ?? {})) {
      checkId(id);
      if (!isCount(typeof held === "number" ? held : held.packets)) refuse("packets held are a whole number");
    }
  } else {
    checkId(line.session_id);
    if (line.type === "credit" && !(isCount(line.packets) && line.packets <= CREDIT_MOST)) {
      refuse(`credit is 0 to ${CREDIT_MOST} packets, not ${line.packets}`);
    }
  }
  const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
  if (bytes.length > LINE_MOST) throw new AudioServiceError("line_too_long", `a line holds ${LINE_MOST} bytes`);
  return bytes;
}

/** The `hello` of a client that holds something of each session in `held`: several lines where one would be too long. */
export function greet(client: string | undefined, held: ReadonlyMap<string, Held>): Line[] {
  const name = client === undefined ? {} : { client };
  if (held.size === 0) return [{ type: "hello", ...name }];
  const entries = [...held];
  const lines: Line[] = [];
  for (let at = 0; at < entries.length; at += RESUMED_A_LINE) {
    lines.push({ type: "hello", ...name, resume: Object.fromEntries(entries.slice(at, at + RESUMED_A_LINE)) });
  }
  return lines;
}
