"""Stand-ins for what unit tests do without: the reactor's clock and children, encoders, connections, sessions.

A fake child has real pipes, so that what reads them is the code that reads FFmpeg's.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from audiosvc.audio import FRAME_BYTES
from audiosvc.delivery.wishes import Wishes
from audiosvc.errors import AudioServiceError
from audiosvc.interfaces import IReactor
from audiosvc.session.stats import DeliveryStats
from audiosvc.sources.files import Listed
from audiosvc.sources.model import Source, Tone
from audiosvc.wire.codec import Decoder, Received
from audiosvc.wire.messages import Held, Packet, SessionEvent, Status

TONE = Source("demo:tone", Tone(440.0, 30.0), title="Tone", duration=30.0)


def open_fds() -> set[str]:
    """This process's descriptors, each with what it is open on."""
    return {f"{entry.name}: {entry.readlink()}" for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()}


def frames(count: int, first: int = 0) -> bytes:
    """`count` frames of PCM, each filled with its own number."""
    return b"".join(bytes([(first + i) % 256]) * FRAME_BYTES for i in range(count))


class FakeChild:
    """The child's side of a spawn: what it writes, says, and how it ends. It is its own process transport."""

    pid = 2**22 + 1  # beyond what Linux gives out: what is done to it is done to nobody

    def __init__(self, reactor: FakeReactor, protocol: ProcessProtocol, argv: list[str], fds: Mapping[int, int]):
        self.argv = argv
        self.signals: list[str] = []
        self._reactor = reactor
        self._protocol = protocol
        self._pcm = os.dup(fds[1])
        self._messages = os.dup(fds[2])
        self.alive = True
        os.set_blocking(self._pcm, False)

    def write(self, pcm: bytes) -> int:
        """Write PCM as far as the pipe takes it, let the reader run; returns the bytes taken."""
        try:
            taken = os.write(self._pcm, pcm)
        except BlockingIOError:
            taken = 0
        self._reactor.poll()
        return taken

    def say(self, text: str) -> None:
        os.write(self._messages, text.encode())
        self._reactor.poll()

    def hang_up(self, last: str = "") -> None:
        """Say a last thing, close both pipes and live on."""
        if self._pcm >= 0:
            os.write(self._messages, last.encode())
            self._close()
            self._reactor.poll()

    def exit(self, signal: int | None = None, status: int = 0) -> None:
        """End: both pipes are closed, and the child is reaped, before anybody has read what is in them."""
        if self.alive:
            self.alive = False
            self._close()
            done = signal is None and status == 0
            self._protocol.processEnded(Failure(ProcessDone(0) if done else ProcessTerminated(status, signal)))
            self._reactor.poll()

    def _close(self) -> None:
        if self._pcm >= 0:
            os.close(self._pcm)
            os.close(self._messages)
            self._pcm = -1

    def signalProcess(self, signal: str) -> None:
        if not self.alive:
            raise ProcessExitedAlready()
        self.signals.append(signal)


class FakeReactor(MemoryReactorClock):
    """A Clock that spawns fake children and finds out which of its readers can read."""

    def __init__(self) -> None:
        super().__init__()
        self.children: list[FakeChild] = []
        self.spawn_error: OSError | None = None

    def spawnProcess(  # type: ignore[override]
        self, protocol: ProcessProtocol, executable: str, args: list[str], env: Any = None, childFDs: Any = None
    ) -> Any:
        if self.spawn_error is not None:
            raise self.spawn_error
        child = FakeChild(self, protocol, args, childFDs)
        self.children.append(child)
        protocol.makeConnection(cast(Any, child))
        return child

    def poll(self) -> None:
        """Run every reader that has something to read, until none has."""
        while ready := select.select(list(self.getReaders()), [], [], 0)[0]:
            for reader in ready:
                reader.doRead()

    def settle(self) -> None:
        """Let everything happen that takes no time."""
        self.advance(0)
        self.poll()
        while any(call.getTime() <= self.seconds() for call in self.getDelayedCalls()):
            self.advance(0)
            self.poll()

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:  # type: ignore[override]
        self.callLater(0, callable, *args, **kwargs)

    def end(self) -> None:
        """Reap every child that was killed."""
        for child in self.children:
            if child.signals:
                child.exit(signal=9)

    @property
    def as_reactor(self) -> IReactor:
        return cast(IReactor, self)


class FakeEncoders:
    """Runs jobs when told to. With `at_once`, in a later turn of the reactor: whenever time is advanced."""

    def __init__(self, reactor: FakeReactor, at_once: bool = True) -> None:
        self.jobs: list[tuple[float, Callable[[], list[bytes]], Callable[[Any], None]]] = []
        self._reactor = reactor
        self._at_once = at_once

    def submit(self, dry_at: float, work: Callable[[], list[bytes]], done: Callable[[Any], None]) -> None:
        self.jobs.append((dry_at, work, done))
        if self._at_once:
            self._reactor.callLater(0, self.run)

    def run(self) -> None:
        """Do the most urgent job."""
        self.jobs.sort(key=lambda job: job[0])
        _, work, done = self.jobs.pop(0)
        try:
            result: list[bytes] | Failure = work()
        except Exception:
            result = Failure()
        done(result)


