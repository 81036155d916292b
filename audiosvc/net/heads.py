"""Heads of HTTP messages as the door reads and rewrites them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import NamedTuple

from audiosvc.errors import BadRequest, UnsupportedUrl
from audiosvc.net.extent import Extent

Headers = list[tuple[bytes, bytes]]

ANSWER_HEAD_MOST = 65536
"""Bytes of an answer's head that are looked at; one that goes on is passed on as it is."""

_TARGET = re.compile(
    rb"""(?P<scheme>[a-z][a-z0-9+.-]*)://
    (?P<authority>(?P<host>\[[0-9a-f:.]+\]|[^\[\]:/?\#@%\\\x80-\xff]+)(?::(?P<port>[0-9]{0,5}))?)
    (?P<path>/[^\#]*|\?[^\#]*)?""",
    re.VERBOSE | re.IGNORECASE,
)
_AUTHORITY = re.compile(rb"(?P<host>\[[0-9a-f:.]+\]|[^\[\]:/?#@%\\\x80-\xff]+):(?P<port>[0-9]{1,5})", re.IGNORECASE)
_LINE = re.compile(rb"[^\n]*\n")
_HEAD_END = re.compile(rb"\n\r?\n")
_INFORMATION = re.compile(rb"(?:HTTP/[0-9.]+|ICY)[ \t]+1[0-9]{2}(?![0-9])")

_STATUS = re.compile(rb"(?:HTTP/1\.[0-9]|ICY)[ \t]+([0-9]{3})(?![0-9])[^\n]*\n")
_HEADER = re.compile(rb"^([-!#$%&'*+.^_`|~0-9a-zA-Z]+)[ \t]*:[ \t]*([^\x00\r\n\v\f]*?)[ \t]*\r?$", re.MULTILINE)
_LENGTH = re.compile(rb"[0-9]{1,18}")

_CONNECTION = frozenset({b"connection", b"keep-alive", b"upgrade", b"te", b"trailer"})
"""Headers between two neighbours. Transfer-Encoding is one too, but stays, since the body stays as it is."""


class Target(NamedTuple):
    """Where a request leads. `authority` is its host and port as they were written; `path` None is a tunnel."""

    host: str
    port: int
    authority: bytes
    path: bytes | None


def parse_target(method: bytes, target: bytes) -> Target:
    """What a proxy is asked for: a whole http URL, or by CONNECT a host and a port.

    Raises `UnsupportedUrl` for another scheme and `BadRequest` for what is malformed, a user in the URL included.
    """
    if method == b"CONNECT":
        match = _AUTHORITY.fullmatch(target)
        if match is None:
            raise BadRequest("CONNECT wants a host and a port")
        return Target(match["host"].decode("ascii"), int(match["port"]), target, None)
    match = _TARGET.fullmatch(target)
    scheme = target.partition(b":")[0].lower()
    if scheme != b"http" and re.fullmatch(rb"[a-z][a-z0-9+.-]*", scheme):
        raise UnsupportedUrl(f"{scheme[:32].decode('ascii')}: is not fetched, only http and https are")
    if match is None:
        raise BadRequest("the request's target is not an http URL")
    path = match["path"] or b"/"
    if path.startswith(b"?"):
        path = b"/" + path
    return Target(match["host"].decode("ascii"), int(match["port"] or 80), match["authority"], path)


def credentials(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str] | None:
    """The user and the password of the Proxy-Authorization among `headers`; None without, or if it is malformed."""
    given = [value for name, value in headers if name.lower() == b"proxy-authorization"]
    if len(given) != 1:
        return None
    scheme, _, encoded = given[0].partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode("ascii").partition(":")
    except ValueError:
        return None
    return (user, password) if colon else None


