"""Real child programs that crash, hang, flood and talk nonsense."""

from __future__ import annotations

import os
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast
from unittest import mock

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from audiosvc import errors
from audiosvc.extract.extractors import Extractors
from audiosvc.interfaces import IReactor
from tests.extract.support import FakeDoor

ODD = Path(__file__).parent.parent / "fixtures/odd_worker.py"
PAGE = "http://page.example/"

Steps = Generator[Deferred[Any], Any, None]


def groups() -> Counter[int]:
    """Processes by their group, of those that are below this one or were."""
    found: Counter[int] = Counter()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command, stat = (entry / "cmdline").read_bytes(), (entry / "stat").read_text()
            except OSError:
                continue
            if ODD.name.encode() in command or command == b"sleep\x003600\x00":
                found[int(stat.rpartition(")")[2].split()[2])] += 1
    return found


def resident() -> float:
    """MiB that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


class OddWorkerTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.door = FakeDoor()

    def made(self, mode: str = "", count: int = 1, program: str = sys.executable) -> Extractors:
        made = Extractors(
            cast(IReactor, reactor),
            self.door,
            {"PATH": os.environ["PATH"]},
            count,
            argv=[program, "-I", str(ODD), mode],
        )
        self.addCleanup(made.stop)
        return made

    @inlineCallbacks
    def test_one_that_fails_at_its_work_fails_that_alone_and_is_replaced(self) -> Steps:
        made = self.made()
        for what in ("exit", "crash", "flood", "noise", "null", "types", "other"):
            began = time.monotonic()
            yield self.assertFailure(made.resolve(PAGE + what), errors.ExtractionFailed)
            self.assertLess(time.monotonic() - began, 5)
            yield made.resolve(f"{PAGE}{what}/fine")
        vitals = made.vitals()
        self.assertEqual((vitals.available, vitals.restarts, vitals.calls), (True, 7, 14))

    @inlineCallbacks
    def test_one_that_complains_without_end_is_killed(self) -> Steps:
        made = self.made()
        yield self.assertFailure(made.resolve(f"{PAGE}complaints"), errors.ExtractionFailed)
        yield made.resolve(f"{PAGE}fine")

    @inlineCallbacks
    def test_one_that_hangs_is_killed_in_time_with_all_that_it_started(self) -> Steps:
        before = groups()
        made = self.made("child")
        with mock.patch("audiosvc.extract.pool.CALL_SECONDS", 2):
            asked = made.resolve(f"{PAGE}hang")
            while list((groups() - before).values()) != [2]:
                yield deferLater(reactor, 0.01, lambda: None)
            began = time.monotonic()
            yield self.assertFailure(asked, errors.ExtractionTimeout)
            self.assertLess(time.monotonic() - began, 10)
        while groups() - before:
            yield deferLater(reactor, 0.01, lambda: None)
        yield made.resolve(f"{PAGE}fine")

    @inlineCallbacks
    def test_one_that_cannot_start_is_told_soon_and_nobody_waits_for_it(self) -> Steps:
        with mock.patch("audiosvc.extract.pool.START_SECONDS", 0.5):
            for mode in ("start-exit", "start-crash", "start-hang", "start-flood", "start-noise", "start-null"):
                made = self.made(mode)
                began = time.monotonic()
                yield self.assertFailure(made.resolve(f"{PAGE}fine"), errors.ExtractionUnavailable)
                yield self.assertFailure(made.resolve(f"{PAGE}fine"), errors.ExtractionUnavailable)
                self.assertLess(time.monotonic() - began, 5)
                self.assertFalse(made.vitals().available)
        missing = self.made(program="/nonexistent/python")
        yield self.assertFailure(missing.resolve(f"{PAGE}fine"), errors.ExtractionUnavailable)

    @inlineCallbacks
    def test_two_hundred_requests_among_hangs_crashes_and_nonsense(self) -> Steps:
        """None is lost, none is late, nothing is left."""
        seed = random.randrange(2**32)
        odds = ["fine"] * 14 + ["crash", "null", "types", "exit", "noise", "hang"]
        whats = random.Random(seed).choices(odds, k=200)
        made, turn, times = self.made(count=2), DeferredSemaphore(10), []
        yield deferLater(reactor, 0, lambda: None)  # trial starts the reactor, and its descriptors, only now
        memory = resident()
        fds = len(list(Path("/proc/self/fd").iterdir()))

        @inlineCallbacks
        def ask(number: int, what: str) -> Generator[Deferred[Any], Any, str]:
            began = time.monotonic()
            try:
                found = yield made.resolve(f"{PAGE}{number}/{what}")
                return found.title
            except errors.AudioServiceError as error:
                return type(error).__name__
            finally:
                times.append(time.monotonic() - began)

        with mock.patch("audiosvc.extract.pool.CALL_SECONDS", 1):
            outcomes = yield gatherResults([turn.run(ask, *each) for each in enumerate(whats)])
        expected = {"fine": "A song", "hang": "ExtractionTimeout"}
        self.assertEqual(outcomes, [expected.get(what, "ExtractionFailed") for what in whats], f"seed {seed}")
        vitals = made.vitals()
        yield made.stop()
        self.assertEqual(self.door.open, [])
        self.assertLessEqual(len(list(Path("/proc/self/fd").iterdir())), fds)
        self.assertLess(max(times), 20.5)
        self.assertLess(grown := resident() - memory, 16)
        print(
            f"\n200 requests, seed {seed}: {dict(Counter(outcomes))}, {vitals.restarts} restarts, "
            f"slowest {max(times):.2f} s, memory {grown:+.1f} MiB"
        )
