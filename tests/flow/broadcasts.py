"""Listeners to a live source, moved by hand: who takes what, and when the source makes it."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.audio import FRAME_BYTES, FRAME_SECONDS, FRAMES_PER_SECOND
from audiosvc.ffmpeg.process import Spawner
from audiosvc.flow.pipeline import IPlayback
from audiosvc.flow.shared import Broadcasts, Listener
from audiosvc.flow.supply import DELAYS
from audiosvc.flow.workshop import Workshop
from audiosvc.sources.model import Source
from tests.fakes import FakeChild, FakeEncoders, FakeReactor, frames, open_fds
from tests.flow.support import RADIO

VALUE = 257
"""What a sample of frame 1 is worth."""


class Ear:
    """Takes as a session does and writes down all it hears, packets of PCM as the numbers they are filled with."""

    def __init__(self, case: BroadcastTestCase, source: Source, volume: float, bitrate: int | None, **more: float):
        self.case = case
        self.said: list[str] = []
        self.packets: list[bytes] = []
        self.flows = 0
        self.ends = 0
        self.asked = 0
        """Times that the source was to be looked up anew, in this one's name."""
        self.anew: Deferred[Source] = Deferred()
        listener = case.broadcasts.listen(
            case.workshop,
            self,
            source,
            duration=more.get("duration"),
            bitrate=bitrate,
            volume=volume,
            label="somebody",
            refresh=self.refresh,
        )
        assert listener is not None
        self.listener: Listener = listener

    def refresh(self) -> Deferred[Source]:
        self.asked += 1
        return self.anew

    def take(self, most: int = 1) -> int:
        taken = 0
        while taken < most and (packets := self.listener.take(most - taken)):
            taken += len(packets)
            self.packets += packets
            self.said += [str(self.number(packet)) for packet in packets]
            self.case.turn()
        return taken

    def number(self, packet: bytes) -> int:
        last = int.from_bytes(packet[-2:], "little", signed=True)
        return round(last / self.volume % 65_536 / VALUE) % 256

    @property
    def volume(self) -> float:
        """Of what was taken last."""
        return self.listener._place.broadcast.key.volume

    @property
    def numbers(self) -> list[int]:
        return [int(word) for word in self.said if word.isdigit()]

    def assert_unbroken(self) -> None:
        numbers = self.numbers
        self.case.assertEqual(numbers, [(numbers[0] + i) % 256 for i in range(len(numbers))])

    # --- IPipelineReader

    def pipeline_flows(self, pipeline: IPlayback) -> None:
        assert pipeline is self.listener
        self.flows += 1

    def pipeline_recovered(self, pipeline: IPlayback) -> None:
        self.said.append("recovered")

    def pipeline_titled(self, pipeline: IPlayback, title: str) -> None:
        self.said.append(title)

    def pipeline_ended(self, pipeline: IPlayback) -> None:
        assert pipeline is self.listener
        self.ends += 1


class BroadcastTestCase(SynchronousTestCase):
    """A station that makes a frame every 20 ms. When all have left nothing may be left."""

    def setUp(self) -> None:
        self.fds = open_fds()
        self.reactor = FakeReactor()
        self.encoders = FakeEncoders(self.reactor)
        self.spawner = Spawner(self.reactor.as_reactor, {})
        self.workshop = Workshop(self.reactor.as_reactor, self.spawner, self.encoders, "ffmpeg", complexity=0)
        self.broadcasts = Broadcasts()
        self.ears: list[Ear] = []
        self.made = 0
        """Frames that the station has made."""
        self.sent: dict[FakeChild, int] = {}
        """Bytes of all frames up to `made` that a child has written, or which it came too late for."""
        self.addCleanup(self.clean_up)

    def clean_up(self) -> None:
        for ear in self.ears:
            ear.listener.close()
        self.turn()
        self.reactor.end()
        self.turn()
        self.reactor.advance(0.02)
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.spawner.children, 0)
        self.assertEqual(open_fds() - self.fds, set())
        self.assertEqual((self.workshop.tally.broadcasts, self.workshop.tally.listeners), (0, 0))
        self.assertEqual(self.broadcasts._on_air, {})

    def join(self, source: Source = RADIO, volume: float = 1.0, bitrate: int | None = None, **more: float) -> Ear:
        ear = Ear(self, source, volume, bitrate, **more)
        self.ears.append(ear)
        ear.listener.start(succeed(None))
        self.turn()
        return ear

    def leave(self, ear: Ear) -> None:
        ear.listener.close()
        self.ears.remove(ear)
        self.reap()

    def reap(self) -> None:
        """Whatever was killed is gone, and who is due is started."""
        self.reactor.end()
        self.reactor.advance(FRAME_SECONDS)
        self.turn()

    def turn(self) -> None:
        """Let jobs be done and what they lead to happen."""
        self.reactor.settle()

    def fail_for_good(self) -> None:
        """The child is lost as often as it takes."""
        for delay in (*DELAYS, 0.1):
            for child in self.living:
                child.exit(signal=9)
            self.reactor.advance(delay)
            self.reap()

    @property
    def living(self) -> list[FakeChild]:
        """Children that run and were not killed."""
        return [child for child in self.reactor.children if child.alive and not child.signals]

    def air(self, seconds: float, *ears: Ear) -> None:
        """For so long the station makes a frame every 20 ms, and each of `ears` takes one."""
        for _ in range(round(seconds * FRAMES_PER_SECOND)):
            self.reactor.advance(FRAME_SECONDS)
            self.make(1)
            for ear in ears:
                ear.take()

    def make(self, count: int) -> None:
        """The station makes `count` frames; children write what they can."""
        for child in self.living:
            self.sent.setdefault(child, self.made * FRAME_BYTES)
        self.made += count
        for child in self.living:
            self.write(child)

    def write(self, child: FakeChild) -> None:
        while (sent := self.sent[child]) < self.made * FRAME_BYTES:
            first = sent // FRAME_BYTES
            sound = frames(min(self.made - first, 10), first)
            if not (taken := child.write(sound[sent % FRAME_BYTES :])):
                return
            self.sent[child] += taken
            self.turn()
