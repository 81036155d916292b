"""What the sessions of a soak play: every road that sound takes through the daemon. No daemon is needed to say so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from bench.pieces import PASSED, STATION, STATION_RATE, Piece

CONTAINERS = ("mp3", "m4a", *PASSED, STATION)
"""What the pieces are needed in."""

KEPT = "kept"
"""Begins the names of files that are in the daemon's cache: they alone are played under the same name again."""

ROADS = (
    *("file mp3", "site m4a", "file opus", "site webm", "station"),
    *("cached", "site mp3", "file m4a", "file webm", "cached"),
)
"""In turn."""

_numbers = count()


@dataclass(frozen=True)
class Road:
    """`address` gives what to play next, which nobody has played before unless it is `cached` or a `station`.

    In the address, and so in the command line of the FFmpeg that plays it, is `mark_of` its owner.
    """

    name: str
    address: Callable[[], str]
    live: bool = False


def mark_of(owner: str) -> str:
    """In what is played by nobody else."""
    return f"{owner}-"


def road(name: str, owner: str, media: Path, pieces: Sequence[Piece], at_site: Callable[[str], str]) -> Road:
    """The road called `name`, one of `ROADS`, of the session `owner`. Pieces are drawn from in turn."""
    how, _, container = name.partition(" ")
    if how == "station":
        station = next(piece for piece in pieces if piece.container == STATION)
        return Road(name, lambda: at_site(f"live/{station.path.name}?rate={STATION_RATE}"), live=True)
    if how == "cached":
        kept = [piece.path.name for piece in kept_pieces(pieces)]
        return Road(name, lambda: kept[next(_numbers) % len(kept)])
    mine = [piece.path for piece in pieces if piece.container == container and piece not in kept_pieces(pieces)]
    if how == "site":

        def url() -> str:
            number = next(_numbers)
            return at_site(f"media/{mine[number % len(mine)].name}?{mark_of(owner)}{number}")

        return Road(name, url)
    for index, path in enumerate(mine):
        shutil.copyfile(path, media / f"{mark_of(owner)}{index}.{container}")

    def file() -> str:
        # The cache knows a file that was touched for another.
        name = f"{mark_of(owner)}{next(_numbers) % len(mine)}.{container}"
        os.utime(media / name)
        return name

    return Road(name, file)


def dropping(owner: str, pieces: Sequence[Piece], at_site: Callable[[str], str]) -> str:
    """What breaks off in mid-track, and can be gone on with."""
    path = next(piece.path for piece in pieces if piece.container == "mp3")
    return at_site(f"drops/{path.name}?{mark_of(owner)}{next(_numbers)}")


def kept_pieces(pieces: Sequence[Piece]) -> list[Piece]:
    return [piece for piece in pieces if piece.path.name.startswith(KEPT)]


def keep(pieces: Sequence[Piece]) -> list[Piece]:
    """Copies of those that have to be transcoded, one of each container, under names of their own."""
    made = []
    for container in ("mp3", "m4a"):
        piece = next(piece for piece in pieces if piece.container == container)
        path = piece.path.with_name(f"{KEPT}.{container}")
        shutil.copyfile(piece.path, path)
        made.append(Piece(path.name, path, piece.codec, container))
    return made
