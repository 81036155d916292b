"""Errors as HTTP answers: the one place where a failure becomes a status, headers and JSON."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote_to_bytes

import msgspec
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as WrongMethod
from werkzeug.exceptions import NotFound as NoRoute
from werkzeug.routing import RequestRedirect

from audiosvc.api.bodies import ProblemBody
from audiosvc.errors import AudioServiceError, BadRequest, MethodNotAllowed, NoSuchEndpoint, NotReady
from audiosvc.ids import is_session_id

if TYPE_CHECKING:
    from twisted.web.iweb import IRequest

JSON = "application/json"

HEADERS: dict[int, tuple[str, str]] = {
    401: ("WWW-Authenticate", "Bearer"),
    429: ("Retry-After", "1"),
    503: ("Retry-After", "1"),
}
"""The header that a status brings with it, whichever its code."""


@dataclass(frozen=True)
class Problem:
    """A failure, ready to be sent."""

    status: int
    code: str
    headers: dict[str, str]
    body: bytes

    @property
    def phrase(self) -> str:
        return HTTPStatus(self.status).phrase

    def head(self, request: IRequest) -> None:
        """Make it `request`'s answer, but for the body."""
        request.setResponseCode(self.status, self.phrase.encode())
        for name, value in self.headers.items():
            request.setHeader(name, value)


def problem(
    error: BaseException, session_id: str | None = None, status: Literal["error", "not_found"] = "error"
) -> Problem:
    """`error` as an answer. What is neither ours nor the router's is `internal`, and its words stay inside."""
    told, headers = _told(error)
    named = msgspec.UNSET if session_id is None else session_id
    reasons = told.reasons if isinstance(told, NotReady) else msgspec.UNSET
    body = msgspec.json.encode(ProblemBody(status, told.code, told.message, named, reasons))
    headers |= {"Content-Type": JSON, "Content-Length": str(len(body))}
    if told.status in HEADERS:
        headers |= [HEADERS[told.status]]
    return Problem(told.status, told.code, headers, body)


def session_named(path: bytes) -> str | None:
    """The session that a request's `path`, still percent-encoded, speaks of, if its id is a legal one."""
    match path.split(b"/"):
        case [b"", b"session", name, *_]:
            text = unquote_to_bytes(name).decode("ascii", "replace")
            return text if is_session_id(text) else None
    return None


def _told(error: BaseException) -> tuple[AudioServiceError, dict[str, str]]:
    match error:
        case AudioServiceError():
            return error, {}
        case WrongMethod():
            return MethodNotAllowed(), {"Allow": ", ".join(sorted(error.valid_methods or ()))}
        case NoRoute() | RequestRedirect():
            return NoSuchEndpoint(), {}
        case HTTPException():
            return BadRequest(), {}
    return AudioServiceError(), {}
