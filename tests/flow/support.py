"""A supply over fakes: children, a door and a clock that the tests move by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.errors import AudioServiceError
from audiosvc.ffmpeg.process import Spawner
from audiosvc.flow.supply import Supply
from audiosvc.flow.workshop import Workshop
from audiosvc.sources.model import File, Http, Source
from tests.fakes import FakeChild, FakeEncoders, FakeReactor, open_fds

SONG = Source("file:///song", File(Path("/song")), duration=60.0)
WEB = Source("http://h/song", Http("http://h/song"), duration=60.0)
PAGE = replace(WEB, url="http://page/", extracted=True)
RADIO = Source("http://h/radio", Http("http://h/radio"), live=True)

SECOND = 192_000
"""Bytes of a second of sound."""

BROKEN = "[in#0/mp3 @ 0x1] [error] Stream ends prematurely at 1000, should be 2000\n"
REFUSED = "[in#0 @ 0x1] [error] Error opening input: Server returned {} Somehow\n"


def sound(size: int, first: int = 0) -> bytes:
    """`size` bytes in which every sample has its own value, from sample number `first` on."""
    samples = range(first, first + -(-size // 4))
    return b"".join((n % 65_521).to_bytes(4, "little") for n in samples)[:size]


class FakePermit:
    """Implements `interfaces.IPermit`."""

    environment: Mapping[str, str] = {"http_proxy": "http://t@127.0.0.1:9"}
    prefix: Sequence[str] = ("nsenter",)

    def __init__(self, label: str) -> None:
        self.label = label
        self.denial: AudioServiceError | None = None
        self.trouble: AudioServiceError | None = None
        self.flows = 0
        self.received = 0
        self.closed = False

    def flowing(self) -> None:
        self.flows += 1

    def close(self) -> None:
        self.closed = True


class FakeDoor:
    """Implements `interfaces.IDoor`."""

    def __init__(self) -> None:
        self.permits: list[FakePermit] = []

    def permit(self, label: str) -> FakePermit:
        self.permits.append(FakePermit(label))
        return self.permits[-1]


class SupplyTestCase(SynchronousTestCase):
    """Reads as a pipeline does: until there is nothing, then waits. In the end nothing may be left."""

    def setUp(self) -> None:
        self.fds = open_fds()
        self.reactor = FakeReactor()
        self.spawner = Spawner(self.reactor.as_reactor, {})
        self.door = FakeDoor()
        encoders = FakeEncoders(self.reactor)
        self.workshop = Workshop(self.reactor.as_reactor, self.spawner, encoders, "ffmpeg", 5, self.door)
        self.said: list[tuple[str, int]] = []
        """What the reader was told, with the bytes it had by then."""
        self.got = b""
        self.made = 0
        """Bytes of the sound that children have written."""
        self.ended = False
        self.reading = True
        self.waiting = False
        self.refreshing: list[Deferred[Source]] = []
        self.addCleanup(self.clean_up)

    def clean_up(self) -> None:
        self.supply.close()
        self.reactor.end()
        self.reactor.advance(0.02)
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.spawner.children, 0)
        self.assertEqual([permit for permit in self.door.permits if not permit.closed], [])
        self.assertEqual(open_fds() - self.fds, set())

    def begin(self, source: Source = SONG, at: float = 0.0, duration: float | None = None) -> FakeChild:
        self.supply = Supply(
            self.workshop, self, source, at=at, duration=duration, copied=False, label="someone", refresh=self.refresh
        )
        self.waiting = True
        self.supply.when_readable(self.read)
        self.supply.start(succeed(None))
        return self.child

    def refresh(self) -> Deferred[Source]:
        self.refreshing.append(Deferred())
        return self.refreshing[-1]

    @property
    def child(self) -> FakeChild:
        return self.reactor.children[-1]

    @property
    def argv(self) -> str:
        return " ".join(self.child.argv)

    @property
    def living(self) -> int:
        """Children that run and were not killed."""
        return sum(child.alive and not child.signals for child in self.reactor.children)

    def read(self) -> None:
        """Read all there is, and then wait, unless the reader holds still."""
        self.waiting = False
        if not self.reading or self.ended:
            return
        while pcm := self.supply.read(SECOND):
            self.got += pcm
        if pcm is None:
            self.ended = True
        else:
            self.waiting = True
            self.supply.when_readable(self.read)

    def hold_still(self) -> None:
        """Read no more; what is still waited for comes and is left."""
        self.reading = False

    def read_on(self) -> None:
        self.reading = True
        if not self.waiting:
            self.read()

    def give(self, size: int = SECOND) -> int:
        """The newest child writes the next `size` bytes, as far as its pipe takes them; returns how many."""
        data, taken = sound(size + 4, self.made // 4)[self.made % 4 :][:size], 0
        while taken < size and (more := self.child.write(data[taken:])):
            taken += more
        self.made += taken
        return taken

    def lose(self, delay: float = 0.0) -> None:
        """The newest child is killed from outside, and it takes `delay` seconds until the next one comes."""
        before = len(self.reactor.children)
        self.child.exit(signal=9)
        self.assert_next(before, delay)

    def break_off(self, said: str = BROKEN, delay: float = 0.0) -> None:
        """The newest child exits by itself, having said something; the next one comes `delay` seconds later."""
        before = len(self.reactor.children)
        self.child.say(said)
        self.child.exit()
        self.assert_next(before, delay)

    def assert_next(self, before: int, delay: float) -> None:
        self.made -= self.made % 4
        if delay:
            self.reactor.advance(delay - 0.01)
            self.assertEqual(len(self.reactor.children), before, "too early")
            self.reactor.advance(0.01)
        # Children start four a tick.
        self.reactor.advance(0.02)
        self.assertEqual(len(self.reactor.children), before + 1, "no next child")

    def assert_whole(self) -> None:
        """All that children made came, each byte once, in order."""
        self.assertEqual(len(self.got), self.made)
        self.assertTrue(self.got == sound(self.made))

    # --- ISupplied

    def supply_recovered(self) -> None:
        self.said.append(("recovered", len(self.got)))

    def supply_titled(self, title: str) -> None:
        self.said.append((title, len(self.got)))

    def supply_caught_up(self) -> None:
        self.said.append(("caught up", len(self.got)))
