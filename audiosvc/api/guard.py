"""What a request's headers alone decide: who may ask, from where, and how much it may send."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from audiosvc.errors import (
    AudioServiceError,
    BadRequest,
    BodyTooLarge,
    ForbiddenOrigin,
    HostNotAllowed,
    Unauthorized,
    UnsupportedMediaType,
)

if TYPE_CHECKING:
    from twisted.web.http_headers import Headers

BODY_MOST = 64 * 1024
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")

_HOST = re.compile(rb"(?P<name>\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,253})(?::[0-9]{1,5})?", re.IGNORECASE)
_JSON = re.compile(rb'application/json(?:[ \t]*;[ \t]*charset=(?:utf-8|"utf-8"))?', re.IGNORECASE)
_OUR_PAGES = (b"same-origin", b"none")
"""What a browser says in Sec-Fetch-Site of a request that no other site's page caused."""


class Guard:
    """The daemon's answer to web pages, rebound names, forms and floods, given before a body is read.

    `allowed_hosts` are names that a Host header may carry beside the loopback ones, without port and with brackets
    round an IPv6 address; `token` is what callers must show, None asks for none. Raises ValueError for what is no
    host name or an empty token.
    """

    def __init__(self, allowed_hosts: Sequence[str], token: bytes | None) -> None:
        self._hosts = frozenset(_host_name(name) for name in (*LOOPBACK_HOSTS, *allowed_hosts))
        if token == b"":
            raise ValueError("an empty token guards nothing")
        self._authorization = None if token is None else b"Bearer " + token

    def refusal(self, headers: Headers, length: int | None) -> AudioServiceError | None:
        """Why the request is not taken, if so. `length` is its body's, None for one that comes in chunks."""
        return (
            self._host(headers)
            or self._origin(headers)
            or self._token(headers)
            or self._size(length)
            or self._media_type(headers, length)
        )

    def _host(self, headers: Headers) -> AudioServiceError | None:
        hosts = _values(headers, b"Host")
        if len(hosts) != 1:
            return BadRequest("exactly one Host header is needed")
        host = _HOST.fullmatch(hosts[0])
        if host is None:
            return BadRequest("the Host header is malformed")
        return None if host["name"].lower() in self._hosts else HostNotAllowed()

    def _origin(self, headers: Headers) -> AudioServiceError | None:
        """No page is served here, so that a page which calls is somebody else's, wherever its name points."""
        origins = _values(headers, b"Origin")
        host = _values(headers, b"Host")[0].lower()
        if origins and [origin.lower() for origin in origins] not in ([b"http://" + host], [b"https://" + host]):
            return ForbiddenOrigin()
        if any(site not in _OUR_PAGES for site in _values(headers, b"Sec-Fetch-Site")):
            return ForbiddenOrigin()
        return None

    def _token(self, headers: Headers) -> AudioServiceError | None:
        if self._authorization is None:
            return None
        shown = _values(headers, b"Authorization")
        if len(shown) == 1 and hmac.compare_digest(shown[0], self._authorization):
            return None
        return Unauthorized()

    def _size(self, length: int | None) -> AudioServiceError | None:
        return BodyTooLarge() if length is not None and length > BODY_MOST else None

    def _media_type(self, headers: Headers, length: int | None) -> AudioServiceError | None:
        """A form on a web page can send anything but this type, with or without fields in it."""
        types = _values(headers, b"Content-Type")
        if not types and length == 0:
            return None
        return None if len(types) == 1 and _JSON.fullmatch(types[0]) else UnsupportedMediaType()


def _values(headers: Headers, name: bytes) -> Sequence[bytes]:
    return headers.getRawHeaders(name, [])


def _host_name(name: str) -> bytes:
    host = _HOST.fullmatch(name.encode("ascii", "replace"))
    if host is None or host["name"] != host[0]:
        raise ValueError(f"not a host name: {name!r}")
    return host["name"].lower()
