"""What is played in each scenario, and of what bare work its floor is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.floor import Cost
from bench.pieces import PASSED, STATION, STATION_RATE, Piece

Road = Literal["transcode", "copy", "live"]
"""What has to be done to a source: to decode and encode it for each listener, or to copy its packets, or to decode and
encode it once for all."""

Address = Callable[[str], str]
"""A path below the bench's site → its URL."""

NAMES = ("transcode", "passthrough", "live", "mixed", "cached")

MIX = ("transcode", "passthrough", "transcode", "passthrough-http", "transcode", "transcode-http", "live", "transcode")
"""The mixed scenario's sessions, in turn: half of them files to be transcoded."""


@dataclass(frozen=True)
class Part:
    """What a session plays: `url`, in which `{}` is the session's number where each has an address of its own.

    `piece` is what its floor is taken of.
    """

    url: str
    piece: Piece
    road: Road

    def address(self, number: int) -> str:
        return self.url.format(number)


@dataclass(frozen=True)
class Workload:
    """Sessions play `parts` in turn. `replayed`: all of them have been played to their end before."""

    name: str
    parts: Sequence[Part]
    replayed: bool = False

    def part(self, number: int) -> Part:
        return self.parts[number % len(self.parts)]

    def floor(self, sessions: int, bare: Callable[[Piece, bool], Cost]) -> Cost:
        """Per session: the mean over what they play, where what is shared is done once.

        `bare` says what a piece costs, and is told whether that is copied.
        """
        decode = encode = 0.0
        shared: set[str] = set()
        for part in map(self.part, range(sessions)):
            if part.road == "live":
                if part.url in shared:
                    continue
                shared.add(part.url)
            cost = bare(part.piece, part.road == "copy")
            decode, encode = decode + cost.decode, encode + cost.encode
        return Cost(decode / sessions, encode / sessions)

    @property
    def played(self) -> list[tuple[Piece, bool]]:
        """Each piece once, and whether it is copied."""
        return list(dict.fromkeys((part.piece, part.road == "copy") for part in self.parts))


def workloads(names: Sequence[str], pieces: Sequence[Piece], at_site: Address) -> list[Workload]:
    """Those of the scenarios `names`, in the order of `NAMES`; `passthrough` is two: from files, and over HTTP."""
    passed = [piece for piece in pieces if piece.container in PASSED]
    stations = [piece for piece in pieces if piece.station]
    others = [piece for piece in pieces if not piece.station and piece not in passed]
    parts = {
        "transcode": [Part(piece.path.name, piece, "transcode") for piece in others],
        "transcode-http": [Part(_media(piece, at_site), piece, "transcode") for piece in others],
        "passthrough": [Part(piece.path.name, piece, "copy") for piece in passed],
        "passthrough-http": [Part(_media(piece, at_site), piece, "copy") for piece in passed],
        "live": [Part(at_site(f"live/{piece.path.name}?rate={STATION_RATE}"), piece, "live") for piece in stations[:1]],
    }
    mixed = [parts[name][number // 2 % len(parts[name])] for number, name in enumerate(MIX) if parts[name]]
    # What lies in the cache are Opus packets: their floor is that of a piece that is Opus.
    replayed = [
        Part(part.url, passed[number % len(passed)], "copy") for number, part in enumerate(parts["transcode"]) if passed
    ]
    every = {
        "transcode": [Workload("transcode", parts["transcode"])],
        "passthrough": [Workload(name, parts[name]) for name in ("passthrough", "passthrough-http")],
        "live": [Workload("live", parts["live"])],
        "mixed": [Workload("mixed", mixed)],
        "cached": [Workload("cached", replayed, replayed=True)],
    }
    return [workload for name in NAMES if name in names for workload in every[name]]


def containers(names: Sequence[str], chosen: Sequence[str], *, plays: bool) -> list[str]:
    """What pieces are needed in, where `chosen` are those that are transcoded; with `plays` also for the latencies."""
    needed = list(chosen) if plays or {"transcode", "mixed", "cached"} & set(names) else []
    if plays or {"passthrough", "mixed", "cached"} & set(names):
        needed += PASSED
    if {"live", "mixed"} & set(names):
        needed.append(STATION)
    return needed


def _media(piece: Piece, at_site: Address) -> str:
    return at_site(f"media/{piece.path.name}?{{}}")
