"""Children: how many start at a time, in what order, what is heard of them, and that none is left behind."""

from __future__ import annotations

import os
import sys
import time
from typing import Any, cast

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from audiosvc.errors import AudioServiceError, NoFds, SpawnFailed
from audiosvc.ffmpeg.pipes import PIPE_BYTES
from audiosvc.ffmpeg.process import (
    LOOKED_AT,
    SETTLING_SECONDS,
    SPAWN_SECONDS,
    SPAWNS_PER_TICK,
    STARTING_SECONDS,
    Child,
    Pending,
    Spawner,
)
from audiosvc.ffmpeg.report import Report
from audiosvc.interfaces import IReactor
from audiosvc.vitals import ChildrenVitals
from tests.fakes import FakeReactor, open_fds

HEAD = "[info] Input #0, ogg, from 'x':\n"


class SpawnerTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.fds = open_fds()
        self.reactor = FakeReactor()
        self.spawner = Spawner(self.reactor.as_reactor, {"LANG": "C"}, starting_most=100)
        self.started: list[Child] = []
        self.failed: list[AudioServiceError] = []
        self.addCleanup(self.reap)

    def reap(self) -> None:
        for fake in self.reactor.children:
            fake.exit()
        for child in self.started:
            child.pcm.close()

    def spawn(self, name: str = "a", report: Report | None = None) -> Pending:
        return self.spawner.spawn(["ffmpeg", name], report or Report(), self.started.append, self.failed.append)

    @property
    def names(self) -> list[str]:
        return [child.argv[1] for child in self.reactor.children]

    def assert_nothing_left(self) -> None:
        self.reap()
        self.reactor.advance(0.02)
        self.assertEqual(self.spawner.children, 0)
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(open_fds() - self.fds, set())


class GateTests(SpawnerTestCase):
    def test_a_child_starts_at_once_where_nobody_waits(self) -> None:
        self.spawn()
        self.assertEqual(len(self.started), 1)
        self.assertEqual((self.spawner.children, self.spawner.spawns), (1, 1))

    def test_a_few_start_in_the_time_of_a_frame_in_the_order_of_asking(self) -> None:
        names = [str(i) for i in range(11)]
        for name in names:
            self.spawn(name)
        self.assertEqual(self.names, names[:SPAWNS_PER_TICK])
        self.reactor.advance(0.019)
        self.assertEqual(len(self.names), SPAWNS_PER_TICK)
        self.reactor.advance(0.001)
        self.assertEqual(self.names, names[: 2 * SPAWNS_PER_TICK])
        self.reactor.advance(0.02)
        self.assertEqual(self.names, names)

    def test_no_more_in_any_span_of_a_tick_though_asked_for_one_by_one(self) -> None:
        times: list[float] = []

        def started(child: Child) -> None:
            self.started.append(child)
            times.append(self.reactor.seconds())

        for _ in range(60):
            self.spawner.spawn(["x"], Report(), started, self.failed.append)
            self.reactor.advance(0.003)
        self.reactor.pump([0.02] * 10)
        self.assertEqual(len(times), 60)
        ticks = [sum(1 for at in times if tick <= at < tick + 0.02 - 1e-9) for tick in times]
        self.assertLessEqual(max(ticks), 2 * SPAWNS_PER_TICK)
        self.assertLessEqual(len([at for at in times if at < 0.2 - 1e-9]), 10 * SPAWNS_PER_TICK)

    def test_who_comes_while_others_wait_goes_behind_them(self) -> None:
        for name in "abcde":
            self.spawn(name)
        self.reactor.advance(0.02)
        self.spawn("f")
        self.assertEqual("".join(self.names), "abcdef")

    def test_one_who_gave_up_takes_no_turn_and_leaves_nothing(self) -> None:
        waiting = [self.spawn(name) for name in "abcdefghij"]
        for pending in waiting[4:8]:
            pending.cancel()
        self.reactor.advance(0.02)
        self.assertEqual("".join(self.names), "abcdij")
        self.assertEqual(self.spawner.spawns, 6)

    def test_a_child_may_be_asked_for_by_one_that_starts(self) -> None:
        def again(child: Child) -> None:
            self.started.append(child)
            if len(self.started) < 6:
                self.spawner.spawn(["ffmpeg", "again"], Report(), again, self.failed.append)

        self.spawner.spawn(["ffmpeg", "first"], Report(), again, self.failed.append)
        self.assertEqual(len(self.names), SPAWNS_PER_TICK)
        self.reactor.advance(0.02)
        self.assertEqual(len(self.names), 6)

    def test_a_start_that_fails_says_why_and_holds_up_nobody(self) -> None:
        self.reactor.spawn_error = OSError(11, "Resource temporarily unavailable")
        for _ in range(5):
            self.spawn()
        self.assertEqual([type(error) for error in self.failed], [SpawnFailed] * SPAWNS_PER_TICK)
        self.assertEqual(self.spawner.failures, SPAWNS_PER_TICK)
        self.assertIn("Resource temporarily unavailable", self.failed[0].message)
        self.reactor.spawn_error = None
        self.reactor.advance(0.02)
        self.assertEqual(len(self.started), 1)
        self.assertEqual((self.spawner.children, self.spawner.spawns), (1, 1))
        self.reactor.children[0].exit()
        self.assert_nothing_left()

    def test_no_descriptors_to_be_had_is_a_failure_that_leaks_none(self) -> None:
        real, calls = os.pipe, 0

        def pipe() -> tuple[int, int]:
            nonlocal calls
            calls += 1
            if calls == 2:
                raise OSError(24, "Too many open files")
            return real()

        self.patch(os, "pipe", pipe)
        self.spawn()
        self.assertIsInstance(self.failed[0], NoFds)
        self.assertIn("Too many open files", self.failed[0].message)
        self.assert_nothing_left()


