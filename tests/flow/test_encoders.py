"""Jobs go to threads in order of need, what comes of them comes home to the reactor's thread, and all of it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Queue
from typing import Any

from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.flow import encoders
from audiosvc.flow.encoders import LOAD_SECONDS, EncoderPool

Result = list[bytes] | Failure
PATIENCE = 20.0
"""Seconds after which a thread that should have answered is given up on."""


class Home:
    """The reactor's thread, as far as a pool sees it: runs what comes from threads when told to."""

    def __init__(self) -> None:
        self.calls: Queue[Callable[[], None]] = Queue()

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        self.calls.put(lambda: callable(*args, **kwargs))

    def run(self) -> None:
        """Wait for one call, and run it here."""
        self.calls.get(timeout=PATIENCE)()


class PoolTestCase(SynchronousTestCase):
    def make(self, threads: int = 1) -> EncoderPool:
        self.home = Home()
        pool = EncoderPool(self.home, threads)
        pool.start()
        self.addCleanup(pool.stop)
        return pool

    def occupy(self, pool: EncoderPool, jobs: int = 1) -> threading.Event:
        """Keep so many threads busy; returns what lets them go."""
        go, begun = threading.Event(), [threading.Event() for _ in range(jobs)]
        self.addCleanup(go.set)
        for event in begun:
            pool.submit(0.0, lambda event=event: (event.set(), go.wait(PATIENCE), [b""])[2], lambda result: None)
        for event in begun:
            self.assertTrue(event.wait(PATIENCE))
        return go

    def collect(self, results: list[Any], count: int) -> None:
        while len(results) < count:
            self.home.run()


