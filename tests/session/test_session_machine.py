"""Plays, stops, pauses and seeks on a few ids, mixed at will with what children, encoders and a listener do.

Every play has a URL of its own, and every frame of every child a number of its own, so that the listener's log tells
what was heard of which child. The log alone is judged, event by event, against what the wire protocol promises.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.audio import FRAME_BYTES, FRAME_SAMPLES, SAMPLE_RATE, seconds_of
from audiosvc.errors import PositionOutOfRange, SessionNotFound, SourceNotFound, TooManySessions
from audiosvc.ffmpeg.process import Spawner
from audiosvc.flow.workshop import Workshop
from audiosvc.session.registry import Registry
from audiosvc.session.session import House
from audiosvc.session.track import Play
from audiosvc.sources.model import File, Source
from audiosvc.wire.messages import Error, Finished, Paused, Ready, Recovered, Resumed, Seeked, SessionEvent, Stopped
from tests.fakes import FakeChild, FakeEncoders, FakeReactor, open_fds
from tests.session.support import Listener

FRAMES_MOST = 120
"""Frames that one child may write; with two bits for the gain, numbers reach for 68 children."""

DURATION = 1.5

ids = st.sampled_from(["guild-a", "user:42", "c"])
actions = st.sampled_from(
    [
        ("pause",),
        ("resume",),
        ("seek", 0.0),
        ("seek", 0.3),
        ("seek", DURATION),
        ("seek", 77.0),
        ("set_volume", 1.0),
        ("set_volume", 2.0),
    ]
)
some = st.integers(0, 1000)
most = st.sampled_from([0, 0, 1, 5, 30, 60])
counts = st.sampled_from([1, 2, 5, 11, 20, 40])
rarely = st.integers(0, 3).map(lambda n: n == 3)
"""What ends things must not happen at every turn, or nothing is ever heard."""


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


@dataclass
class Sound:
    """What one child has to write, and how far it has come; each value is odd, so that a doubled one shows."""

    child: FakeChild
    url: str
    at: float
    first: int
    written: int = 0
    hung_up: bool = False
    asked: float | None = None
    """Seconds that were asked for, which FFmpeg does not exceed."""
    pcm: bytes = field(init=False)

    def begins(self, position: float) -> int:
        """Where in the sound from `position` on its first byte belongs."""
        return round((self.at - position) * SAMPLE_RATE) * 4

    def __post_init__(self) -> None:
        numbers = range(self.first, self.first + FRAMES_MOST)
        pcm = b"".join(array("h", [2 * n + 1]).tobytes() * (2 * FRAME_SAMPLES) for n in numbers)
        self.pcm = pcm if self.asked is None else pcm[: round(self.asked * SAMPLE_RATE) * 4]


@dataclass
class Heard:
    """One session id's log, as far as it has been read."""

    read: int = 0
    tracks: list[tuple[str, str]] = field(default_factory=list)
    """Track ids and URLs of plays that have no terminal event yet, oldest first."""
    ready: bool = False
    paused: bool = False
    position: float = 0.0
    frames: int = 0
    sound: Sound | None = None
    """What was heard last from `position` on, of perhaps several children."""
    next: int = 0
    """Frames heard from `position` on."""
    recoveries: int = 0


class SessionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.fds = open_fds()
        self.reactor = FakeReactor()
        self.encoders = FakeEncoders(self.reactor, at_once=False)
        self.spawner = Spawner(self.reactor.as_reactor, {})
        self.resolver = Resolver()
        self.listener = Listener()
        workshop = Workshop(self.reactor.as_reactor, self.spawner, self.encoders, "ffmpeg", complexity=0)
        house = House(workshop, self.resolver, self.listener, bitrate=64_000, idle_timeout=200.0)  # type: ignore[arg-type]
        self.registry = Registry(house, max_sessions=2)
        self.heard: dict[str, Heard] = {}
        self.owners: dict[str, str] = {}
        self.sounds: list[Sound] = []
        self.plays = 0
        self.ends = 0

    # --- what is asked ------------------------------------------------------------------------------------------------

    @initialize()
    def begin(self) -> None:
        self.play("c", 0.0, None)
        self.look_up(1, None)

    @rule(
        session_id=ids, at=st.sampled_from([0.0, 0.0, 0.5, 99.0]), duration=st.sampled_from([None, 1.0]), rarely=rarely
    )
    def play_or_replace(self, session_id: str, at: float, duration: float | None, rarely: bool) -> None:
        if rarely or session_id not in self.listener.feeds:
            self.play(session_id, at, duration)

    def play(self, session_id: str, at: float, duration: float | None) -> None:
        url = f"/{self.plays}"
        heard = self.heard.setdefault(session_id, Heard())
        # A play may end before it returns; its place in the order is known before.
        heard.tracks.append(("?", url))
        self.owners[url] = session_id
        try:
            track_id = self.registry.play(session_id, Play(url, "pcm", start_at=at, duration=duration))
        except TooManySessions:
            assert len(self.registry.snapshots()) == 2
            heard.tracks.pop()
        else:
            self.plays += 1
            heard.tracks[-1] = (track_id, url)

    @rule(session_id=ids, rarely=rarely)
    def stop(self, session_id: str, rarely: bool) -> None:
        if rarely:
            self.registry.stop(session_id)
            assert session_id not in self.listener.feeds

    @precondition(lambda self: self.listener.feeds)
    @rule(session_id=ids, action=actions)
    def control(self, session_id: str, action: tuple[Any, ...]) -> None:
        self.ask(action[0], session_id, *action[1:])

    def ask(self, action: str, session_id: str, *arguments: Any) -> None:
        try:
            getattr(self.registry, action)(session_id, *arguments)
        except SessionNotFound:
            assert session_id not in self.listener.feeds
        except PositionOutOfRange:
            assert arguments[0] > DURATION

    # --- what comes of it ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.resolver.waiting)
    @rule(which=some, duration=st.sampled_from([None, DURATION]))
    def look_up(self, which: int, duration: float | None) -> None:
        url, answer = self.resolver.waiting.pop(which % len(self.resolver.waiting))
        if which % 10:
            answer.callback(Source(url, File(Path(url)), duration=duration))
        else:
            answer.errback(Failure(SourceNotFound()))

    @precondition(lambda self: self.sounds)
    @rule(which=some, count=st.integers(1, 30), odd=st.sampled_from([0, 0, 2, 1000, -1000]))
    def write(self, which: int, count: int, odd: int) -> None:
        self.write_of(self.sounds[-1 - which % min(4, len(self.sounds))], count * FRAME_BYTES + odd)

    def write_of(self, sound: Sound, size: int) -> None:
        if sound.child.alive and not sound.hung_up:
            try:
                piece = sound.pcm[sound.written : sound.written + size]
                sound.written += sound.child.write(piece)
            except BrokenPipeError:
                assert sound.child.signals, "nobody reads a child that was not killed"

    @precondition(lambda self: self.sounds)
    @rule(which=some, how=st.sampled_from(["exits", "crashes", "hangs up"]), rarely=rarely)
    def end(self, which: int, how: str, rarely: bool) -> None:
        sound = self.sounds[-1 - which % min(4, len(self.sounds))]
        if sound.child.alive and not sound.child.signals and (rarely or sound.written):
            if how == "hangs up":
                sound.hung_up = True
                sound.child.hang_up()
            else:
                sound.child.exit(9 if how == "crashes" else None)

    @precondition(lambda self: self.sounds)
    @rule(which=some, seconds=st.sampled_from([0.0, 0.0, 0.5, 2.0]), count=st.integers(0, 40))
    def lose(self, which: int, seconds: float, count: int) -> None:
        """A child is killed from outside, soon or less soon the next one gives sound."""
        sound = self.sounds[-1 - which % min(4, len(self.sounds))]
        if sound.child.alive and not sound.child.signals:
            sound.child.exit(9)
            self.reactor.advance(seconds + 0.02)
            self.children_belong_to_plays_one_at_a_time()
            self.write_of(self.sounds[-1], count * FRAME_BYTES)

    @rule()
    def reap(self) -> None:
        self.reactor.end()

    @rule(jobs=st.integers(1, 4))
    def encode(self, jobs: int) -> None:
        for _ in range(min(jobs, len(self.encoders.jobs))):
            self.encoders.run()
            self.reactor.poll()

    @rule(session_id=ids, most=most)
    def pull(self, session_id: str, most: int) -> None:
        self.listener.pull(session_id, most)

    @rule(seconds=st.sampled_from([0.02] * 20 + [0.5, 1.0, 2.0, 10.0, 15.0, 60.0, 60.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self.reactor.advance(seconds)

    @rule(fails=st.integers(0, 9))
    def spawning_fails(self, fails: int) -> None:
        self.reactor.spawn_error = None if fails else OSError(11, "Resource temporarily unavailable")

    # --- the ordinary course of things, for else the sound does not come far -----------------------------------------

    @precondition(lambda self: self.listener.feeds)
    @rule(
        which=some,
        course=st.lists(st.tuples(counts, most, st.booleans()), max_size=4),
        most=most,
        ends=st.booleans(),
    )
    def sound(self, which: int, course: list[tuple[int, int, bool]], most: int, ends: bool) -> None:
        """A session's child writes, is perhaps lost and followed by another, is perhaps done with it, and is heard."""
        self.settle()
        if not self.listener.feeds:
            return
        session_id = list(self.listener.feeds)[which % len(self.listener.feeds)]
        for count, pulled, lost in course:
            self.listener.credit[session_id] = 0
            self.pull(session_id, pulled)
            for sound in self.playing(session_id):
                self.write_of(sound, count * FRAME_BYTES)
            self.encode(4)
            if lost:
                for sound in self.playing(session_id):
                    sound.child.exit(9)
                self.reactor.advance(2.02)
                self.children_belong_to_plays_one_at_a_time()
        if ends:
            for sound in self.playing(session_id):
                sound.child.exit()
            self.encode(4)
        self.pull(session_id, most)

    def playing(self, session_id: str) -> list[Sound]:
        return [sound for sound in self.sounds if sound.child.alive and self.owners[sound.url] == session_id]

    @precondition(lambda self: self.listener.feeds)
    @rule(which=some, most=most)
    def more_sound(self, which: int, most: int) -> None:
        self.sound(which, [(20, most, False)], most, ends=False)

    def settle(self) -> None:
        self.reactor.spawn_error = None
        while self.resolver.waiting:
            self.look_up(1, None)
        self.reactor.end()
        self.reactor.advance(0.02)
        self.all_of_it()

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def all_of_it(self) -> None:
        self.children_belong_to_plays_one_at_a_time()
        self.the_log_is_what_was_promised()
        self.who_has_credit_waits_for_nothing_that_is_there()
        self.every_play_ends_once()

    def children_belong_to_plays_one_at_a_time(self) -> None:
        for child in self.reactor.children[len(self.sounds) :]:
            argv = " ".join(child.argv)
            url = re.findall(r"-i file:(\S+)", argv)[0]
            at, asked = (next(map(float, re.findall(rf" {option} (\S+)", argv)), None) for option in ("-ss", "-t"))
            self.sounds.append(Sound(child, url, at or 0.0, len(self.sounds) * FRAMES_MOST, asked=asked))
        living: dict[str, int] = {}
        for sound in self.sounds:
            if sound.child.alive:
                session_id = self.owners[sound.url]
                living[session_id] = living.get(session_id, 0) + 1
        assert max(living.values(), default=0) <= 1, "a child was started before the old one was reaped"
        assert self.spawner.children == sum(living.values())

    def the_log_is_what_was_promised(self) -> None:
        for session_id, heard in self.heard.items():
            log = self.listener.log[session_id]
            for said in log[heard.read :]:
                if isinstance(said, bytes):
                    self.hear_packet(heard, said)
                else:
                    self.hear_event(heard, said)
            heard.read = len(log)
            self.snapshot_agrees(session_id, heard)

    def hear_packet(self, heard: Heard, payload: bytes) -> None:
        assert heard.ready and not heard.paused
        last = array("h", payload)[-1]
        end = (heard.next + 1) * FRAME_BYTES
        if last:
            number = (last if last % 2 else last // 2) // 2
            sound = self.sounds[number // FRAMES_MOST]
            where = end - 4 - sound.begins(heard.position)
            assert sound.first + where // FRAME_BYTES == number, "lost or doubled"
        else:
            # Silence at its end makes it the last frame of a track that stopped in the middle of one.
            assert array("h", payload)[0], "silence that nobody wrote"
            sound = next(s for s in self.following(heard) if -FRAME_BYTES < self.reach(heard, s) - end < 0)
        assert sound in self.following(heard), "of another child"
        heard.sound = sound
        heard.next += 1
        heard.frames += 1

    def following(self, heard: Heard) -> list[Sound]:
        """Children that may be heard next: of this track, and not before the one that was heard last."""
        mine = [sound for sound in self.sounds if sound.url == heard.tracks[0][1]]
        return mine[mine.index(heard.sound) :] if heard.sound is not None else mine

    def reach(self, heard: Heard, sound: Sound) -> int:
        """Where in the sound from the position on what `sound` has written ends."""
        return sound.begins(heard.position) + sound.written

    def hear_event(self, heard: Heard, event: SessionEvent) -> None:
        assert heard.tracks and event.track_id in (heard.tracks[0][0], "?")
        match event:
            case Ready(position=position):
                assert not heard.ready
                heard.ready, heard.position, heard.next = True, position, 0
            case Paused(position=position):
                assert heard.ready and not heard.paused
                heard.paused = True
                assert position == self.position(heard)
            case Resumed(position=position):
                assert heard.paused
                heard.paused = False
                assert position == self.position(heard)
            case Seeked(position=position, previous=previous):
                assert heard.ready and previous == self.position(heard)
                heard.position, heard.next, heard.sound = position, 0, None
            case Recovered(position=position):
                assert heard.ready and not heard.paused and position == self.position(heard)
                begins = [sound.begins(heard.position) // FRAME_BYTES for sound in self.following(heard)[1:]]
                assert heard.next in begins, "told in another place"
                heard.recoveries += 1
            case Finished() | Stopped() | Error():
                self.hear_end(heard, event)

    def hear_end(self, heard: Heard, end: Finished | Stopped | Error) -> None:
        assert round(end.played, 6) == round(seconds_of(heard.frames), 6)
        if isinstance(end, Finished):
            assert heard.ready
            if heard.next:
                # The last child begins where the sound ended that there was, or was kept.
                reach = self.reach(heard, self.following(heard)[-1])
                ends = [-(-bytes_ // FRAME_BYTES) for bytes_ in (reach, reach - reach % 4)]
                assert heard.next in ends, "the end came before the last of the sound"
        self.ends += 1
        tracks, read = heard.tracks[1:], heard.read
        heard.__init__()  # type: ignore[misc]
        heard.tracks, heard.read = tracks, read

    def position(self, heard: Heard) -> float:
        return round(heard.position + seconds_of(heard.next), 3)

    def snapshot_agrees(self, session_id: str, heard: Heard) -> None:
        if not heard.tracks:
            assert session_id not in self.listener.feeds
            return
        snapshot = self.registry.snapshot(session_id)
        assert [snapshot.track_id] == [track_id for track_id, _ in heard.tracks]
        assert snapshot.packets_sent == heard.frames
        assert snapshot.bytes_sent == heard.frames * FRAME_BYTES
        assert snapshot.recoveries == heard.recoveries
        if heard.ready:
            assert snapshot.status == ("paused" if heard.paused else "streaming")
            assert snapshot.position == self.position(heard)
        else:
            assert snapshot.status in ("extracting", "paused")

    def who_has_credit_waits_for_nothing_that_is_there(self) -> None:
        for session_id, feed in self.listener.feeds.items():
            if self.listener.credit[session_id] and feed.flowing:
                assert not self.registry.snapshot(session_id).buffered

    def every_play_ends_once(self) -> None:
        assert self.registry.plays == self.plays
        assert sum(self.registry.ends.values()) == self.ends == self.plays - len(self.registry.snapshots())

    def teardown(self) -> None:
        self.registry.shut_down()
        self.reactor.end()
        while self.encoders.jobs:
            self.encoders.run()
        self.the_log_is_what_was_promised()
        assert self.ends == self.plays
        self.reactor.advance(0.02)
        assert self.spawner.children == 0
        assert self.reactor.getReaders() == []
        assert self.reactor.getDelayedCalls() == []
        assert open_fds() - self.fds == set()


class EveryInterleavingTests(SynchronousTestCase):
    def test_whatever_is_asked_and_whatever_comes_of_it(self) -> None:
        run_state_machine_as_test(
            SessionMachine,
            settings=settings(
                max_examples=250,
                stateful_step_count=50,
                deadline=None,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
