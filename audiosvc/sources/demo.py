"""Built-in sources, `demo:NAME`: a pure tone, and the pieces of music that come with the package."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import msgspec

from audiosvc.audio import SAMPLE_RATE
from audiosvc.errors import UnknownDemo, UnsupportedUrl
from audiosvc.sources.model import File, Source, Tone

TONE = "demo:tone"
TONE_HZ = 440.0
TONE_SECONDS = 30.0
TONE_SECONDS_MOST = 86_400.0
NYQUIST = SAMPLE_RATE / 2

_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)


class Piece(msgspec.Struct, frozen=True):
    """An entry of `pieces.json`; `file` lies beside it."""

    name: str
    title: str
    artist: str
    seconds: float
    file: str


class Demos:
    """What `demo:` offers. Raises `ValueError` where the package came without its music."""

    def __init__(self, folder: Path | None = None) -> None:
        folder = folder or Path(str(files("audiosvc.sources"))) / "pieces"
        self._pieces = {piece.name: _source(piece, folder) for piece in _listed(folder)}

    def all(self) -> list[Source]:
        """The pieces in the order of their list, then the tone as it is if nothing is said."""
        return [*self._pieces.values(), self.find(TONE)]

    def find(self, url: str) -> Source:
        """What `url`, which begins with `demo:`, names; raises `UnknownDemo` or `UnsupportedUrl`."""
        name, _, query = url.partition(":")[2].partition("?")
        if name == "tone":
            return _tone(url, query)
        if name not in self._pieces:
            raise UnknownDemo(f"there is no built-in piece of that name; there are: {', '.join(self._pieces)}, tone")
        if "?" in url:
            raise UnsupportedUrl(f"demo:{name} takes no parameters")
        return replace(self._pieces[name], url=url)


def _listed(folder: Path) -> list[Piece]:
    listing = folder / "pieces.json"
    try:
        pieces = msgspec.json.decode(listing.read_bytes(), type=list[Piece])
    except (OSError, msgspec.MsgspecError) as error:
        raise ValueError(f"the built-in pieces cannot be read: {listing}: {error}") from error
    for piece in pieces:
        if not (folder / piece.file).is_file():
            raise ValueError(f"a built-in piece is missing: {folder / piece.file}")
    return pieces


def _source(piece: Piece, folder: Path) -> Source:
    media = File(folder / piece.file)
    return Source(f"demo:{piece.name}", media, piece.title, piece.seconds, uploader=piece.artist)


def _tone(url: str, query: str) -> Source:
    values = _parameters(query)
    hz, seconds = values.pop("hz", TONE_HZ), values.pop("seconds", TONE_SECONDS)
    if values:
        raise UnsupportedUrl("demo:tone takes hz and seconds, nothing else")
    if not 1 <= hz < NYQUIST:
        raise UnsupportedUrl(f"hz is a number from 1 to below {NYQUIST:.0f}")
    if not 0 < seconds <= TONE_SECONDS_MOST:
        raise UnsupportedUrl(f"seconds is a number above 0, at most {TONE_SECONDS_MOST:.0f}")
    return Source(url, Tone(hz, seconds), f"Tone of {hz:g} Hz", seconds)


def _parameters(query: str) -> dict[str, float]:
    """`name=number&…`, each name once."""
    values: dict[str, float] = {}
    for part in query.split("&") if query else ():
        name, _, number = part.partition("=")
        if name in values or not _NUMBER.fullmatch(number):
            raise UnsupportedUrl("a tone is demo:tone?hz=440&seconds=30")
        values[name] = float(number)
    return values
