"""Sessions that play one track after another, of which half are left alone and the others are not."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from audiosvc.remote import Refused
from audiosvc.wire.messages import Error, SessionEvent
from bench import machine
from bench.api import Api
from bench.consumer import Consumer
from bench.heard import Heard, Track
from bench.pieces import Piece
from bench.roads import ROADS, Road, dropping, mark_of, road

MEDDLE_SECONDS = 0.5
"""Between two acts upon the sessions that are not left alone, on average."""

CUT_SECONDS = 30.0
"""Between two times that the consumer is cut off, on average."""

AWAY_MOST = 3.0
PAUSE_MOST = 6.0
BETWEEN_MOST = 1.5
"""Seconds that a consumer is away, a pause lasts and a session is silent between two tracks, at most."""

ACTS = {"volume": 6, "seek": 5, "pause": 4, "stop": 3, "replace": 3, "kill": 2, "drop": 2}
"""How often each is done, in proportion."""

RACES = ("(not_found)", "(not_seekable)", "(position_out_of_range)")
"""What may be refused, since a track may end, or show how long it is, while it is asked for something."""

TROUBLES_MOST = 20


@dataclass
class Slot:
    """One session id, and the play that it is at, from its POST's answer on."""

    session_id: str
    road: Road
    calm: bool
    track: Track | None = None
    playing: bool = False
    """Whether a POST is under way."""


@dataclass
class Seen:
    """Of a track, at the last look. `caught_up`: its listener had just been set down at the edge of a live source."""

    underruns: int = 0
    dropped: int = 0
    caught_up: bool = False


