"""The watch over the machine: what is measured of it, what it does to the encoders, and whom it lets in."""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.errors import Overloaded
from audiosvc.ffmpeg.process import Spawner
from audiosvc.ffmpeg.report import Report
from audiosvc.flow import overload
from audiosvc.flow.encoders import EncoderPool
from audiosvc.flow.overload import READING_SECONDS, Overload, busy_seconds, usable_cores
from audiosvc.flow.pacer import Pacer
from audiosvc.flow.workshop import Workshop
from tests.fakes import FakeReactor

FULL = 2.0
"""Seconds of two cores a second."""


class OverloadTestCase(SynchronousTestCase):
    mode = "lower"

    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.spent = self.busy = 0.0
        self.patch(time, "process_time", lambda: self.spent)
        self.patch(overload, "busy_seconds", lambda: self.busy)
        self.encoders = EncoderPool(self.reactor, 1)
        self.pacer = Pacer(Clock(), lambda due: None)
        self.workshop = Workshop(
            self.reactor.as_reactor, Spawner(self.reactor.as_reactor, {}), self.encoders, "ffmpeg", complexity=8
        )
        self.overload = Overload(self.workshop, self.encoders, self.pacer, self.mode, 2.0)
        self.pending = 0
        self.overload.start(lambda: self.pending)
        self.addCleanup(self.overload.stop)

    def run_for(self, seconds: float, own: float = 0.0, others: float = 0.0) -> None:
        """With so many cores in use, by the daemon and by others."""
        for _ in range(round(seconds / READING_SECONDS)):
            self.spent += own * READING_SECONDS
            self.busy += (own + others) * READING_SECONDS
            self.reactor.advance(READING_SECONDS)

    @property
    def refuses(self) -> bool:
        try:
            self.overload.admit(light=False)
        except Overloaded:
            return True
        return False


class ChildrenTests(OverloadTestCase):
    def test_their_time_and_memory_are_looked_at_with_each_reading(self) -> None:
        self.workshop.spawner.spawn(["ffmpeg"], Report(), lambda child: self.addCleanup(child.pcm.close), self.fail)
        # Instead of the child, this very process.
        self.reactor.children[0].pid = os.getpid()
        self.run_for(READING_SECONDS)
        vitals = self.workshop.spawner.vitals()
        self.assertGreater(vitals.rss_bytes, 1_000_000)
        self.assertGreater(vitals.cpu_seconds, 0)
        self.reactor.children[0].pid = 2**22 + 1
        self.reactor.children[0].exit()


class LowerTests(OverloadTestCase):
    def test_with_nothing_to_do_all_is_as_configured(self) -> None:
        self.run_for(10)
        vitals = self.overload.vitals()
        self.assertEqual((vitals.mode, vitals.cores, vitals.load, vitals.complexity), ("lower", 2.0, 0.0, 8))
        self.assertEqual((vitals.reduced, vitals.refusing, vitals.refused), (False, False, 0))
        self.assertEqual((self.workshop.full, self.workshop.changes), (True, 0))

    def test_a_full_machine_lowers_the_effort_of_all_and_takes_no_more(self) -> None:
        self.run_for(5, FULL)
        self.assertTrue(self.refuses)
        vitals = self.overload.vitals()
        self.assertEqual((vitals.complexity, vitals.reduced, vitals.refusing, vitals.refused), (0, True, True, 1))
        self.assertAlmostEqual(vitals.load, 1.0, 2)
        self.assertEqual((self.workshop.complexity, self.workshop.full), (0, False))
        self.assertEqual(self.workshop.changes, 1)

    def test_what_is_passed_on_comes_in_even_so(self) -> None:
        self.run_for(5, FULL)
        self.overload.admit(light=True)

    def test_it_comes_back_by_itself(self) -> None:
        self.run_for(5, FULL)
        self.run_for(30)
        self.assertEqual((self.workshop.complexity, self.workshop.full), (8, True))
        self.assertFalse(self.refuses)

    def test_those_let_in_count_at_once(self) -> None:
        let_in = 0
        while not self.refuses:
            let_in += 1
        self.assertGreater(let_in, 100)
        self.assertEqual((self.workshop.complexity, self.overload.vitals().refused), (0, 1))
        self.pending = let_in
        self.run_for(5)
        self.assertTrue(self.refuses)
        self.pending = 0
        self.run_for(1)
        self.assertFalse(self.refuses)

    def test_what_others_use_is_not_the_daemons_load(self) -> None:
        self.run_for(5, 0.5, 0.5)
        self.assertAlmostEqual(self.overload.vitals().load, 0.5 / 1.5, 2)

    def test_late_ticks_let_nobody_in(self) -> None:
        self.patch(self.pacer, "take_lateness", lambda: 1.0)
        self.run_for(1)
        self.assertRaises(Overloaded, self.overload.admit, light=True)

    def test_tight_jobs_lower_the_effort(self) -> None:
        self.patch(self.encoders, "take_tightness", lambda: 1.0)
        self.run_for(0.75)
        self.assertEqual(self.workshop.complexity, 5)

    def test_stopped_it_does_no_more(self) -> None:
        self.overload.stop()
        self.overload.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class RefuseTests(OverloadTestCase):
    mode = "refuse"

    def test_the_effort_stays_and_plays_are_refused(self) -> None:
        self.run_for(5, FULL)
        self.assertEqual((self.refuses, self.workshop.complexity), (True, 8))