class JobTests(PoolTestCase):
    def test_a_job_runs_in_a_thread_of_the_pool_and_its_packets_come_home(self) -> None:
        pool = self.make()
        names: list[str] = []
        results: list[tuple[Result, threading.Thread]] = []

        def work() -> list[bytes]:
            names.append(threading.current_thread().name)
            return [b"1", b"2"]

        pool.submit(1.0, work, lambda result: results.append((result, threading.current_thread())))
        self.collect(results, 1)
        self.assertEqual(results, [([b"1", b"2"], threading.current_thread())])
        self.assertEqual(names, ["encoder-0"])

    def test_nothing_comes_home_by_itself(self) -> None:
        pool = self.make()
        results: list[Result] = []
        done = threading.Event()
        pool.submit(1.0, lambda: (done.set(), [])[1], results.append)
        self.assertTrue(done.wait(PATIENCE))
        self.assertEqual(results, [])
        self.collect(results, 1)

    def test_while_the_beat_goes_results_wait_for_it(self) -> None:
        pool = self.make()
        pool.beat(True)
        results: list[Result] = []
        done = threading.Event()
        pool.submit(time.monotonic() + 60.0, lambda: [b"1"], results.append)
        pool.submit(time.monotonic() + 61.0, lambda: (done.set(), [])[1], lambda result: None)
        self.assertTrue(done.wait(PATIENCE))
        self.assertTrue(self.home.calls.empty())
        pool.beat(True)
        self.assertEqual(results, [[b"1"]])

    def test_what_is_urgent_waits_for_no_beat(self) -> None:
        pool = self.make()
        pool.beat(True)
        results: list[Result] = []
        pool.submit(time.monotonic(), lambda: [b"1"], results.append)
        self.collect(results, 1)

    def test_when_the_beat_rests_nothing_is_left_behind(self) -> None:
        pool = self.make()
        pool.beat(True)
        go = self.occupy(pool)
        results: list[Result] = []
        pool.submit(time.monotonic() + 60.0, lambda: [b"1"], results.append)
        pool.beat(False)
        go.set()
        self.collect(results, 1)

    def test_who_is_nearest_to_running_dry_goes_first(self) -> None:
        pool = self.make()
        go = self.occupy(pool)
        results: list[Result] = []
        for dry_at in (5.0, 1.0, 3.0, -2.0, 4.0):
            pool.submit(dry_at, lambda dry_at=dry_at: [str(dry_at).encode()], results.append)
        self.assertEqual(pool.vitals().waiting, 5)
        go.set()
        self.collect(results, 5)
        self.assertEqual(results, [[b"-2.0"], [b"1.0"], [b"3.0"], [b"4.0"], [b"5.0"]])
        self.assertEqual(pool.vitals().waiting, 0)

    def test_of_equals_the_first_goes_first(self) -> None:
        pool = self.make()
        go = self.occupy(pool)
        results: list[Result] = []
        for i in range(20):
            pool.submit(1.0, lambda i=i: [bytes([i])], results.append)
        go.set()
        self.collect(results, 20)
        self.assertEqual(results, [[bytes([i])] for i in range(20)])

    def test_an_error_comes_home_as_a_failure_and_the_thread_lives_on(self) -> None:
        pool = self.make()
        results: list[Result] = []
        pool.submit(1.0, lambda: [bytes(1 // 0)], results.append)
        self.collect(results, 1)
        assert isinstance(results[0], Failure)
        self.assertTrue(results[0].check(ZeroDivisionError))
        pool.submit(1.0, lambda: [b"on"], results.append)
        self.collect(results, 2)
        self.assertEqual((results[1], pool.vitals().frames), ([b"on"], 1))

    def test_who_cannot_take_its_result_does_not_hold_up_another(self) -> None:
        pool = self.make()
        go = self.occupy(pool)
        results: list[Result] = []
        for done in (lambda result: 1 // 0, results.append):
            pool.submit(1.0, lambda: [b"x"], done)
        go.set()
        self.collect(results, 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_jobs_run_side_by_side(self) -> None:
        pool = self.make(threads=3)
        together = threading.Barrier(3)
        results: list[Result] = []
        for _ in range(3):
            pool.submit(1.0, lambda: [str(together.wait(PATIENCE)).encode()], results.append)
        self.collect(results, 3)
        self.assertEqual(sorted(result[0] for result in results if isinstance(result, list)), [b"0", b"1", b"2"])

    def test_many_jobs_of_many_threads_come_home_once_each(self) -> None:
        pool = self.make(threads=4)
        results: list[Result] = []
        for i in range(500):
            pool.submit(float(i % 7), lambda i=i: [i.to_bytes(2, "big")], results.append)
        self.collect(results, 500)
        self.assertEqual(
            {result[0] for result in results if isinstance(result, list)}, {i.to_bytes(2, "big") for i in range(500)}
        )
        self.assertEqual(pool.vitals().frames, 500)


class StopTests(PoolTestCase):
    def test_stop_ends_the_threads_and_runs_nothing_that_waited(self) -> None:
        before = set(threading.enumerate())
        pool = self.make(threads=2)
        go = self.occupy(pool, jobs=2)
        ran: list[None] = []
        for _ in range(10):
            pool.submit(-1e9, lambda: [bytes(ran.append(None) or 1)], lambda result: None)
        join = threading.Thread.join

        def let_go_and_join(thread: threading.Thread, timeout: float | None = None) -> None:
            go.set()
            join(thread, timeout)

        self.patch(threading.Thread, "join", let_go_and_join)
        pool.stop()
        self.assertEqual((set(threading.enumerate()) - before, ran), (set(), []))

    def test_stop_can_be_repeated(self) -> None:
        pool = self.make()
        pool.stop()
        pool.stop()


class Hands:
    """A clock that is set by hand, in place of the `time` module."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.worked = 0.0

    def monotonic(self) -> float:
        return self.now

    def thread_time(self) -> float:
        """Of one thread that never waits for a core."""
        return self.worked

    def work(self, seconds: float) -> list[bytes]:
        self.now += seconds
        self.worked += seconds
        return []


class LoadTests(PoolTestCase):
    def setUp(self) -> None:
        self.clock = Hands()
        self.patch(encoders, "time", self.clock)

    def encode(self, pool: EncoderPool, seconds: float) -> None:
        results: list[Result] = []
        pool.submit(0.0, lambda: self.clock.work(seconds), results.append)
        self.collect(results, 1)

    def test_an_idle_pool_has_no_load(self) -> None:
        pool = self.make(threads=2)
        vitals = pool.vitals()
        self.assertEqual((vitals.threads, vitals.load, vitals.waiting, vitals.frames), (2, 0.0, 0, 0))
        self.clock.now += 9
        self.assertEqual(pool.vitals().load, 0.0)

    def test_the_load_is_the_share_of_the_threads_time(self) -> None:
        for threads, expected in ((1, 0.75), (3, 0.25)):
            pool = self.make(threads)
            self.encode(pool, 3.0)
            self.clock.now += 1.0
            self.assertAlmostEqual(pool.vitals().load, expected)

    def test_it_looks_back_a_few_seconds_and_not_to_the_beginning(self) -> None:
        pool = self.make()
        self.encode(pool, 100.0)
        loads = []
        for _ in range(12):
            self.clock.now += 1.0
            loads.append(pool.vitals().load)
        self.assertGreater(loads[0], 0.9)
        self.assertEqual(loads[-1], 0.0)

    def test_a_job_longer_than_the_look_back_is_no_more_than_full_load(self) -> None:
        pool = self.make()
        results: list[Result] = []
        begun, go = threading.Event(), threading.Event()

        def work() -> list[bytes]:
            begun.set()
            go.wait(PATIENCE)
            return []

        pool.submit(0.0, work, results.append)
        self.assertTrue(begun.wait(PATIENCE))
        for _ in range(3):
            self.clock.now += LOAD_SECONDS * 2
            pool.vitals()
        go.set()
        self.collect(results, 1)
        self.assertEqual(pool.vitals().load, 1.0)


class SignsTests(PoolTestCase):
    """What the pool shows of how much time it has left."""

    def setUp(self) -> None:
        self.clock = Hands()
        self.patch(encoders, "time", self.clock)

    def encode(self, pool: EncoderPool, had: float, seconds: float) -> None:
        results: list[Result] = []
        pool.submit(self.clock.now + had, lambda: self.clock.work(seconds), results.append)
        self.collect(results, 1)

    def test_the_time_spent_is_that_of_the_processor(self) -> None:
        pool = self.make()
        self.encode(pool, 1.0, 0.25)
        self.clock.now += 10.0
        self.encode(pool, 1.0, 0.5)
        self.assertEqual(pool.cpu_seconds, 0.75)

    def test_jobs_are_tight_that_are_done_with_less_than_half_their_time_left(self) -> None:
        pool = self.make()
        for seconds in (0.1, 0.14, 0.16, 0.5):
            self.encode(pool, 0.3, seconds)
        self.assertEqual(pool.take_tightness(), 0.5)
        self.encode(pool, 0.3, 0.2)
        self.assertEqual(pool.take_tightness(), 1.0)

    def test_those_that_had_little_time_from_the_beginning_say_nothing(self) -> None:
        pool = self.make()
        for had in (-1.0, 0.0, 0.08, 0.19):
            self.encode(pool, had, 1.0)
        self.assertEqual(pool.take_tightness(), 0.0)
        self.encode(pool, 0.25, 0.0)
        self.assertEqual(pool.take_tightness(), 0.0)
