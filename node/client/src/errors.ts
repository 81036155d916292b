/** What an {@link AudioServiceError} knows beside its code and message. */
export interface ErrorDetails {
  /** HTTP status of the control API's answer. */
  status?: number | undefined;
  sessionId?: string | undefined;
  trackId?: string | undefined;
  /** Seconds of sound sent before a track failed. */
  played?: number | undefined;
  /** Seconds that the failed track should have lasted. */
  duration?: number | undefined;
  /** Seconds after which the daemon suggests to ask again (`Retry-After`). */
  retryAfter?: number | undefined;
  cause?: unknown;
}

/**
 * Every failure of this package.
 *
 * `code` is for programs. From the daemon come the codes of `docs/http-api.rst`; made here are
 * `connect_failed`, `connect_timeout`, `disconnected`, `closed` (the client was closed), `protocol_mismatch`,
 * `invalid_length`, `invalid_session_id`, `invalid_event`, `event_too_long` (a broken stream), `invalid_line`, `line_too_long`,
 * `too_many_names`, `already_open`, `track_lost`, and of the control API `unreachable`, `timeout`, `aborted`, `invalid_answer`.
 */
export class AudioServiceError extends Error {
  readonly code: string;
  readonly status: number | undefined;
  readonly sessionId: string | undefined;
  readonly trackId: string | undefined;
  readonly played: number | undefined;
  readonly duration: number | undefined;
  readonly retryAfter: number | undefined;

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "AudioServiceError";
    this.code = code;
    this.status = details.status;
    this.sessionId = details.sessionId;
    this.trackId = details.trackId;
    this.played = details.played;
    this.duration = details.duration;
    this.retryAfter = details.retryAfter;
  }
}