class Churn:
    """`sessions` of them; `done` counts what was done to them, `trouble` is what should not have been, in words."""

    def __init__(self, reactor: Any, api: Api, pid: int, sessions: int, dice: Random) -> None:
        self.done: Counter[str] = Counter()
        self.trouble: list[str] = []
        self.heard = Heard(on_end=self._ended)
        self.underruns = 0
        """Of tracks that nobody had interfered with, by the daemon's own count. One who was away from a live source
        for longer than is kept of it goes on at its edge, where nothing is ready: that is not counted."""
        self.ran_dry: list[str] = []
        """Which, and how far they were when it was seen."""
        self._reactor = reactor
        self._api = api
        self._pid = pid
        self._dice = dice
        self._names = [f"soak:{number}" for number in range(sessions)]
        self._slots: dict[str, Slot] = {}
        self._pieces: Sequence[Piece] = ()
        self._at_site: Callable[[str], str] = str
        self._seen: dict[str, Seen] = {}
        self._over = False

    async def begin(self, media: Path, pieces: Sequence[Piece], at_site: Callable[[str], str]) -> None:
        self._pieces, self._at_site = pieces, at_site
        for number, name in enumerate(self._names):
            mine = road(ROADS[number // 2 % len(ROADS)], _owner(name), media, pieces, at_site)
            self._slots[name] = Slot(name, mine, calm=number % 2 == 0)
            await self._play(self._slots[name])

    async def meddle(self) -> None:
        """For ever; at once with `begin` done."""
        restless = [slot for slot in self._slots.values() if not slot.calm]
        names, weights = list(ACTS), list(ACTS.values())
        while True:
            await self._sleep(self._dice.expovariate(1 / MEDDLE_SECONDS))
            slot, (act,) = self._dice.choice(restless), self._dice.choices(names, weights)
            track = slot.track
            if track is None or slot.playing:
                continue
            self.heard.touch(track, time.monotonic())
            try:
                await self._act(act, slot)
            except Refused:
                self._failed(Failure(), slot)

    async def cut(self, consumer: Consumer) -> None:
        """Cut the consumer off, and let it come back, for ever."""
        while True:
            await self._sleep(self._dice.uniform(0.5, 1.5) * CUT_SECONDS)
            await consumer.cut()
            await self._sleep(self._dice.uniform(0.05, AWAY_MOST))
            await consumer.connect()
            self.done["cut off"] += 1

    async def look(self) -> None:
        """Read what the daemon says of each session. Raises `Refused`."""
        for session in await self._api.sessions():
            slot = self._slots.get(session["session_id"])
            track = slot.track if slot is not None else None
            if slot is not None and track is not None and not track.touched and track.track_id == session["track_id"]:
                seen = self._seen.get(track.track_id, Seen())
                now = Seen(session["underruns"], session["dropped"], session["dropped"] > seen.dropped)
                self._seen[track.track_id] = now
                if now.caught_up or seen.caught_up:
                    continue
                more = now.underruns - seen.underruns
                if more and len(self.ran_dry) < TROUBLES_MOST:
                    where = f"{slot.session_id}, {slot.road.name}"
                    self.ran_dry.append(f"{where}: {more} underruns by packet {track.packets}")
                self.underruns += more

    async def end(self) -> None:
        """Stop them all; nothing is played any more."""
        self._over = True
        for name in self._names:
            await self._api.end(name, self.note)

    async def _act(self, act: str, slot: Slot) -> None:
        dice, name = self._dice, slot.session_id
        match act:
            case "volume":
                await self._api.ask(name, "volume", volume=dice.choice((0.5, 0.8, 1.0, 1.0, 1.3)))
            case "seek" if not slot.road.live:
                await self._api.ask(name, "seek", position=round(dice.uniform(0, 30), 2))
            case "pause":
                await self._api.ask(name, "pause")
                self._reactor.callLater(dice.uniform(0.05, PAUSE_MOST), self._later, slot, slot.track)
            case "stop":
                await self._api.stop(name)
            case "replace":
                await self._play(slot)
            case "drop":
                await self._play(slot, dropping(_owner(name), self._pieces, self._at_site))
            case "kill":
                if not self._kill(slot):
                    return
            case _:
                return
        self.done[act] += 1

    def _kill(self, slot: Slot) -> bool:
        """Whether there was an FFmpeg that plays it."""
        mark = mark_of(_owner(slot.session_id)).encode()
        found = [pid for pid in machine.children_of(self._pid) if mark in machine.command_of(pid)]
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(found)

    async def _play(self, slot: Slot, url: str | None = None) -> None:
        """From the beginning to the end, or a part of it."""
        dice = self._dice
        wishes: dict[str, Any] = {"format": dice.choice(("opus", "ogg"))}
        if not slot.road.live and url is None and dice.random() < 0.5:
            wishes |= {"start_at": round(dice.uniform(0, 20), 2), "duration": round(dice.uniform(5, 15), 2)}
        slot.playing = True
        try:
            track_id = await self._api.begin(slot.session_id, url or slot.road.address(), **wishes)
        finally:
            slot.playing = False
        slot.track = self.heard.accepted(slot.session_id, track_id)
        self.done["play"] += 1
        if url is not None:
            self.heard.touch(slot.track, time.monotonic())
        if slot.track.ended:
            self._next(slot)

    def _ended(self, track: Track, event: SessionEvent) -> None:
        self._seen.pop(track.track_id, None)
        if isinstance(event, Error):
            self.note(f"{track.session_id} ended with {event.code}: {event.message}, after {event.played} s")
        slot = self._slots.get(track.session_id)
        if slot is not None and slot.track is track:
            slot.track = None
            if not slot.playing:
                self._next(slot)

    def _next(self, slot: Slot) -> None:
        slot.track = None
        self._reactor.callLater(self._dice.uniform(0, BETWEEN_MOST), self._later, slot, None)

    def _later(self, slot: Slot, track: Track | None) -> None:
        """Resume `track`, or play the next where it is None; unless something else has come before it."""
        if self._over or slot.track is not track or slot.playing:
            return
        due = self._play(slot) if track is None else self._api.ask(slot.session_id, "resume")
        Deferred.fromCoroutine(due).addErrback(self._failed, slot)

    def _failed(self, failure: Failure, slot: Slot) -> None:
        if failure.check(Refused) and failure.getErrorMessage().endswith(RACES):
            self.done["raced"] += 1
        else:
            self.note(f"{slot.session_id}, {slot.road.name}: {failure.getErrorMessage() or failure.type}")

    def note(self, what: str) -> None:
        if len(self.trouble) < TROUBLES_MOST:
            self.trouble.append(what)

    async def _sleep(self, seconds: float) -> None:
        await deferLater(self._reactor, seconds)


def _owner(session_id: str) -> str:
    """As it may be in a file's name."""
    return session_id.replace(":", "")