class OffTests(OverloadTestCase):
    mode = "off"

    def test_it_only_watches(self) -> None:
        self.run_for(5, FULL)
        vitals = self.overload.vitals()
        self.assertEqual((self.refuses, vitals.refusing, vitals.refused, vitals.complexity), (False, False, 0, 8))
        self.assertGreater(vitals.load, 0.9)


class MachineTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.patch(os, "sched_getaffinity", lambda pid: {1, 3})

    def test_the_cores_are_those_it_may_run_on(self) -> None:
        self.assertEqual(usable_cores(self.folder), 2.0)

    def test_a_quota_leaves_less_of_them(self) -> None:
        for said, cores in (("150000 100000", 1.5), ("max 100000", 2.0), ("900000 100000", 2.0), ("junk", 2.0)):
            (self.folder / "cpu.max").write_text(said + "\n")
            self.assertEqual(usable_cores(self.folder), cores)

    def test_so_does_one_of_the_older_kind(self) -> None:
        (self.folder / "cpu").mkdir()
        (self.folder / "cpu/cpu.cfs_period_us").write_text("100000\n")
        for said, cores in (("50000", 0.5), ("-1", 2.0)):
            (self.folder / "cpu/cpu.cfs_quota_us").write_text(said + "\n")
            self.assertEqual(usable_cores(self.folder), cores)

    def test_so_does_one_of_a_unit_or_of_a_slice_above_it(self) -> None:
        groups = self.folder / "groups"
        groups.write_text("1:name=systemd:/x\n2:cpu,cpuacct:/a.slice/b.service\n0::/a.slice/b.service\n")
        for name, quota, cores in (
            ("a.slice/cpu.max", "150 100", 1.5),
            ("a.slice/b.service/cpu.max", "100 100", 1.0),
            ("cpu,cpuacct/a.slice/b.service/cpu.cfs_quota_us", "50", 0.5),
        ):
            file = self.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            (file.parent / "cpu.cfs_period_us").write_text("100\n")
            file.write_text(quota + "\n")
            self.assertEqual(usable_cores(self.folder, groups), cores)
        groups.write_text("junk\n")
        self.assertEqual(usable_cores(self.folder, groups), 2.0)

    def test_busy_is_what_those_cores_were_for_anybody(self) -> None:
        tick = os.sysconf("SC_CLK_TCK")
        stat = self.folder / "stat"
        stat.write_text(
            "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 9 9 9 9 9 9 9 9 9 9\n"
            "cpu1 100 20 30 5000 700 6 7 8 50 60\ncpu3 1 0 0 0 0 0 0 0 0 0\nintr 1 2\n"
        )
        self.assertEqual(busy_seconds(stat), (100 + 20 + 30 + 6 + 7 + 8 + 1) / tick)

    def test_where_it_is_not_told_it_is_nothing(self) -> None:
        self.assertEqual(busy_seconds(self.folder / "none"), 0.0)
