"""Where two parts meet that do not know each other; `tap` joins them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IReactorCore,
    IReactorFDSet,
    IReactorFromThreads,
    IReactorProcess,
    IReactorSocket,
    IReactorTCP,
    IReactorTime,
)

from audiosvc.errors import AudioServiceError
from audiosvc.session.stats import DeliveryStats, Stats
from audiosvc.session.track import Play, Snapshot
from audiosvc.sources.files import Listed
from audiosvc.sources.model import Source
from audiosvc.wire.messages import SessionEvent, Status


class IReactor(
    IReactorCore, IReactorTime, IReactorProcess, IReactorFDSet, IReactorFromThreads, IReactorTCP, IReactorSocket
):
    """What is asked of the reactor: its life, time, children, readiness, sockets, and the way back from a thread."""


class IFeed(Protocol):
    """A session's track as delivery sees it: something to pull packets from."""

    @property
    def session_id(self) -> str: ...

    @property
    def track_id(self) -> str: ...

    @property
    def status(self) -> Status: ...

    @property
    def sent(self) -> int:
        """Packets of the track that were handed over so far, in a daemon before this one too."""

    @property
    def flowing(self) -> bool:
        """Whether the listener is due a packet every 20 ms: playing, and its pipeline has begun to give."""

    @property
    def position(self) -> float:
        """Seconds into the source of the next packet to be poured."""

    def pour(self, most: int, into: Callable[[bytes], None]) -> int:
        """Hand over up to `most` payloads that are there now, in order; returns how many.

        None while paused or while the pipeline has none ready. Whatever event belongs behind the last one is
        announced before this returns.
        """

    def rewind(self, packets: int) -> bool:
        """Go back to behind packet number `packets`, before the first is handed over after a restart of the daemon.

        False where that is out of reach, or there is nothing to go back.
        """

    def underran(self) -> None:
        """A paced packet was due and none was there."""

    def abandoned(self) -> None:
        """No client took the session for the consumer timeout."""


class IPacketSink(Protocol):
    """Delivery as a session sees it: packets are pulled by it, events are pushed to it, in one order."""

    def open(self, feed: IFeed) -> None:
        """A track begins on the feed's session id; packets are numbered from 1 again."""

    def announce(self, event: SessionEvent) -> None:
        """Place the event behind everything poured so far."""

    def flow(self, feed: IFeed) -> None:
        """Packets came to be where there were none: pull now if somebody waits for them."""

    def close(self, feed: IFeed) -> None:
        """The track's terminal event has been announced."""

    def held(self, session_id: str) -> bool:
        """Whether nobody takes the session's packets now."""

    def unsent(self, session_id: str) -> int:
        """Packets that were handed over and wait to be sent, since a client came back that did not hold them."""

    def stats(self, session_id: str) -> DeliveryStats:
        """How the session's packets go out."""


class ISourceResolver(Protocol):
    """URL → what to play."""

    def check(self, url: str) -> None:
        """Raise the `AudioServiceError` that shows from the URL alone; asks nobody, opens nothing."""

    def known(self, url: str) -> Source | None:
        """What `resolve` would give, where that is known without asking anybody."""

    def resolve(self, url: str, *, fresh: bool = False) -> Deferred[Source]:
        """What to hand to FFmpeg; fails with an `AudioServiceError`. `fresh`: not out of any cache."""

    def describe(self, url: str) -> Deferred[Source]:
        """As `resolve`, with title and duration looked up where that needs a look at the media itself."""

    def search(self, query: str, limit: int) -> Deferred[list[Source]]: ...

    def playlist(self, url: str) -> Deferred[list[Source]]: ...

    def files(self, path: str) -> list[Listed]:
        """What lies in a folder below the media root, "" for the root itself, where that may be asked."""


class IPermit(Protocol):
    """One child's leave to reach the network, through the door and nowhere else; over when the child is."""

    @property
    def environment(self) -> Mapping[str, str]:
        """What the child's environment holds besides the common part: the way to the door, its token in it."""

    @property
    def prefix(self) -> Sequence[str]:
        """What goes before the child's command line: the way into where only the door can be reached; may be empty."""

    @property
    def denial(self) -> AudioServiceError | None:
        """What the door refused to its holder, the first of it; None while all was allowed."""

    @property
    def trouble(self) -> AudioServiceError | None:
        """Why its holder's latest request led nowhere: no such name, no answer, one that broke off. None if not so."""

    @property
    def received(self) -> int:
        """Bytes that it was answered with."""

    def flowing(self) -> None:
        """The holder gives sound: from here on it may go on asking, at a steady rate. More calls do nothing."""

    def close(self) -> None:
        """The token is worth nothing from here on; connections made with it are closed. More calls do nothing."""


class IDoor(Protocol):
    """The one way out to the network for everything that fetches."""

    def permit(self, label: str, most: int | None = None) -> IPermit:
        """`label` says in logs for whom; `most` is the bytes that its holder may be answered with in all."""


class ISessions(Protocol):
    """The registry as the API sees it. Unknown ids raise `SessionNotFound` (but not in `stop`)."""

    def play(self, session_id: str, request: Play) -> str:
        """Start or replace; returns the track id. Raises before anything is touched."""

    def stop(self, session_id: str) -> None: ...

    def pause(self, session_id: str) -> None: ...

    def resume(self, session_id: str) -> None: ...

    def seek(self, session_id: str, position: float) -> None: ...

    def set_volume(self, session_id: str, volume: float) -> None: ...

    def snapshot(self, session_id: str) -> Snapshot: ...

    def snapshots(self) -> list[Snapshot]: ...

    def stats(self, session_id: str) -> Stats: ...
