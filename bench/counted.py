"""Plays by the thousand, each stopped soon: what one of them leaves behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater

from audiosvc.wire.messages import Error, SessionEvent
from bench.api import Api, Unanswered
from bench.heard import Heard, Track
from bench.pieces import Piece
from bench.roads import ROADS, Road, road

HANDS = 8
"""Plays at once."""

IDS = 1000
"""Session ids that are played on in turn. More than the daemon remembers, so that after the first few hundred each play
makes it forget one; and one id in `SAME` is always the same."""

SAME = 10

HEARD_SHARE = 0.5
"""Of the plays, those of which some is to be heard."""

HEARD_MOST = 0.2
UNHEARD_MOST = 0.03
"""Seconds from the first packet, or from the POST's answer, until it is stopped, at most."""

WAIT_MOST = 30.0
"""Seconds until a first packet, or an end, is given up."""


class Counted:
    """`played` plays so far. `trouble` is what should not have been, in words."""

    def __init__(self, reactor: Any, api: Api, dice: Random) -> None:
        self.heard = Heard(on_end=self._ended, on_sound=self._sounded)
        self.played = 0
        self.sounded = 0
        self.done: Counter[str] = Counter()
        self.trouble: list[str] = []
        self._reactor = reactor
        self._api = api
        self._dice = dice
        self._roads: list[Road] = []
        self._awaited: dict[str, Deferred[None]] = {}
        """What is waited for of a track: its first packet, then its end."""

    def begin(self, media: Path, pieces: Sequence[Piece], at_site: Callable[[str], str]) -> None:
        self._roads = [road(name, f"hand{number}", media, pieces, at_site) for number, name in enumerate(ROADS)]
        self._roads.append(Road("tone", lambda: "demo:tone?hz=440&seconds=30"))

    async def play(self, plays: int) -> None:
        """So many more, and all of them over. Raises `Refused`, and `TimeoutError` where nothing comes of one."""
        left = [plays]

        async def hand() -> None:
            while left[0]:
                left[0] -= 1
                await self._one()

        hands = [Deferred.fromCoroutine(hand()) for _ in range(HANDS)]
        results: Any = await DeferredList(hands, consumeErrors=True)
        for well, failure in results:
            if not well:
                failure.raiseException()

    async def _one(self) -> None:
        dice, number = self._dice, self.played
        self.played += 1
        session_id = "same" if number % SAME == 0 else f"turn:{number % IDS}"
        chosen = self._roads[number % len(self._roads)]
        self.done[chosen.name] += 1
        try:
            track_id = await self._api.begin(session_id, chosen.address(), format=dice.choice(("opus", "ogg")))
        except Unanswered as error:
            self.trouble.append(str(error))
            return
        track = self.heard.accepted(session_id, track_id)
        if track.ended:
            return
        patience = HEARD_MOST if dice.random() < HEARD_SHARE else UNHEARD_MOST
        if patience == HEARD_MOST and not track.sound:
            await self._waits(track)
        await deferLater(self._reactor, dice.uniform(0, patience))
        if not track.ended:
            await self._api.end(session_id, self.trouble.append)
        if not track.ended:
            await self._waits(track)

    async def _waits(self, track: Track) -> None:
        """For its first packet, or its end."""
        awaited = self._awaited[track.track_id] = Deferred()
        await awaited.addTimeout(WAIT_MOST, self._reactor)

    def _sounded(self, track: Track) -> None:
        self.sounded += 1
        self._came(track)

    def _ended(self, track: Track, event: SessionEvent) -> None:
        if isinstance(event, Error):
            self.trouble.append(f"{track.session_id} ended with {event.code}: {event.message}")
        self._came(track)

    def _came(self, track: Track) -> None:
        if awaited := self._awaited.pop(track.track_id, None):
            awaited.callback(None)
