"""Every error a caller or a listener can be told of: its code, its HTTP status, its words.

The same classes serve both roads: raised from a request they become its JSON answer (`api.problems`), met
later they become a session's `error` event. A code is part of the public interface and never changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from audiosvc.vitals import Reason


class AudioServiceError(Exception):
    """Base of all that is told to the outside; `code` and `status` belong to the class."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    default: ClassVar[str] = "internal error"

    def __init__(self, message: str | None = None) -> None:
        self.message = message or self.default
        super().__init__(self.message)


# --- the request itself ------------------------------------------------------------------------------------


class BadRequest(AudioServiceError):
    code, status, default = "bad_request", 400, "the request is malformed"


class InvalidSessionId(AudioServiceError):
    code, status = "invalid_session_id", 400
    default = "a session id is 1 to 36 characters out of A-Z a-z 0-9 _ . : -"


class InvalidJson(AudioServiceError):
    code, status, default = "invalid_json", 400, "the body is not a JSON object"


class InvalidBody(AudioServiceError):
    code, status, default = "invalid_body", 400, "the body does not fit this endpoint"


class InvalidQuery(AudioServiceError):
    code, status, default = "invalid_query", 400, "the query does not fit this endpoint"


class Unauthorized(AudioServiceError):
    code, status, default = "unauthorized", 401, "a valid bearer token is required"


class TooManyFailures(AudioServiceError):
    code, status, default = "too_many_failures", 429, "too many wrong tokens from this address"


class ForbiddenOrigin(AudioServiceError):
    code, status, default = "forbidden_origin", 403, "web pages may not call this API"


class NoSuchEndpoint(AudioServiceError):
    code, status, default = "no_such_endpoint", 404, "there is no such endpoint"


class SessionNotFound(AudioServiceError):
    code, status, default = "not_found", 404, "no such session is playing"


class MethodNotAllowed(AudioServiceError):
    code, status, default = "method_not_allowed", 405, "this endpoint does not take that method"


class BodyTooLarge(AudioServiceError):
    code, status, default = "body_too_large", 413, "a request body holds at most 64 KiB"


class UnsupportedMediaType(AudioServiceError):
    code, status, default = "unsupported_media_type", 415, "send the body as Content-Type: application/json"


class HostNotAllowed(AudioServiceError):
    code, status, default = "host_not_allowed", 421, "this Host is not served here"


# --- a state that does not allow it ------------------------------------------------------------------------


class NotSeekable(AudioServiceError):
    code, status, default = "not_seekable", 409, "this source cannot be sought in"


class TooManyLevels(AudioServiceError):
    code, status, default = "too_many_levels", 409, "too many sessions have a log level of their own; take some back"


class NotReady(AudioServiceError):
    code, status, default = "not_ready", 503, "plays are refused now"

    def __init__(self, reasons: Sequence[Reason] = ()) -> None:
        super().__init__("; ".join(reason.message for reason in reasons))
        self.reasons = list(reasons)


class TooManySessions(AudioServiceError):
    code, status, default = "too_many_sessions", 503, "as many sessions play as --max-sessions allows"


class Overloaded(AudioServiceError):
    code, status = "overloaded", 503
    default = "another session would make those that play stutter, try again"


class TooManyLookups(AudioServiceError):
    code, status, default = "too_many_lookups", 503, "too many sources are being looked up, try again"


class ShuttingDown(AudioServiceError):
    code, status, default = "shutting_down", 503, "the daemon is shutting down"


class SpawnFailed(AudioServiceError):
    code, status, default = "spawn_failed", 503, "FFmpeg could not be started"


class NoFds(SpawnFailed):
    code, status, default = "no_fds", 503, "the daemon has no file descriptors left, try again"


# --- the source ---------------------------------------------------------------------------------------------


class UnsupportedUrl(AudioServiceError):
    code, status, default = "unsupported_url", 422, "this kind of URL cannot be played"


class BlockedAddress(AudioServiceError):
    code, status, default = "blocked_address", 422, "the source leads to an address that is not reached from here"


class FilesRefused(AudioServiceError):
    code, status, default = "files_refused", 422, "files are played only from below --media-root"


class UnknownDemo(AudioServiceError):
    code, status, default = "unknown_demo", 422, "there is no built-in piece of that name"


class PositionOutOfRange(AudioServiceError):
    code, status, default = "position_out_of_range", 422, "the position lies past the end of the track"


class SourceNotFound(AudioServiceError):
    code, status, default = "source_not_found", 404, "the source is not there"


class SourceRefused(AudioServiceError):
    code, status, default = "source_refused", 502, "the source's server refused it"


class SourceUnreachable(AudioServiceError):
    code, status, default = "source_unreachable", 502, "the source's server could not be reached"


class SourceTimeout(AudioServiceError):
    code, status, default = "source_timeout", 504, "the source sent no audio in time"


class NotAudio(AudioServiceError):
    code, status, default = "not_audio", 422, "the source holds no audio that can be decoded"


class SourceEndedEarly(AudioServiceError):
    code, status, default = "source_ended_early", 502, "the source ended before its duration"


class DecoderFailed(AudioServiceError):
    code, status, default = "decoder_failed", 502, "FFmpeg failed"


class ExtractionFailed(AudioServiceError):
    code, status, default = "extraction_failed", 502, "nothing playable was found there"


class ExtractionTimeout(AudioServiceError):
    code, status, default = "extraction_timeout", 504, "the page was not read in time"


class ExtractionUnavailable(AudioServiceError):
    code, status = "extraction_unavailable", 422
    default = "pages of web sites are not read: yt-dlp does not start here; direct media URLs play"
