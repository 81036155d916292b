"""All sessions by their id. A play on an id replaces that id's session and touches no other."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from audiosvc.audio import FRAME_SECONDS
from audiosvc.descriptors import check_descriptors
from audiosvc.errors import AudioServiceError, NoFds, Overloaded, SessionNotFound, ShuttingDown, TooManySessions
from audiosvc.flow.overload import Overload
from audiosvc.session.memory import Memory
from audiosvc.session.session import House, Session
from audiosvc.session.stats import Stats
from audiosvc.session.track import Play, Snapshot
from audiosvc.session.weight import is_light
from audiosvc.wire.messages import Error, SessionEvent, Stopped

VISIBLE_SECONDS = 1.0
"""How long a session flows until its work is in what is measured."""

NEXT_SECONDS = 5.0
"""How long the place of a track that came to its end by itself is kept for the next: a queue goes on at any load."""

WOKEN_MOST = 16
"""Sessions of before a restart that are looked up and opened at once: as many as may wait for yt-dlp."""

WOKEN_A_TURN = 4
"""Of them in the time of a frame: each may take 1 ms, which the beat has to wait for."""


class Registry:
    """Implements `interfaces.ISessions`; at most `max_sessions` at once, and no more than `overload` lets in."""

    log = Logger()

    def __init__(self, house: House, max_sessions: int, overload: Overload | None = None) -> None:
        self._house = house
        self._max_sessions = max_sessions
        self._overload = overload
        self._sessions: dict[str, Session] = {}
        self._light: set[str] = set()
        self._newcomers: dict[str, float | None] = {}
        """Those that are not light and not yet to be measured, with the time since when they flow."""
        self._places: dict[str, float] = {}
        """Places that are kept, with the time until when, oldest first."""
        self._leaving: dict[str, Deferred[None]] = {}
        self._closing = False
        self._forget: Callable[[str], None] | None = None
        self._asleep: deque[Session] = deque()
        """Sessions of before a restart whose turn has not come yet."""
        self._woken: list[Session] = []
        self._waking: IDelayedCall | None = None
        self.taken_up = 0
        self.left_out = 0
        self.plays = 0
        self.ends: Counter[str] = Counter()

    def play(self, session_id: str, request: Play) -> str:
        """Raises `ShuttingDown`, `TooManySessions`, `NoFds`, `Overloaded`, or what the resolver has against the URL.

        Then nothing changed. What plays already is replaced whatever the load is, and so is what has just ended.
        """
        if self._closing:
            raise ShuttingDown()
        old = self._sessions.get(session_id)
        if old is None and len(self._sessions) >= self._max_sessions:
            raise TooManySessions()
        self._house.resolver.check(request.url)
        check_descriptors()
        light = self._overload is not None and self._let_in(session_id, request, self._overload)
        if old is not None:
            old.stop("replaced")
        if light:
            self._light.add(session_id)
        session = Session(self._house, self, session_id, request, self._leaving.pop(session_id, succeed(None)))
        self._sessions[session_id] = session
        self.plays += 1
        session.start()
        return session.track_id

    def take_up(self, memories: Iterable[Memory]) -> None:
        """Go on with what a daemon before this one played, whatever the load is; before anybody is served.

        What may no longer be played, or no longer fits in, is left out and logged.
        """
        for memory in memories:
            session_id = memory.session_id
            try:
                self._house.resolver.check(memory.play.url)
                if len(self._sessions) >= self._max_sessions:
                    raise TooManySessions()
            except AudioServiceError as error:
                self.left_out += 1
                self.log.warn("{session}: not taken up: {code}", session=session_id, code=error.code)
                continue
            session = Session(self._house, self, session_id, memory.play, succeed(None), memory)
            self._sessions[session_id] = session
            self._newcomers[session_id] = None
            self._asleep.append(session)
            self.taken_up += 1
            session.start()
        if self.taken_up:
            self.log.info("goes on with {sessions} sessions", sessions=self.taken_up)
            self._wake()

    def memories(self) -> list[Memory]:
        """All sessions, for the daemon after this one."""
        return [session.memory() for session in self._sessions.values()]

    def stop(self, session_id: str) -> None:
        if self._forget is not None:
            self._forget(session_id)
        if session := self._sessions.get(session_id):
            session.stop("stop")

    def pause(self, session_id: str) -> None:
        self._session(session_id).pause()

    def resume(self, session_id: str) -> None:
        self._session(session_id).resume()

    def seek(self, session_id: str, position: float) -> None:
        self._session(session_id).seek(position)

    def set_volume(self, session_id: str, volume: float) -> None:
        self._session(session_id).set_volume(volume)

    def snapshot(self, session_id: str) -> Snapshot:
        return self._session(session_id).snapshot()

    def snapshots(self) -> list[Snapshot]:
        return [session.snapshot() for session in self._sessions.values()]

    def stats(self, session_id: str) -> Stats:
        return self._session(session_id).stats()

    def ready(self) -> list[int]:
        """Packets that each session has ready."""
        return [session.ready for session in self._sessions.values()]

    def by_status(self) -> Counter[str]:
        """How many sessions show each status now."""
        return Counter(session.status for session in self._sessions.values())

    def pending(self) -> int:
        """Sessions that will take work which is not yet to be measured."""
        now = self._now
        for session_id, since in list(self._newcomers.items()):
            session = self._sessions.get(session_id)
            if session is None or (since is not None and now - since >= VISIBLE_SECONDS):
                del self._newcomers[session_id]
            elif since is None and (session.flowing or session.status == "paused"):
                self._newcomers[session_id] = now
        return len(self._newcomers)

    def refusals(self) -> list[AudioServiceError]:
        """Why a play would be refused now that is on a new id and takes work, whatever its source is."""
        refusals: list[AudioServiceError] = []
        if self._closing:
            refusals.append(ShuttingDown())
        if len(self._sessions) >= self._max_sessions:
            refusals.append(TooManySessions())
        try:
            check_descriptors()
        except NoFds as error:
            refusals.append(error)
        if self._overload is not None and self._overload.refuses(light=False):
            refusals.append(Overloaded())
        return refusals

    def close(self, kept: Collection[str], forget: Callable[[str], None]) -> None:
        """Take no more plays, and stop the sessions that are not among those `kept` for the daemon after this one.

        `forget` is called with the id of each that its user stops from now on.
        """
        self._closing = True
        self._forget = forget
        for session_id, session in list(self._sessions.items()):
            if session_id not in kept:
                session.stop("shutdown")

    def shut_down(self) -> None:
        """Take no more plays and stop every session: `stopped: shutdown`."""
        self._closing = True
        if self._waking is not None:
            self._waking.cancel()
            self._waking = None
        for session in list(self._sessions.values()):
            session.stop("shutdown")

    def session_over(self, session: Session, gone: Deferred[None], end: SessionEvent) -> None:
        session_id = session.session_id
        del self._sessions[session_id]
        if session_id not in self._light and not isinstance(end, Stopped):
            self._keep_place(session_id)
        self._light.discard(session_id)
        match end:
            case Stopped(reason=reason):
                self.ends[f"stopped:{reason}"] += 1
            case Error(code=code):
                self.ends[f"error:{code}"] += 1
            case _:
                self.ends["finished"] += 1
        if not gone.called:
            self._leaving[session_id] = gone
            gone.addCallback(lambda _: self._left(session_id, gone))

    def _session(self, session_id: str) -> Session:
        try:
            return self._sessions[session_id]
        except KeyError:
            raise SessionNotFound() from None

    def _wake(self) -> None:
        """Have some more of those that sleep opened, in their order, as those before them come to sound."""
        self._waking = None
        self._woken = [session for session in self._woken if session.waking]
        for _ in range(min(WOKEN_A_TURN, WOKEN_MOST - len(self._woken), len(self._asleep))):
            session = self._asleep.popleft()
            session.wake()
            self._woken.append(session)
        if self._asleep:
            self._waking = self._house.workshop.reactor.callLater(FRAME_SECONDS, self._wake)

    def _let_in(self, session_id: str, request: Play, overload: Overload) -> bool:
        """Whether what is let in is light. One that takes work in place of one that does not is one more."""
        light = is_light(self._house, request)
        if session_id not in self._sessions or (session_id in self._light and not light):
            if light or self._places.pop(session_id, 0.0) <= self._now:
                overload.admit(light=light)
            if not light:
                self._newcomers[session_id] = None
        return light

    def _keep_place(self, session_id: str) -> None:
        self._places.pop(session_id, None)
        self._places[session_id] = self._now + NEXT_SECONDS
        while self._places[oldest := next(iter(self._places))] < self._now:
            del self._places[oldest]

    @property
    def _now(self) -> float:
        return self._house.workshop.reactor.seconds()

    def _left(self, session_id: str, gone: Deferred[None]) -> None:
        if self._leaving.get(session_id) is gone:
            del self._leaving[session_id]
