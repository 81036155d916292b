"""What is said to the extractor's child programs and what they answer: one JSON object a line, one call at a time."""

from __future__ import annotations

from typing import Literal

import msgspec

LINE_MOST = 4 * 1024 * 1024
"""Bytes of an answer; the child keeps to it, and whoever does not is no child of ours."""

Operation = Literal["resolve", "playlist", "search"]
TroubleKind = Literal["nothing", "not_found", "refused", "unreachable", "memory", "failed"]


class Garbage(Exception):
    """A line that no honest worker writes; what wrote it is not to be asked again."""


class Call(msgspec.Struct, frozen=True):
    """One question. `proxy` is the URL of the only way out; `limit` is the most entries of a list."""

    id: int
    op: Operation
    target: str
    """The page's URL, or the words of a search."""
    limit: int
    proxy: str
    cookies: str | None
    """A cookies file's text (Netscape's format)."""


class Ready(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line of a worker: the version of its yt-dlp."""

    ready: str


class Track(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="track"):
    """The answer to `resolve`: the media of a page, as yt-dlp says and nobody has checked."""

    url: str
    headers: dict[str, str]
    title: str | None
    duration: float | None
    thumbnail: str | None
    uploader: str | None
    live: bool
    codec: str | None
    ext: str | None
    protocol: str | None
    playlist: str | None
    """The title of the list that the page holds and this is the first of; None where it is no list."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: str
    title: str | None
    duration: float | None
    thumbnail: str | None
    uploader: str | None


class Listing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="list"):
    """The answer to `playlist` and `search`."""

    entries: list[Entry]


class Trouble(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why there is no answer."""

    kind: TroubleKind
    message: str


class _Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: int
    last: bool
    ok: Track | Listing | None = None
    error: Trouble | None = None


_answers = msgspec.json.Decoder(_Answer)
_readies = msgspec.json.Decoder(Ready)


def encode(call: Call) -> bytes:
    return msgspec.json.encode(call) + b"\n"


def decode_ready(line: bytes) -> str:
    """The version that a worker announces itself with; raises `Garbage`."""
    try:
        return _readies.decode(line).ready
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Garbage("it did not announce itself") from None


def decode(line: bytes, call: Call) -> tuple[Track | Listing | Trouble, bool]:
    """The answer to `call` in `line`, and whether it is the worker's last; raises `Garbage` for anything else."""
    try:
        answer = _answers.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Garbage("its answer is not of the agreed shape") from None
    wanted = Track if call.op == "resolve" else Listing
    match answer:
        case _Answer(id=call.id, ok=None, error=Trouble() as trouble):
            return trouble, answer.last
        case _Answer(id=call.id, ok=Track() | Listing() as found, error=None) if isinstance(found, wanted):
            return found, answer.last
    raise Garbage("it answered what was not asked")
