"""An event of the log as one line, in text or in JSON, with nothing in it that a terminal or a reader of lines obeys.

What it tells was written by anybody: ids, titles, URLs, what FFmpeg and yt-dlp say.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

FIELD_MOST = 1_000
"""Characters of a field that are kept, before any are escaped."""

MESSAGE_MOST = 2_000
TRACEBACK_MOST = 8_000
"""Of a traceback the last are kept, in which the error is."""

LOOKED_AT_MOST = 65_536
"""Characters of a text that are looked at for URLs; what is kept of it lies before that."""

INTEGER_MOST = 2**53
"""Readers of JSON hold a larger number only approximately."""

OWN = ("time", "level", "logger", "message", "traceback")
"""Names in JSON that no field of an event can have: it gets an underscore behind its own."""

Value = str | int | float | bool | None

_URL = re.compile(r"([a-z][a-z0-9+.-]{0,30}://)(\S*)", re.IGNORECASE)
_PATH = re.compile(r"[/?#]")
_SECRET = re.compile(r"[?#]")


@dataclass(frozen=True)
class Entry:
    """One event. `time` is Unix's; `message` and `fields` are clean, `traceback` is in lines."""

    time: float
    level: str
    logger: str
    message: str
    fields: Mapping[str, Value]
    traceback: str | None = None


def json_line(entry: Entry) -> str:
    """One object, without a line end."""
    told: dict[str, Value] = {
        "time": _time(entry.time),
        "level": entry.level,
        "logger": entry.logger,
        "message": entry.message,
    }
    for name, value in entry.fields.items():
        told[f"{name}_" if name in OWN else name] = value
    if entry.traceback is not None:
        told["traceback"] = entry.traceback
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def text_line(entry: Entry) -> str:
    """A line without its end, as twistd writes them; a traceback follows in lines that begin with a tab."""
    line = f"{_time(entry.time)} [{entry.logger}#{entry.level}] {entry.message}"
    return line if entry.traceback is None else "\n\t".join((line, *entry.traceback.splitlines()))


def clean(text: str, most: int = MESSAGE_MOST) -> str:
    """`text` on one line: URLs bare, what cannot be printed escaped, at most about `most` characters of it."""
    text = _URL.sub(_bare, text[:LOOKED_AT_MOST])
    if len(text) > most:
        text = text[:most] + "…"
    return text if text.isprintable() else "".join(map(_printable, text))


def clean_lines(text: str) -> str:
    """A traceback, whose lines stay what they are."""
    return "\n".join(clean(line) for line in text[-TRACEBACK_MOST:].splitlines())


def value(name: str, thing: object) -> Value:
    """The field `name` of an event as it is told: numbers as they are, all else as clean text."""
    if thing is None or isinstance(thing, bool):
        return thing
    if isinstance(thing, int) and -INTEGER_MOST <= thing <= INTEGER_MOST:
        return int(thing)
    if isinstance(thing, float) and math.isfinite(thing):
        return float(thing)
    try:
        text = thing.decode("utf-8", "backslashreplace") if isinstance(thing, bytes) else str(thing)
    except Exception as error:
        text = f"<{type(thing).__name__}: {type(error).__name__}>"
    return clean(bare(text) if name == "url" else text, FIELD_MOST)


def bare(url: str) -> str:
    """A URL without user, password, query and fragment, spaces in them and all; what is none stays as it is."""
    return _URL.sub(_bare, _SECRET.split(url, maxsplit=1)[0]) if _URL.match(url) else url


def _bare(match: re.Match[str]) -> str:
    """A URL without user, password, query and fragment."""
    scheme, rest = match.groups()
    end = _PATH.search(rest)
    host, path = (rest, "") if end is None else (rest[: end.start()], rest[end.start() :])
    return f"{scheme}{host.rpartition('@')[2]}{_SECRET.split(path, maxsplit=1)[0]}"


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def _time(seconds: float) -> str:
    """ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