class StartTests(SpawnerTestCase):
    """No more start at once than the machine has cores for."""

    def setUp(self) -> None:
        super().setUp()
        self.spawner = Spawner(self.reactor.as_reactor, {}, starting_most=3)
        for name in "abcdefgh":
            self.spawn(name)

    def test_no_more_start_at_once_than_may(self) -> None:
        self.assertEqual("".join(self.names), "abc")
        self.reactor.advance(STARTING_SECONDS / 2)
        self.assertEqual("".join(self.names), "abc")

    def test_one_that_says_something_makes_room_for_the_next(self) -> None:
        self.reactor.children[1].say(HEAD)
        self.assertEqual("".join(self.names), "abcd")
        self.reactor.children[1].say(HEAD)
        self.assertEqual("".join(self.names), "abcd", "once")

    def test_one_that_is_gone_makes_room_too(self) -> None:
        self.reactor.children[0].exit()
        self.assertEqual("".join(self.names), "abcd")

    def test_one_that_waits_for_a_server_is_not_waited_for(self) -> None:
        self.reactor.advance(STARTING_SECONDS)
        self.assertEqual("".join(self.names), "abcdef")
        self.reactor.children[0].say(HEAD)
        self.assertEqual("".join(self.names), "abcdef", "its place was given away")
        self.reactor.advance(STARTING_SECONDS)
        self.assertEqual("".join(self.names), "abcdefgh")

    def test_a_tick_still_starts_a_few_only(self) -> None:
        for child in self.reactor.children[:3]:
            child.say(HEAD)
        self.assertEqual("".join(self.names), "abcd")
        self.reactor.advance(0.02)
        self.assertEqual("".join(self.names), "abcdef")

    def test_nothing_is_left_of_it(self) -> None:
        self.reactor.advance(STARTING_SECONDS)
        self.spawner.stop()
        self.assert_nothing_left()


class SlowStartTests(SpawnerTestCase):
    def test_where_a_start_takes_long_the_others_wait_for_the_next_tick(self) -> None:
        real = self.reactor.spawnProcess

        def slow(*args: Any, **options: Any) -> Any:
            self.reactor.rightNow += SPAWN_SECONDS * 0.6
            return real(*args, **options)

        self.patch(self.reactor, "spawnProcess", slow)
        for name in "abcdef":
            self.spawn(name)
        self.assertEqual("".join(self.names), "ab")
        self.reactor.advance(0.02)
        self.assertEqual("".join(self.names), "abcd")