def onward(headers: Iterable[tuple[bytes, bytes]], authority: bytes) -> Headers:
    """A request's headers for its origin: Host from the URL, whatever the request said; none that belong to the hop."""
    headers = list(headers)
    chunked = any(name.lower() == b"transfer-encoding" for name, _ in headers)
    dropped = _CONNECTION | _listed(headers) | {b"host", b"expect"} | ({b"content-length"} if chunked else set())
    dropped -= {b"transfer-encoding"}
    kept = [
        (name, value)
        for name, value in headers
        if name.lower() not in dropped and not name.lower().startswith(b"proxy-")
    ]
    return [(b"Host", authority), *kept, (b"Connection", b"close")]


def _listed(headers: Iterable[tuple[bytes, bytes]]) -> set[bytes]:
    """The headers that Connection names, which go no further than it does; those that frame the body stay."""
    named = (part for name, value in headers if name.lower() == b"connection" for part in value.split(b","))
    return {part.strip().lower() for part in named} - {b"content-length"}


def find_head(data: bytes, looked_at: int) -> int | None:
    """Where the head that `data` begins with ends; None if it does not yet.

    The first `looked_at` bytes held no end: it may come byte by byte.
    """
    end = _HEAD_END.search(data, max(0, looked_at - 2))
    return None if end is None else end.end()


def is_information(head: bytes) -> bool:
    """Whether another head follows this one: its status is 1xx."""
    return _INFORMATION.match(head) is not None


def readable(head: bytes) -> bytes:
    """An answer's head as a strict reader takes it; ValueError if it is none.

    Radio servers say "ICY 200 OK", and other servers say things that are no headers at all: those are left out.
    """
    status = _STATUS.match(head)
    if status is None:
        raise ValueError("this is no answer's head")
    lines = [b"HTTP/1.1 " + status[1]]
    length: bytes | None = None
    for name, value in _HEADER.findall(head, status.end()):
        if name.lower() == b"content-length":
            length = length or value
        elif name.lower() != b"transfer-encoding" or value.lower() == b"chunked":
            lines.append(name + b": " + value)
    if length is not None and _LENGTH.fullmatch(length):
        lines.append(b"Content-Length: " + length)
    return b"\r\n".join((*lines, b"", b""))


class AnswerHead:
    """An answer on its way back: its head told to close the connection, all else as it came.

    Origins answer in all kinds of ways ("ICY 200 OK", none but a body), and the one who asked may understand them. What
    does not begin as HTTP is left as it is.
    """

    def __init__(self) -> None:
        self._held = b""
        self._looked_at = 0
        self._over = False
        self._extent: Extent | None = None
        """Of the body; None before the head is over, and where there is none."""

    @property
    def short(self) -> bool:
        """Whether the answer's head or its chunks say that there is more of its body than has come."""
        return self._extent is not None and self._extent.short

    def feed(self, data: bytes) -> bytes:
        """What can be passed on by now."""
        if self._over:
            if self._extent is not None:
                self._extent.feed(data)
            return data
        self._held += data
        out = b""
        while not self._over and self._held:
            end = find_head(self._held, self._looked_at)
            self._looked_at = len(self._held)
            if not self._held.startswith(b"HTTP/"[: len(self._held)]) or (
                end is None and len(self._held) > ANSWER_HEAD_MOST
            ):
                self._over = True
                return out + self.rest()
            if end is None:
                return out
            head, self._held = self._held[:end], self._held[end:]
            self._looked_at = 0
            self._over = not is_information(head)
            if self._over:
                self._extent = Extent(head)
                self._extent.feed(self._held)
            out += _closing(head) if self._over else head
        return out + self.rest() if self._over else out

    def rest(self) -> bytes:
        """What was held back: the beginning of a head that never ended."""
        held, self._held = self._held, b""
        return held


def _closing(head: bytes) -> bytes:
    """`head` with `Connection: close` in place of what it says of the connection."""
    status, *lines = _LINE.findall(head)
    kept, dropping = [status], False
    for line in lines[:-1]:
        # A line that begins with a space goes on with the one before.
        if not line.startswith((b" ", b"\t")):
            name = line.partition(b":")[0].strip().lower()
            dropping = name in (b"connection", b"keep-alive") or name.startswith(b"proxy-")
        if not dropping:
            kept.append(line)
    return b"".join((*kept, b"Connection: close\r\n", lines[-1]))
