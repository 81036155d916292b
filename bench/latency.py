"""How soon the first packet comes, after a play of each kind of source and after a seek: one at a time, in stages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.task import deferLater

from audiosvc.net.agent import DEFAULTS
from bench.daemon import CACHE_BYTES, Running, Setup, knows, running
from bench.filler import play_through
from bench.floor import first_byte
from bench.pieces import PASSED, Piece
from bench.receiver import Noted
from bench.site import Asked, Served

PLAY_SECONDS, PAGE_SECONDS, PAUSE_SECONDS = 0.6, 1.2, 0.2
"""How long a play lasts whose first packet is waited for, of a page and of anything else; and the silence after it."""

WARM_MOST = 15.0
"""Seconds for a yt-dlp worker to start and to read its first page."""

OWN_AGENT = DEFAULTS["User-Agent"]
"""What the daemon calls itself."""

GOALS = {
    "local": 35.0,
    "local opus": 35.0,
    "direct": 120.0,
    "direct opus": 120.0,
    "page": 400.0,
    "cached": 10.0,
    "seek": 45.0,
    "seek cached": 10.0,
}
"""Milliseconds, median; of a page beside what the site itself takes."""


@dataclass
class Latency:
    """Milliseconds, one value a play; `stages` has those of each part of the way, where it can be seen from outside."""

    of: str
    first_packet: list[float] = field(default_factory=list)
    missed: int = 0
    """Plays of which no packet came in time."""
    stages: dict[str, list[float]] = field(default_factory=dict)

    @property
    def goal(self) -> float:
        return GOALS[self.of]


@dataclass(frozen=True)
class Play:
    """One that was asked for: `mark` is in the addresses it has the site asked for."""

    session_id: str
    at: int
    piece: Piece
    mark: str
    bare: float | None
    """Milliseconds of a bare FFmpeg from its start to the first byte of that piece's PCM, right before it."""


async def latencies(reactor: Any, setup: Setup, site: Served, pieces: Sequence[Piece], plays: int) -> list[Latency]:
    """`plays` of each kind, the pieces in turn. Raises `BenchFailed`."""
    passed = [piece for piece in pieces if piece.container in PASSED]
    decoded = [piece for piece in pieces if piece not in passed and not piece.station]
    made: dict[str, list[Play]] = {}
    seeks: dict[str, list[int]] = {}
    async with running(reactor, setup, 1, cache=CACHE_BYTES) as it:
        await _warm(reactor, it, site.url(f"page/{decoded[0].path.name}?warm"))
        for kind, address, media in (
            ("local", "{}", decoded),
            ("local opus", "{}", passed),
            ("direct", site.url("media/{}?{}"), decoded),
            ("direct opus", site.url("media/{}?{}"), passed),
            ("page", site.url("page/{}?{}"), decoded),
        ):
            made[kind] = []
            for number in range(plays if media else 0):
                # An address of its own each, so that none finds what another has left in a memory.
                piece, mark = media[number % len(media)], f"{kind.replace(' ', '-')}{number}"
                url = address.format(piece.path.name, mark)
                bare = first_byte(setup.ffmpeg, piece) * 1000 if kind == "local" else None
                made[kind].append(await _one(reactor, it, mark, url, piece, mark, bare))
        seeks["seek"] = await _seeks(reactor, it, "seek", decoded[0], plays)
        if knows("cache-size"):
            for piece in decoded:
                await play_through(reactor, it.socket, it.control, "fill", piece.path.name)
            made["cached"] = [
                await _one(reactor, it, f"cached:{number}", piece.path.name, piece, "")
                for number, piece in enumerate(decoded[number % len(decoded)] for number in range(plays))
            ]
            seeks["seek cached"] = await _seeks(reactor, it, "seek cached", decoded[0], plays)
    noted, asked = it.receiver.noted, site.asked()
    taken = [_of_plays(kind, made[kind], noted, asked) for kind in made]
    return [kind for kind in taken if kind.first_packet or kind.missed] + [
        _of_seeks(kind, posted, noted) for kind, posted in seeks.items()
    ]