class WorkTests(SpawnerTestCase):
    def test_the_time_of_children_is_told_apart_by_whether_they_have_only_just_started(self) -> None:
        clocks = {100: 0.5, 101: 2.0}
        for pid in clocks:
            self.spawn()
            self.reactor.children[-1].pid = pid
            self.reactor.advance(SETTLING_SECONDS)
        self.patch(time, "clock_gettime", lambda clock: clocks[~(clock >> 3)])
        self.assertEqual(self.spawner.take_work(), (0.5, 2.0))
        clocks[100] += 0.25
        self.reactor.advance(0.01)
        self.assertEqual(self.spawner.take_work(), (0.25, 0.0))

    def test_in_all_they_took_what_each_had_when_last_looked_at(self) -> None:
        clocks = {100: 0.5, 101: 2.0}
        for pid in clocks:
            self.spawn()
            self.reactor.children[-1].pid = pid
        self.patch(time, "clock_gettime", lambda clock: clocks[~(clock >> 3)])
        self.spawner.take_work()
        clocks[100] = 0.75
        # Before it is killed it is looked at for the last time.
        self.started[0].kill()
        clocks[100] = 0.0
        self.assertEqual(self.spawner.vitals().cpu_seconds, 2.75)
        self.reactor.children[0].pid = None  # type: ignore[assignment]
        self.reactor.children[0].exit(signal=9)
        clocks[101] = 2.5
        self.assertEqual(self.spawner.vitals().cpu_seconds, 2.75)
        self.spawner.take_work()
        self.assertEqual(self.spawner.vitals().cpu_seconds, 3.25)

    def test_a_child_of_which_nothing_is_known_took_none(self) -> None:
        self.spawn()
        self.assertEqual(self.spawner.take_work(), (0.0, 0.0))
        self.reactor.children[0].pid = None  # type: ignore[assignment]
        self.assertEqual(self.spawner.take_work(), (0.0, 0.0))


class MemoryTests(SpawnerTestCase):
    def setUp(self) -> None:
        super().setUp()
        for _ in range(LOOKED_AT + 1):
            self.spawn()
            self.reactor.advance(1)

    def seen(self) -> list[int]:
        return [number for number, child in enumerate(self.started) if child.rss_bytes]

    def test_a_few_are_looked_at_each_time_until_all_have_been(self) -> None:
        for child in self.reactor.children:
            # Instead of the child, this very process.
            child.pid = os.getpid()
        self.spawner.look_at_memory()
        self.assertEqual(len(self.seen()), LOOKED_AT)
        self.spawner.look_at_memory()
        self.assertEqual(len(self.seen()), LOOKED_AT + 1)
        vitals = self.spawner.vitals()
        self.assertGreater(vitals.largest_rss_bytes, 1_000_000)
        self.assertGreaterEqual(vitals.rss_bytes, LOOKED_AT * vitals.largest_rss_bytes * 0.9)

    def test_of_those_that_have_ended_meanwhile_nothing_is_told(self) -> None:
        for child in self.reactor.children:
            child.exit()
        self.spawner.look_at_memory()
        self.assertEqual((self.seen(), self.spawner.vitals()), ([], ChildrenVitals(0.0, 0, 0)))


class StopTests(SpawnerTestCase):
    def test_all_are_killed_and_it_fires_when_the_last_is_reaped(self) -> None:
        for _ in range(6):
            self.spawn()
        stopped = self.spawner.stop()
        self.assertEqual([child.signals for child in self.reactor.children], [["KILL"]] * SPAWNS_PER_TICK)
        for child in self.reactor.children:
            self.assertNoResult(stopped)
            child.exit(signal=9)
        self.successResultOf(stopped)
        self.assertEqual(len(self.names), SPAWNS_PER_TICK)
        self.assert_nothing_left()

    def test_none_there_is_nothing_to_wait_for(self) -> None:
        self.spawn()
        self.reactor.children[0].exit()
        self.successResultOf(self.spawner.stop())
        self.assert_nothing_left()


class ChildTests(SpawnerTestCase):
    def test_it_has_what_is_said_before_and_after_its_start(self) -> None:
        report = Report()
        self.spawn(report=report)
        child = self.reactor.children[0]
        child.say(HEAD[:9])
        self.assertFalse(report.opened)
        child.say(HEAD[9:])
        self.assertTrue(report.opened)

    def test_the_last_words_are_heard_before_it_is_gone(self) -> None:
        report = Report()
        self.spawn(report=report)
        opened: list[bool] = []
        self.started[0].gone.addCallback(lambda _: opened.append(report.opened))
        child = self.reactor.children[0]
        os.write(child._messages, HEAD.encode())
        child.exit()
        self.assertEqual(opened, [True])
        self.assert_nothing_left()

    def test_messages_may_end_before_it_does(self) -> None:
        self.spawn()
        child = self.reactor.children[0]
        child.hang_up(HEAD)
        self.assertTrue(self.started[0].report.opened)
        self.assertEqual(self.spawner.children, 1)
        child.exit()
        self.assert_nothing_left()

    def test_the_signal_that_ended_it_is_known(self) -> None:
        for signal, status in ((None, 0), (None, 1), (9, 0)):
            self.spawn()
            self.reactor.children[-1].exit(signal, status)
            self.assertEqual(self.started[-1].signal, signal)

    def test_killing_what_has_exited_does_nothing(self) -> None:
        self.spawn()
        self.reactor.children[0].exit()
        self.started[0].kill()
        self.assertEqual(self.reactor.children[0].signals, [])


