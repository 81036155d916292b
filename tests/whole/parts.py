"""What stands between the machine's parts: look-ups that wait, and a record of what sessions say and pour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from audiosvc.audio import FRAME_SECONDS
from audiosvc.interfaces import IFeed
from audiosvc.sources.model import Source
from audiosvc.wire.messages import TERMINAL, Packet, Paused, Resumed, Seeked, SessionEvent, Status
from tests.delivery.audience import Fact, Told, WatchedHub


class Resolver:
    """Answers when told to. Implements `interfaces.ISourceResolver` as far as sessions go."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, Deferred[Source]]] = []

    def check(self, url: str) -> None:
        pass

    def resolve(self, url: str, *, fresh: bool = False) -> Deferred[Source]:
        answer: Deferred[Source] = Deferred()
        self.waiting.append((url, answer))
        return answer


class Written:
    """A session's feed, of which every packet is written down before it is poured. An `IFeed`.

    `at` and `standing` are where and how the track stands behind what is written.
    """

    def __init__(self, feed: IFeed, told: Told) -> None:
        self._feed = feed
        self._told = told
        self.poured = 0
        self.at = feed.position
        self.standing: Status = "streaming"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._feed, name)

    def write(self, what: Packet | SessionEvent) -> None:
        self._told.truth.append(Fact(what, self._feed.track_id, self.poured, self.at, self.standing))

    def pour(self, most: int, into: Callable[[bytes], None]) -> int:
        def hand(payload: bytes) -> None:
            if b"OpusHead" not in payload and b"OpusTags" not in payload:
                self.at = round(self.at + FRAME_SECONDS, 3)
            self.write(Packet(self._feed.session_id, payload))
            self.poured += 1
            into(payload)

        return self._feed.pour(most, hand)


class Sink:
    """Writes down what sessions say, in one order with what they pour, and passes it on. An `IPacketSink`."""

    def __init__(self, hub: WatchedHub) -> None:
        self.hub = hub
        self.feeds: dict[str, Any] = {}

    def open(self, feed: IFeed) -> None:
        assert feed.session_id not in self.feeds, "two tracks of one session at once"
        self.feeds[feed.session_id] = Written(feed, self.hub.audience.session(feed.session_id))
        self.hub.open(self.feeds[feed.session_id])

    def announce(self, event: SessionEvent) -> None:
        written = self.feeds[event.session_id]
        written.at = event.position if isinstance(event, Seeked) else written.position
        ends = isinstance(event, TERMINAL)
        paused = isinstance(event, Paused) or (written.standing == "paused" and not isinstance(event, Resumed))
        written.standing = "stopped" if ends else "paused" if paused else "streaming"
        written.write(event)
        self.hub.announce(event)

    def flow(self, feed: IFeed) -> None:
        self.hub.flow(self.feeds[feed.session_id])

    def close(self, feed: IFeed) -> None:
        self.hub.close(self.feeds.pop(feed.session_id))

    def held(self, session_id: str) -> bool:
        return self.hub.held(session_id)
