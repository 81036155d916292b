"""Every JSON body and query the API takes or gives, as the types that validate and document it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec

from audiosvc.errors import AudioServiceError, InvalidBody, InvalidJson, InvalidQuery
from audiosvc.session.track import URL_MOST, Seconds, Snapshot, Volume
from audiosvc.sources.files import Listed
from audiosvc.sources.model import Source
from audiosvc.vitals import Reason
from audiosvc.wire.messages import Status

QUERY_FIELDS_MOST = 16
SEARCH_MOST = 50
SEARCH_TEXT_MOST = 500
MESSAGE_MOST = 200
"""Characters of a message that may hold the caller's own text."""

T = TypeVar("T")
Url = Annotated[str, msgspec.Meta(min_length=1, max_length=URL_MOST)]

# --- what callers send (`Play` is in session.track) ----------------------------------------------------------


class Seek(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where to go on, in seconds of the source."""

    position: Seconds


class SetVolume(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """1 leaves the sound as it is, 0 is silence."""

    volume: Volume


class SetLevel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From what level on the session's events are logged; null is as those of all others."""

    level: Literal["debug", "info", "warn", "error"] | None


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The optional body of stop, pause and resume."""


class UrlQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    url: Url


class FilesQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A folder below the media root; nothing is the root itself."""

    path: Annotated[str, msgspec.Meta(max_length=URL_MOST)] = ""


class SearchQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    q: Annotated[str, msgspec.Meta(min_length=1, max_length=SEARCH_TEXT_MOST)]
    limit: Annotated[int, msgspec.Meta(ge=1, le=SEARCH_MOST)] = 10


# --- what they get -------------------------------------------------------------------------------------------


class Playing(msgspec.Struct, frozen=True):
    """The play was accepted; its sound and its events carry `track_id`."""

    status: Literal["playing"]
    session_id: str
    track_id: str


class Done(msgspec.Struct, frozen=True):
    status: Literal["stopped", "paused", "playing"]
    session_id: str


class Sought(msgspec.Struct, frozen=True):
    """`position` is the one asked for; the `seeked` event tells when the sound gets there."""

    status: Status
    session_id: str
    position: float


class VolumeSet(msgspec.Struct, frozen=True):
    status: Status
    session_id: str
    volume: float


class LevelSet(msgspec.Struct, frozen=True):
    session_id: str
    level: Literal["debug", "info", "warn", "error"] | None


class Probed(msgspec.Struct, frozen=True):
    status: Literal["live", "ready"]


class Sessions(msgspec.Struct, frozen=True):
    count: int
    sessions: list[Snapshot]


class Description(msgspec.Struct, frozen=True):
    """What a URL holds; `duration` is in seconds, null is not known."""

    url: str
    title: str | None
    duration: float | None
    thumbnail: str | None
    is_playlist: bool


class Entry(msgspec.Struct, frozen=True):
    url: str
    title: str | None
    duration: float | None
    thumbnail: str | None


class Playlist(msgspec.Struct, frozen=True):
    url: str
    count: int
    entries: list[Entry]


class Files(msgspec.Struct, frozen=True):
    path: str
    count: int
    entries: list[Listed]


class Result(msgspec.Struct, frozen=True):
    id: str
    url: str
    title: str | None
    duration: float | None
    thumbnail: str | None
    channel: str | None


class Results(msgspec.Struct, frozen=True):
    query: str
    count: int
    results: list[Result]


class ProblemBody(msgspec.Struct, frozen=True):
    """Every failure. `status` is `not_found` only where the status of an unknown session was asked for."""

    status: Literal["error", "not_found"]
    code: str
    message: str
    session_id: str | msgspec.UnsetType = msgspec.UNSET
    reasons: list[Reason] | msgspec.UnsetType = msgspec.UNSET
    """Of `not_ready`."""


# --- from sources --------------------------------------------------------------------------------------------


def description(source: Source) -> Description:
    """Of one track, or of a list as far as its first track tells; its entries are told by `playlist`."""
    if source.playlist is None:
        return Description(source.url, source.title, source.duration, source.thumbnail, is_playlist=False)
    return Description(source.url, source.playlist or source.title, None, source.thumbnail, is_playlist=True)


def playlist(url: str, sources: Iterable[Source]) -> Playlist:
    entries = [Entry(source.url, source.title, source.duration, source.thumbnail) for source in sources]
    return Playlist(url, len(entries), entries)


def results(query: str, sources: Iterable[Source]) -> Results:
    """A result's id is its URL, which is what names it among all sources."""
    found = [Result(s.url, s.url, s.title, s.duration, s.thumbnail, s.uploader) for s in sources]
    return Results(query, len(found), found)


# --- bytes to types ------------------------------------------------------------------------------------------


def decode_body(raw: bytes, into: type[T]) -> T:
    """The one JSON object in `raw` as the flat struct `into`.

    Numbers are numbers (an integer will do for a float, neither text nor true will), names are known and stand
    there once. Raises `InvalidJson` for what is no JSON object in UTF-8, `InvalidBody` for one that does not fit.
    """
    if not raw.strip():
        raise InvalidJson("the body is empty; a JSON object is needed")
    try:
        body = msgspec.json.decode(raw, type=into)
    except msgspec.ValidationError as error:
        if str(error).startswith("Expected `object`, got ") and " - at " not in str(error):
            raise InvalidJson() from None
        raise InvalidBody(_readable(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidJson("the body is not valid JSON in UTF-8") from None
    # msgspec lets the last of two equal names win, other readers the first. By now the object is known to be
    # flat and well-formed, so that a second reading costs microseconds and cannot recurse.
    json.loads(raw, object_pairs_hook=_refuse_twins)
    return body


def decode_no_body(raw: bytes) -> None:
    """Nothing or an empty object; anything else raises as `decode_body` does."""
    if raw:
        decode_body(raw, Nothing)


def decode_query(raw: bytes, into: type[T]) -> T:
    """The query string `raw` (what follows the `?`) as the flat struct `into`, or `InvalidQuery`."""
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=QUERY_FIELDS_MOST
        )
    except ValueError:
        raise InvalidQuery("the query is not percent-encoded UTF-8 of at most 16 fields") from None
    fields = _only_once(pairs, InvalidQuery)
    try:
        return msgspec.convert(fields, into, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidQuery(_readable(error)) from None


def _refuse_twins(pairs: list[tuple[str, Any]]) -> None:
    _only_once(pairs, InvalidBody)


def _only_once(pairs: list[tuple[str, Any]], error: type[AudioServiceError]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise error(f"{name[:MESSAGE_MOST]}: given twice")
        fields[name] = value
    return fields


_MISFIT = re.compile(r"(?P<what>.*?)(?: - at `\$\.(?P<field>\w+)`)?", re.DOTALL)


def _readable(error: msgspec.ValidationError) -> str:
    """What was expected, led by the field's name: "Expected `float` - at `$.volume`" is "volume: expected float"."""
    misfit = _MISFIT.fullmatch(str(error))
    assert misfit is not None
    what = misfit["what"].removeprefix("Object ").replace("`", "").replace(" | ", " or ")
    what = what[:1].lower() + what[1:MESSAGE_MOST]
    return f"{misfit['field']}: {what}" if misfit["field"] else what