class RealChildTests(TestCase):
    """The same with real children and the real reactor."""

    timeout = 20

    def setUp(self) -> Deferred[None]:
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "ONLY": "1"}
        self.spawner = Spawner(cast(IReactor, global_reactor), environment)

        async def first() -> None:
            """The reactor keeps a descriptor or two from its first turn and its first child on."""
            await deferLater(global_reactor, 0)
            child = self.spawn("exit")
            await child.gone
            child.pcm.close()
            self.fds = open_fds()
            # Where the first start took long, that one's next would wait for a tick.
            await self.spawner.stop()
            self.spawner = Spawner(cast(IReactor, global_reactor), environment)
            self.addCleanup(self.spawner.stop)

        return Deferred.fromCoroutine(first())

    def spawn(self, script: str) -> Child:
        children: list[Child] = []
        errors: list[AudioServiceError] = []
        self.spawner.spawn(["/bin/sh", "-c", script], Report(), children.append, errors.append)
        self.assertEqual(errors, [])
        return children[0]

    async def read_all(self, child: Child) -> bytes:
        sound = b""
        while (piece := child.pcm.read()) is not None:
            sound += piece
            if not piece:
                readable: Deferred[None] = Deferred()
                child.pcm.when_readable(lambda fired=readable: fired.callback(None))
                await readable
        return sound

    def test_it_sees_nothing_of_ours_but_its_three_descriptors(self) -> Deferred[None]:
        async def look() -> None:
            child = self.spawn("cat; ls /proc/$$/fd; echo $ONLY$HOME; echo '[info] Input #0, ogg, from x:' >&2")
            said = (await self.read_all(child)).decode().split()
            await child.gone
            self.assertEqual(said, ["0", "1", "2", "1"])
            self.assertTrue(child.report.opened)
            child.pcm.close()
            await deferLater(global_reactor, 0)
            self.assertEqual(open_fds() - self.fds, set())

        return Deferred.fromCoroutine(look())

    def test_one_that_waits_on_its_full_pipe_is_killed_and_reaped(self) -> Deferred[None]:
        async def fill() -> None:
            child = self.spawn("trap '' TERM; exec cat /dev/zero")
            await deferLater(global_reactor, 0.05)
            child.kill()
            await child.gone
            self.assertEqual(child.signal, 9)
            self.assertEqual(self.spawner.children, 0)
            # What it had written is still there, and the end behind it.
            self.assertLessEqual(len(await self.read_all(child)), PIPE_BYTES)
            child.pcm.close()
            await deferLater(global_reactor, 0)
            self.assertEqual(open_fds() - self.fds, set())

        return Deferred.fromCoroutine(fill())

    def test_what_it_takes_of_the_machine_is_seen(self) -> Deferred[None]:
        async def look() -> None:
            code = "import time\nwhile time.process_time() < 0.05: pass\nprint(flush=True)\ntime.sleep(60)"
            child = self.spawn(f"exec {sys.executable} -c '{code}'")
            while not child.pcm.read():
                await deferLater(global_reactor, 0.01)
            self.spawner.look_at_memory()
            self.assertGreater(self.spawner.vitals().rss_bytes, 1_000_000)
            child.kill()
            await child.gone
            vitals = self.spawner.vitals()
            self.assertGreaterEqual(vitals.cpu_seconds, 0.05)
            self.assertEqual((vitals.rss_bytes, child.look_at_memory()), (0, 0))
            child.pcm.close()

        return Deferred.fromCoroutine(look())

    def test_a_program_that_is_not_there_exits_or_fails_and_leaks_nothing(self) -> Deferred[None]:
        async def miss() -> None:
            children: list[Child] = []
            errors: list[AudioServiceError] = []
            self.spawner.spawn(["/nowhere/ffmpeg"], Report(), children.append, errors.append)
            for child in children:
                await child.gone
                self.assertEqual(await self.read_all(child), b"")
                child.pcm.close()
            await deferLater(global_reactor, 0)
            self.assertEqual(len(children) + len(errors), 1)
            self.assertEqual(open_fds() - self.fds, set())

        return Deferred.fromCoroutine(miss())

    def test_its_bytes_arrive_whole(self) -> Deferred[None]:
        async def hear() -> None:
            code = "import sys; sys.stdout.buffer.write(bytes(i * 7 % 251 for i in range(700_000)))"
            child = self.spawn(f"exec {sys.executable} -c '{code}'")
            self.assertEqual(await self.read_all(child), bytes(i * 7 % 251 for i in range(700_000)))
            await child.gone
            self.assertIsNone(child.signal)
            child.pcm.close()

        return Deferred.fromCoroutine(hear())
