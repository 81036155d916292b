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
 * `code` is for programs. From the daemon come the codes of `docs/http-api.rst`, of requests and of failed tracks. Made here are
 * - of the connection: `connect_failed`, `connect_timeout`, `disconnected`, `protocol_mismatch`, `not_resumed` (left to make the
 *   daemon go back to what is held), and for a broken stream `invalid_length`, `invalid_session_id`, `invalid_event`,
 *   `event_too_long`;
 * - of sessions: `track_lost` (the daemon does not know the track any more), `overrun` (it sends what there is no credit for);
 * - of the API: `unreachable`, `timeout`, `invalid_answer`;
 * - of calls: `aborted`, `closed`, `already_open`, `too_many_names`, `invalid_session_id`, `invalid_line`, `line_too_long`,
 *   `invalid_option`.
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
