"""All sessions by their id. A play on an id replaces that id's session and touches no other."""

from __future__ import annotations

from collections import Counter

from twisted.internet.defer import Deferred, succeed

from audiosvc.errors import SessionNotFound, ShuttingDown, TooManySessions
from audiosvc.session.session import House, Session
from audiosvc.session.track import Play, Snapshot
from audiosvc.wire.messages import Error, SessionEvent, Stopped


class Registry:
    """Implements `interfaces.ISessions`; at most `max_sessions` at once."""

    def __init__(self, house: House, max_sessions: int) -> None:
        self._house = house
        self._max_sessions = max_sessions
        self._sessions: dict[str, Session] = {}
        self._leaving: dict[str, Deferred[None]] = {}
        self._closing = False
        self.plays = 0
        self.ends: Counter[str] = Counter()

    def play(self, session_id: str, request: Play) -> str:
        """Raises `ShuttingDown`, `TooManySessions`, or what the resolver has against the URL: then nothing changed."""
        if self._closing:
            raise ShuttingDown()
        old = self._sessions.get(session_id)
        if old is None and len(self._sessions) >= self._max_sessions:
            raise TooManySessions()
        self._house.resolver.check(request.url)
        if old is not None:
            old.stop("replaced")
        session = Session(self._house, self, session_id, request, self._leaving.pop(session_id, succeed(None)))
        self._sessions[session_id] = session
        self.plays += 1
        session.start()
        return session.track_id

    def stop(self, session_id: str) -> None:
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

    def by_status(self) -> Counter[str]:
        """How many sessions show each status now."""
        return Counter(session.status for session in self._sessions.values())

    def shut_down(self) -> None:
        """Take no more plays and stop every session: `stopped: shutdown`."""
        self._closing = True
        for session in list(self._sessions.values()):
            session.stop("shutdown")

    def session_over(self, session: Session, gone: Deferred[None], end: SessionEvent) -> None:
        session_id = session.session_id
        del self._sessions[session_id]
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

    def _left(self, session_id: str, gone: Deferred[None]) -> None:
        if self._leaving.get(session_id) is gone:
            del self._leaving[session_id]
