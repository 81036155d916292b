"""Registry, sessions, supplies, pipelines, hub and connections in any interleaving of what is asked and what befalls.

Only what lies outside the daemon is made up: children, the encoder, look-ups, sockets, the clock. Every packet tells of
which child it is and which of its frames; what sessions say and pour is written down before delivery has it. After each
step all of that is judged against what the wire protocol promises, and what each client was sent against all of that.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from unittest import mock

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
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.audio import FRAME_BYTES, FRAME_SECONDS
from audiosvc.delivery import protocol, stream
from audiosvc.delivery.protocol import GRACE_SECONDS, DeliveryFactory
from audiosvc.errors import PositionOutOfRange, SessionNotFound, SourceNotFound, TooManySessions
from audiosvc.ffmpeg.process import Spawner
from audiosvc.flow import pipeline
from audiosvc.flow.pipeline import HIGH_WATER
from audiosvc.flow.workshop import Workshop
from audiosvc.session.registry import Registry
from audiosvc.session.session import House, Session
from audiosvc.session.track import Play
from audiosvc.sources.model import File, Source
from audiosvc.wire.messages import (
    CREDIT_MOST,
    Credit,
    Greeting,
    Held,
    Packet,
    Subscribe,
    Unsubscribe,
)
from tests.delivery.audience import RING, Audience, Told, WatchedHub
from tests.fakes import FakeEncoders, FakeReactor, open_fds
from tests.whole.clients import Client
from tests.whole.judge import Judge, Track
from tests.whole.parts import Resolver, Sink
from tests.whole.sound import FRAMES_MOST, Encoder, Sound

DURATION = 1.5
SESSIONS_MOST = 2
CLIENTS_MOST = 3
IDLE_SECONDS = 200.0
CONSUMER_SECONDS = 100.0

ids = st.sampled_from(["guild-a", "user:42", "c"])
formats = st.sampled_from(["pcm", "opus", "ogg", "web"])
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
nonsense = st.sampled_from([b'{"type":"x"}\n', b'{"type":"credit"}\n', b"\n", b"junk\n"])
rarely = st.integers(0, 3).map(lambda n: n == 3)
"""What ends things must not happen at every turn, or nothing is ever heard."""


class WholeMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patches = [
            mock.patch.multiple(stream, RING_ENTRIES=RING, RING_BYTES=0),
            mock.patch.multiple(protocol, UNSENT_BYTES=4096),
            mock.patch.object(pipeline, "Encoder", Encoder),
        ]
        for patch in self.patches:
            patch.start()
        self.fds = open_fds()
        self.reactor = FakeReactor()
        self.encoders = FakeEncoders(self.reactor, at_once=False)
        # One start at a time: children that say nothing hold the others up.
        self.spawner = Spawner(self.reactor.as_reactor, {}, starting_most=1)
        self.resolver = Resolver()
        self.audience = Audience()
        self.hub = WatchedHub(self.audience, self.reactor, CONSUMER_SECONDS)
        self.factory = DeliveryFactory(self.reactor, self.hub, lambda _: None)
        self.sink = Sink(self.hub)
        workshop = Workshop(self.reactor.as_reactor, self.spawner, self.encoders, "ffmpeg", complexity=0)
        house = House(workshop, self.resolver, self.sink, bitrate=64_000, idle_timeout=IDLE_SECONDS)  # type: ignore[arg-type]
        self.registry = Registry(house, SESSIONS_MOST)
        self.sounds: list[Sound] = []
        self.judges: dict[str, Judge] = {}
        self.tracks: dict[str, Track] = {}
        self.clients: list[Client] = []
        self.left: list[Client] = []
        self.plays = 0

    # --- what is asked ------------------------------------------------------------------------------------------------

    @initialize(credit=st.booleans())
    def begin(self, credit: bool) -> None:
        self.connect(set(), {"c": 60} if credit else {}, False, False, 0)
        self.wait(GRACE_SECONDS)
        self.play("c", "pcm", 0.0, None, 1.0)
        self.look_up(1, None)

    @rule(
        session_id=ids,
        format=formats,
        at=st.sampled_from([0.0, 0.0, 0.5, 99.0]),
        duration=st.sampled_from([None, 1.0]),
        volume=st.sampled_from([1.0, 1.0, 2.0]),
        rarely=rarely,
    )
    def play_or_replace(
        self, session_id: str, format: str, at: float, duration: float | None, volume: float, rarely: bool
    ) -> None:
        if rarely or session_id not in self.sink.feeds:
            self.play(session_id, format, at, duration, volume)

    def play(self, session_id: str, format: str, at: float, duration: float | None, volume: float) -> None:
        url = f"/{len(self.tracks)}"
        track = self.tracks[url] = Track(session_id, url, format)
        tracks = self.judges.setdefault(session_id, Judge(self.sounds)).tracks
        tracks.append(track)
        before = self.others(session_id)
        play = Play(url, format, start_at=at, duration=duration, volume=volume)  # type: ignore[arg-type]
        try:
            track.track_id = self.registry.play(session_id, play)
        except TooManySessions:
            assert len(self.registry.snapshots()) == SESSIONS_MOST
            tracks.remove(track)
        else:
            self.plays += 1
        assert self.others(session_id) == before, "other sessions were touched"

    def others(self, session_id: str) -> dict[str, int]:
        """How much was said of the other sessions."""
        return {other: len(told.truth) for other, told in self.audience.sessions.items() if other != session_id}

    @rule(session_id=ids, rarely=rarely)
    def stop(self, session_id: str, rarely: bool) -> None:
        if rarely:
            before = self.others(session_id)
            self.registry.stop(session_id)
            assert session_id not in self.sink.feeds
            assert self.others(session_id) == before, "other sessions were touched"

    @precondition(lambda self: self.sink.feeds)
    @rule(session_id=ids, action=actions)
    def control(self, session_id: str, action: tuple[Any, ...]) -> None:
        before = self.others(session_id)
        try:
            getattr(self.registry, action[0])(session_id, *action[1:])
        except SessionNotFound:
            assert session_id not in self.sink.feeds
        except PositionOutOfRange:
            assert action[1] > DURATION
        assert self.others(session_id) == before, "other sessions were touched"

    # --- what comes of it ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.resolver.waiting)
    @rule(which=some, duration=st.sampled_from([None, DURATION]))
    def look_up(self, which: int, duration: float | None) -> None:
        url, answer = self.resolver.waiting.pop(which % len(self.resolver.waiting))
        if which % 10:
            answer.callback(Source(url, File(Path(url)), duration=duration))
        else:
            answer.errback(Failure(SourceNotFound()))

    def sound_of(self, which: int) -> Sound:
        """One of the newest."""
        return self.sounds[-1 - which % min(4, len(self.sounds))]

    @precondition(lambda self: self.sounds)
    @rule(which=some, count=st.integers(1, 30), odd=st.sampled_from([0, 0, 2, 1000, -1000]))
    def write(self, which: int, count: int, odd: int) -> None:
        self.sound_of(which).write(count * FRAME_BYTES + odd)

    @precondition(lambda self: self.sounds)
    @rule(which=some)
    def say(self, which: int) -> None:
        sound = self.sound_of(which)
        if sound.playing:
            sound.child.say("[info] something\n")

    @precondition(lambda self: self.sounds)
    @rule(which=some, how=st.sampled_from(["exits", "crashes", "hangs up"]), rarely=rarely)
    def end(self, which: int, how: str, rarely: bool) -> None:
        sound = self.sound_of(which)
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
        sound = self.sound_of(which)
        if sound.child.alive and not sound.child.signals:
            sound.child.exit(9)
            self.wait(seconds + 0.12)
            self.children_belong_to_plays_one_at_a_time()
            self.sounds[-1].write(count * FRAME_BYTES)

    @rule()
    def reap(self) -> None:
        self.reactor.end()

    @rule(jobs=st.integers(1, 4))
    def encode(self, jobs: int) -> None:
        for _ in range(min(jobs, len(self.encoders.jobs))):
            self.encoders.run()
            self.reactor.poll()

    @rule(seconds=st.sampled_from([0.02] * 20 + [0.5, 1.0, 2.0, 10.0, 15.0, 60.0, 60.0, 100.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self.reactor.advance(seconds)
        self.reactor.settle()

    @rule(fails=st.integers(0, 9))
    def spawning_fails(self, fails: int) -> None:
        self.reactor.spawn_error = None if fails else OSError(11, "Resource temporarily unavailable")

    # --- what clients do ----------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.clients) < CLIENTS_MOST)
    @rule(
        names=st.sets(ids, max_size=2),
        credit=st.dictionaries(ids, st.integers(0, 60), max_size=3),
        resumed=st.booleans(),
        bare=st.booleans(),
        cut=some,
    )
    def connect(self, names: set[str], credit: dict[str, int], resumed: bool, bare: bool, cut: int) -> None:
        """Somebody new, who says nothing or much; `resumed`: who was here before, with what he holds."""
        connection = self.factory.buildProtocol(None)
        client = Client(self.audience, connection, len(self.clients) + len(self.left) + 1)
        self.hub.clients[connection] = client
        self.clients.append(client)
        client.connect()
        lines: list[Any] = [Credit(session_id, packets) for session_id, packets in credit.items()]
        lines += [Subscribe(session_id) for session_id in names]
        if resumed and self.left:
            holds = self.left[-1].holds
            resume = {s: held.packets if bare and self.is_newest(s, held) else held for s, held in holds.items()}
            client.holds = dict(holds)
            lines.insert(0, Greeting("test/1", resume=resume))
        if lines:
            client.say(*lines, cut=cut)

    def is_newest(self, session_id: str, held: Held) -> bool:
        return held.track_id == self.audience.session(session_id).track_id

    @precondition(lambda self: self.clients)
    @rule(
        which=some,
        line=st.one_of(
            st.builds(Subscribe, ids), st.builds(Unsubscribe, ids), st.builds(Credit, ids, st.integers(0, 60))
        ),
        cut=some,
    )
    def tell(self, which: int, line: Subscribe | Unsubscribe | Credit, cut: int) -> None:
        self.client(which).say(line, cut=cut)

    def client(self, which: int) -> Client:
        return self.clients[which % len(self.clients)]

    @precondition(lambda self: self.clients)
    @rule(
        which=some, line=st.sampled_from([b'{"type":"x"}\n', b'{"type":"credit"}\n', b"\n", b"junk\n"]), rarely=rarely
    )
    def talk_nonsense(self, which: int, line: bytes, rarely: bool) -> None:
        if rarely or line.strip() != b"junk":
            self.client(which).say(line)

    @precondition(lambda self: self.clients)
    @rule(which=some)
    def cease_to_read(self, which: int) -> None:
        self.client(which).reading = False

    @precondition(lambda self: self.clients)
    @rule(which=some, most=st.sampled_from([1, 41, 5_000, 50_000]), on=st.booleans())
    def read(self, which: int, most: int, on: bool) -> None:
        client = self.client(which)
        client.reading = on
        client.read(most)

    @precondition(lambda self: self.clients)
    @rule(which=some, rarely=rarely)
    def leave(self, which: int, rarely: bool) -> None:
        """What it has not read is lost."""
        if rarely or len(self.clients) == CLIENTS_MOST:
            self.client(which).socket.lose()

    # --- the ordinary course of things, for else the sound does not come far -----------------------------------------

    @precondition(lambda self: self.sink.feeds)
    @rule(
        which=some,
        course=st.lists(st.tuples(counts, most, st.booleans()), max_size=4),
        most=most,
        ends=st.booleans(),
    )
    def sound(self, which: int, course: list[tuple[int, int, bool]], most: int, ends: bool) -> None:
        """A session's child writes, is perhaps lost and followed by another, is perhaps done with it, and is heard."""
        self.settle()
        if not self.sink.feeds:
            return
        session_id = list(self.sink.feeds)[which % len(self.sink.feeds)]
        for count, pulled, lost in course:
            self.grant(session_id, pulled)
            for sound in self.playing(session_id):
                sound.write(count * FRAME_BYTES)
            self.encode(4)
            if lost:
                for sound in self.playing(session_id):
                    sound.child.exit(9)
                self.wait(2.12)
                self.children_belong_to_plays_one_at_a_time()
        if ends:
            for sound in self.playing(session_id):
                sound.child.exit()
            self.encode(4)
        self.grant(session_id, most)
        self.wait(FRAME_SECONDS)

    def playing(self, session_id: str) -> list[Sound]:
        return [sound for sound in self.sounds if sound.playing and self.tracks[sound.url].session_id == session_id]

    def grant(self, session_id: str, packets: int) -> None:
        owner = self.audience.session(session_id).owner
        if isinstance(owner, Client) and session_id in owner.allowed:
            owner.say(Credit(session_id, packets))

    def settle(self) -> None:
        self.reactor.spawn_error = None
        while self.resolver.waiting:
            self.look_up(1, None)
        self.reactor.end()
        self.wait(FRAME_SECONDS)
        self.all_of_it()

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def all_of_it(self) -> None:
        for client in list(self.clients):
            if client.reading:
                client.read_all()
            if client.socket.gone:
                self.clients.remove(client)
                self.left.append(client)
        self.children_belong_to_plays_one_at_a_time()
        self.what_is_said_is_what_was_promised()
        for session_id, told in self.audience.sessions.items():
            self.nothing_is_held_up(session_id, told)
        self.every_play_ends_once()
        self.queues_are_bounded()

    def children_belong_to_plays_one_at_a_time(self) -> None:
        for child in self.reactor.children[len(self.sounds) :]:
            argv = " ".join(child.argv)
            url = re.findall(r"-i file:(\S+)", argv)[0]
            at, asked = (next(map(float, re.findall(rf" {option} (\S+)", argv)), None) for option in ("-ss", "-t"))
            self.sounds.append(Sound(child, len(self.sounds), url, at or 0.0, asked))
        living: dict[str, int] = {}
        for sound in self.sounds:
            if sound.child.alive:
                track = self.tracks[sound.url]
                living[track.session_id] = living.get(track.session_id, 0) + 1
                plays = self.sink.feeds.get(track.session_id)
                assert sound.child.signals or (plays is not None and plays.track_id == track.track_id), "not killed"
        assert max(living.values(), default=0) <= 1, "a child was started before the old one was reaped"
        assert self.spawner.children == sum(living.values())

    def what_is_said_is_what_was_promised(self) -> None:
        playing = {snapshot.session_id: snapshot for snapshot in self.registry.snapshots()}
        for session_id, judge in self.judges.items():
            judge.hear(self.audience.session(session_id).truth)
            judge.agree(playing.get(session_id))

    def nothing_is_held_up(self, session_id: str, told: Told) -> None:
        owner = told.owner
        if not isinstance(owner, Client) or owner.connection.paused:
            return
        assert not told.waiting or isinstance(told.waiting[0].what, Packet), "events need no credit"
        if owner.allowed.get(session_id):
            assert not told.waiting
            feed = self.sink.feeds.get(session_id)
            assert feed is None or not feed.flowing or not self.registry.snapshot(session_id).buffered

    def every_play_ends_once(self) -> None:
        ends = sum(judge.ends for judge in self.judges.values())
        assert self.registry.plays == self.plays
        assert sum(self.registry.ends.values()) == ends == self.plays - len(self.registry.snapshots())

    def queues_are_bounded(self) -> None:
        for each in self.hub._streams.values():
            assert len(each._ring) <= RING
            assert sum(entry.is_packet for entry in each._waiting) <= RING
        for feed in self.sink.feeds.values():
            session: Session = feed._feed
            assert session._pipeline is None or session._pipeline.ready <= HIGH_WATER

    def teardown(self) -> None:
        try:
            self.listen_to_the_end()
            self.shut_down()
        finally:
            for sound in self.sounds:
                sound.child.exit()
            for patch in self.patches:
                patch.stop()

    def listen_to_the_end(self) -> None:
        """Somebody comes who hears all that is there."""
        for client in list(self.clients):
            client.socket.lose()
        self.all_of_it()
        self.connect(set(), dict.fromkeys(self.judges, CREDIT_MOST), True, False, 0)
        for _ in range(FRAMES_MOST // 10):
            self.settle()
            for sound in self.sounds:
                sound.write(10 * FRAME_BYTES)
            for session_id in list(self.sink.feeds):
                self.registry.resume(session_id)
            self.encode(len(self.encoders.jobs))
        for told in self.audience.sessions.values():
            assert not told.known or not told.waiting, "somebody hears all, and has not heard this"

    def shut_down(self) -> None:
        """As the service does it: then nothing is left."""
        self.all_of_it()
        self.registry.shut_down()
        self.hub.stop()
        self.spawner.stop()
        self.factory.close()
        for client in self.clients:
            client.read_all()
        self.reactor.end()
        while self.encoders.jobs:
            self.encoders.run()
        self.what_is_said_is_what_was_promised()
        self.every_play_ends_once()
        assert not self.sink.feeds and not self.audience.clients and not self.factory.connections
        assert all(told.cursor == len(told.truth) for told in self.audience.sessions.values() if told.known)
        self.reactor.settle()
        self.hub.stop()
        assert self.spawner.children == 0
        assert self.reactor.getReaders() == []
        assert self.reactor.getDelayedCalls() == []
        assert open_fds() - self.fds == set()


class EveryInterleavingTests(SynchronousTestCase):
    def test_whatever_is_asked_and_whatever_comes_of_it(self) -> None:
        """`AUDIOSVC_FUZZ` makes it as many times longer; a failure prints the blob that makes it happen again."""
        run_state_machine_as_test(
            WholeMachine,
            settings=settings(
                max_examples=int(250 * float(os.environ.get("AUDIOSVC_FUZZ", "1"))),
                stateful_step_count=50,
                deadline=None,
                print_blob=True,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