class FakeResolver:
    """Knows the sources it is given; others are refused. With `hold`, look-ups wait for `answer`."""

    def __init__(self, *sources: Source, hold: bool = False) -> None:
        self.sources = {source.url: source for source in sources or (TONE,)}
        self.waiting: list[tuple[str, Deferred[Source]]] = []
        self.hold = hold
        self.refusal: AudioServiceError | None = None

    def check(self, url: str) -> None:
        if self.refusal is not None:
            raise self.refusal

    def known(self, url: str) -> Source | None:
        return None if self.hold else self.sources.get(url)

    def resolve(self, url: str) -> Deferred[Source]:
        if self.hold:
            waiting: Deferred[Source] = Deferred()
            self.waiting.append((url, waiting))
            return waiting
        return succeed(self.sources[url]) if url in self.sources else fail(AudioServiceError("unknown"))

    def answer(self, result: Source | Failure) -> None:
        self.waiting.pop(0)[1].callback(result)

    def describe(self, url: str) -> Deferred[Source]:
        return self.resolve(url)

    def search(self, query: str, limit: int) -> Deferred[list[Source]]:
        return succeed(list(self.sources.values())[:limit])

    def playlist(self, url: str) -> Deferred[list[Source]]:
        return succeed(list(self.sources.values()))

    def files(self, path: str) -> list[Listed]:
        return []


class FakeConnection:
    """A client's connection that decodes what it is given. Implements `delivery.stream.IConnection`."""

    def __init__(self, order: int = 1) -> None:
        self.wishes = Wishes(order)
        self.credit: dict[str, int] = {}
        self.held: dict[str, int | Held] = {}
        self.paused = False
        self.unsent_bytes = 0
        self.streams = 0
        self.writes: list[bytes] = []
        self.received: list[Received] = []
        self._out: list[bytes] = []
        self._decoder = Decoder()

    def hears(self, more: int) -> None:
        self.streams += more

    def put(self, chunk: bytes) -> None:
        self._out.append(chunk)

    def flush(self) -> None:
        if self._out:
            self.writes.append(b"".join(self._out))
            self._out.clear()
            self.received += self._decoder.feed(self.writes[-1])

    def packets(self, session_id: str | None = None) -> list[bytes]:
        return [m.payload for m in self.received if isinstance(m, Packet) and session_id in (None, m.session_id)]

    def events(self, session_id: str | None = None) -> list[str]:
        return [
            type(m).__name__.lower()
            for m in self.received
            if isinstance(m, SessionEvent) and session_id in (None, m.session_id)
        ]


class FakeFeed:
    """A session's track that is filled by hand. Implements `interfaces.IFeed`."""

    def __init__(self, session_id: str, track_id: str = "t1") -> None:
        self.session_id = session_id
        self.track_id = track_id
        self.status: Status = "streaming"
        self.flowing = True
        self.position = 0.0
        self.sent = 0
        self.reach = 0
        self.queue: list[bytes] = []
        self.underruns = 0
        self.was_abandoned = False
        self.when_empty: Callable[[], None] | None = None

    def fill(self, count: int, first: int = 1) -> None:
        self.queue += [f"{self.track_id}:{i}".encode() for i in range(first, first + count)]

    def pour(self, most: int, into: Callable[[bytes], None]) -> int:
        if not self.flowing:
            return 0
        poured, self.queue = self.queue[:most], self.queue[most:]
        for payload in poured:
            self.position += 0.02
            self.sent += 1
            into(payload)
        if poured and not self.queue and self.when_empty is not None:
            self.when_empty()
        return len(poured)

    def rewind(self, packets: int) -> bool:
        back = self.sent - packets
        if not 0 < back <= self.reach:
            return False
        self.sent, self.position, self.reach = packets, self.position - back * 0.02, self.reach - back
        return True

    def underran(self) -> None:
        self.underruns += 1

    def abandoned(self) -> None:
        self.was_abandoned = True


class FakeSink:
    """Takes a session's events and pulls nothing by itself. Implements `interfaces.IPacketSink`."""

    def __init__(self) -> None:
        self.said: list[SessionEvent | str | bytes] = []
        self.is_held = False

    def open(self, feed: Any) -> None:
        self.said.append(f"open {feed.session_id}")

    def announce(self, event: SessionEvent) -> None:
        self.said.append(event)

    def flow(self, feed: Any) -> None:
        pass

    def close(self, feed: Any) -> None:
        self.said.append(f"close {feed.session_id}")

    def held(self, session_id: str) -> bool:
        return self.is_held

    def unsent(self, session_id: str) -> int:
        return 0

    def stats(self, session_id: str) -> DeliveryStats:
        return DeliveryStats(0, 0, 0.0, None, self.is_held, 0, None)

    @property
    def events(self) -> list[SessionEvent]:
        return [said for said in self.said if isinstance(said, SessionEvent)]

    @property
    def types(self) -> list[str]:
        return [type(event).__name__.lower() for event in self.events]