async def _warm(reactor: Any, it: Running, page: str) -> None:
    """Have a worker started, and a first page read by it."""
    await it.control.play("warm", page)
    given_up = time.monotonic() + WARM_MOST
    while (await it.control.vitals())["sessions"]["extracting"] and time.monotonic() < given_up:
        await deferLater(reactor, PAUSE_SECONDS)
    await it.control.stop("warm")
    await deferLater(reactor, PAUSE_SECONDS)


async def _one(
    reactor: Any, it: Running, session_id: str, url: str, piece: Piece, mark: str, bare: float | None = None
) -> Play:
    at = time.monotonic_ns()
    await it.control.play(session_id, url)
    await deferLater(reactor, PAGE_SECONDS if "/page/" in url else PLAY_SECONDS)
    await it.control.stop(session_id)
    await deferLater(reactor, PAUSE_SECONDS)
    return Play(session_id, at, piece, mark, bare)


async def _seeks(reactor: Any, it: Running, kind: str, piece: Piece, count: int) -> list[int]:
    """When each was asked for: to and fro in one session, further than any buffer reaches."""
    session_id, posted = _session_of(kind), []
    await it.control.play(session_id, piece.path.name)
    for number in range(count):
        await deferLater(reactor, PLAY_SECONDS)
        posted.append(time.monotonic_ns())
        await it.control.seek(session_id, (5.0, 22.0)[number % 2] + number / 10)
    await deferLater(reactor, PLAY_SECONDS)
    await it.control.stop(session_id)
    await deferLater(reactor, PAUSE_SECONDS)
    return posted


def _session_of(kind: str) -> str:
    return kind.replace(" ", "-")


def _of_plays(kind: str, plays: Sequence[Play], noted: Noted, asked: Sequence[Asked]) -> Latency:
    taken = Latency(kind)
    for play in plays:
        heard = noted.packets.get(play.session_id)
        if not heard:
            taken.missed += 1
            continue
        taken.first_packet.append((heard[0] - play.at) / 1e6)
        mine = [request for request in asked if request.path.endswith(f"?{play.mark}")] if play.mark else []
        for stage, took in stages(play.at, heard[0], play.bare, mine).items():
            taken.stages.setdefault(stage, []).append(took)
    return taken


def _of_seeks(kind: str, posted: Sequence[int], noted: Noted) -> Latency:
    taken, session_id = Latency(kind), _session_of(kind)
    packets = noted.packets.get(session_id, [])
    sought = [event for event in noted.events if event.session_id == session_id and event.kind == "Seeked"]
    for at, event in zip(posted, sought, strict=False):
        if event.packets < len(packets):
            taken.first_packet.append((packets[event.packets] - at) / 1e6)
    taken.missed = len(posted) - len(taken.first_packet)
    return taken


def stages(posted: int, first_packet: int, bare: float | None, asked: Sequence[Asked]) -> dict[str, float]:
    """Milliseconds from stage to stage of one play, by what its site was asked and when; times are nanoseconds.

    The daemon's own look comes first, then what yt-dlp asks, if it is a page, then whoever fetches the media. `bare` is
    what a bare FFmpeg takes from its start to its first byte of PCM.
    """
    if not asked:
        if bare is None:
            return {}
        return {"bare FFmpeg's first byte": bare, "all else": (first_packet - posted) / 1e6 - bare}
    own = [request for request in asked if request.agent == OWN_AGENT]
    read = [request for request in asked if request.agent != OWN_AGENT and request.path.startswith("/page/")]
    media = [request for request in asked if request.agent != OWN_AGENT and request not in read]
    # What needs no FFmpeg the daemon fetches itself, after its look.
    looks, media = (own, media) if media else (own[:-1], own[-1:])
    taken = {}
    at = posted
    for stage, requests in (("look", looks), ("yt-dlp", read), ("media", media)):
        if requests:
            taken[f"until {stage}"] = requests[0].began - at
            at = requests[0].began if stage == "media" else requests[-1].ended
            if stage != "media":
                taken[stage] = at - requests[0].began
    taken["first packet"] = first_packet - at
    taken["the site's own"] = sum(request.ended - request.began for request in (*looks, *read))
    return {stage: took / 1e6 for stage, took in taken.items()}
