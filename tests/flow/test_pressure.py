"""Readings in, a level out: what is lowered and refused, when, and that it comes back by itself."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.flow.pressure import (
    CALM_SECONDS,
    COSTS,
    ENCODE_CORES,
    FULL,
    LATE,
    REST,
    SHARE,
    STEP_SECONDS,
    STEPS,
    TIGHT,
    Pressure,
    Reading,
)

PERIOD = 0.25
ENCODE = 0.0065
"""Cores for one session at 10 on this machine, a faster one than is believed at first."""


class Machine:
    """So many cores and sessions; what it would measure."""

    def __init__(self, cores: float = 2.0, steps: tuple[int, ...] = (10, *STEPS)) -> None:
        self.pressure = Pressure(cores, steps)
        self.sessions = 0
        self.pending = 0
        self.taken = 0.0
        self.tight = 0.0
        self.late = 0.0

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / PERIOD)):
            encoding = self.sessions * ENCODE * COSTS[self.pressure.complexity]
            reading = Reading(
                seconds=PERIOD,
                cores_used=encoding + self.sessions * ENCODE * REST,
                cores_taken=self.taken,
                encode_cores=encoding,
                frames=round(self.sessions * 50 * PERIOD),
                tight=self.tight,
                late=self.late,
            )
            self.pressure.read(reading, self.pending)

    def ask(self, plays: int) -> int:
        """How many of so many plays are let in."""
        let_in = 0
        for _ in range(plays):
            if not self.pressure.refuses(light=False):
                self.pressure.let_in()
                let_in += 1
        return let_in


class PressureTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.machine = Machine()
        self.pressure = self.machine.pressure

    def assert_near(self, first: float, second: float, most: float) -> None:
        self.assertLessEqual(abs(first - second), most, (first, second))


class EffortTests(PressureTestCase):
    def test_with_nothing_to_do_the_effort_is_what_was_configured(self) -> None:
        self.machine.run(20)
        self.assertEqual((self.pressure.complexity, self.pressure.load), (10, 0.0))
        self.assertFalse(self.pressure.refuses(light=False))

    def test_what_fits_is_encoded_with_full_effort(self) -> None:
        self.machine.sessions = int(FULL * 2 / (ENCODE * (1 + REST))) - 1
        self.machine.run(20)
        self.assertEqual(self.pressure.complexity, 10)
        self.assert_near(self.pressure.load, FULL, 0.01)

    def test_what_does_not_is_encoded_with_as_much_as_makes_it_fit(self) -> None:
        for complexity in STEPS:
            machine = Machine()
            machine.sessions = int(FULL * 2 / (ENCODE * (COSTS[complexity] + REST))) - 1
            machine.run(20)
            self.assertEqual(machine.pressure.complexity, complexity)
            self.assertLess(machine.pressure.load, FULL)

    def test_more_than_that_gets_the_least_effort_and_no_less(self) -> None:
        self.machine.sessions = 1000
        self.machine.run(20)
        self.assertEqual(self.pressure.complexity, 0)
        self.assertGreater(self.pressure.load, 1)

    def test_it_is_lowered_for_what_is_on_its_way(self) -> None:
        self.machine.run(1)
        for _ in range(int(FULL * 2 / (ENCODE_CORES * (1 + REST)))):
            self.pressure.let_in()
        self.assertEqual(self.pressure.complexity, 10)
        self.pressure.let_in()
        self.assertEqual(self.pressure.complexity, 5)

    def test_it_comes_back_a_step_at_a_time_once_there_is_room(self) -> None:
        self.machine.sessions = 1000
        self.machine.run(20)
        self.machine.sessions = 20
        seen = [0]
        for _ in range(round(4 * CALM_SECONDS / PERIOD)):
            self.machine.run(PERIOD)
            seen.append(self.pressure.complexity)
        self.assertEqual(sorted(set(seen)), [0, 2, 5, 10])
        self.assertEqual(seen, sorted(seen))
        for complexity in (2, 5):
            self.assertGreaterEqual(seen.count(complexity), CALM_SECONDS / PERIOD)

    def test_it_does_not_swing(self) -> None:
        """Whatever number of sessions there is, in the end it stays what it is."""
        for sessions in range(0, 400, 7):
            machine = Machine()
            machine.sessions = sessions
            machine.run(30)
            settled = machine.pressure.complexity
            for _ in range(80):
                machine.run(PERIOD)
                self.assertEqual(machine.pressure.complexity, settled, sessions)

    def test_jobs_that_are_tight_lower_it_until_that_helps(self) -> None:
        self.machine.sessions = 10
        self.machine.run(3)
        self.machine.tight = 1.0
        seen = []
        while self.pressure.complexity:
            self.machine.run(PERIOD)
            seen.append(self.pressure.complexity)
        self.assertEqual(set(seen), {10, 5, 2, 0})
        self.assertGreaterEqual(seen.count(5), STEP_SECONDS / PERIOD)
        self.machine.run(10)
        self.assertEqual(self.pressure.complexity, 0)
        self.machine.tight = 0.0
        self.machine.run(CALM_SECONDS)
        self.assertEqual(self.pressure.complexity, 0)
        self.machine.run(4 * CALM_SECONDS)
        self.assertEqual(self.pressure.complexity, 10)

    def test_a_moment_of_it_does_nothing(self) -> None:
        for sign in ("tight", "late"):
            setattr(self.machine, sign, 1.0)
            self.machine.run(PERIOD)
            setattr(self.machine, sign, 0.0)
            self.machine.run(PERIOD)
            self.assertEqual(self.pressure.complexity, 10)
            self.assertFalse(self.pressure.refuses(light=False))

    def test_late_ticks_do_not_lower_it_but_keep_it_low(self) -> None:
        self.machine.late = 1.0
        self.machine.run(3)
        self.assertEqual(self.pressure.complexity, 10)
        self.machine.sessions = 1000
        self.machine.run(10)
        self.machine.sessions = 1
        self.machine.run(20)
        self.assertEqual(self.pressure.complexity, 0)

    def test_a_configured_effort_that_is_low_has_fewer_steps(self) -> None:
        machine = Machine(steps=(0,))
        machine.sessions = 1000
        machine.tight = 1.0
        machine.run(10)
        self.assertEqual(machine.pressure.complexity, 0)


class RefusalTests(PressureTestCase):
    def test_a_burst_is_let_in_as_far_as_it_fits_at_the_least_effort(self) -> None:
        self.machine.sessions = 20
        self.machine.run(10)
        self.assertEqual(self.pressure.complexity, 10)
        most = FULL * 2 / (ENCODE * (COSTS[0] + REST))
        self.assert_near(self.machine.ask(1000) + 20, most, 2)
        self.assertEqual(self.pressure.complexity, 0)

    def test_before_anything_was_measured_a_slow_machine_is_believed_in(self) -> None:
        self.assertEqual(self.machine.ask(1000), int(FULL * 2 / (ENCODE_CORES * (COSTS[0] + REST))))

    def test_those_let_in_count_until_they_are_measured_and_no_longer(self) -> None:
        self.machine.sessions = 20
        self.machine.run(10)
        let_in = self.machine.ask(1000)
        self.machine.pending = let_in
        self.machine.run(2)
        self.assertTrue(self.pressure.refuses(light=False))
        self.machine.pending, self.machine.sessions = 0, 20 + let_in
        self.machine.run(5)
        self.assertLessEqual(self.machine.ask(1000), 2)
        self.machine.sessions = 20
        self.machine.run(5)
        self.assertFalse(self.pressure.refuses(light=False))

    def test_without_lower_steps_they_are_refused_sooner(self) -> None:
        machine = Machine(steps=(10,))
        machine.sessions = 20
        machine.run(10)
        self.assert_near(machine.ask(1000) + 20, FULL * 2 / (ENCODE * (1 + REST)), 2)
        self.assertEqual(machine.pressure.complexity, 10)

    def test_what_is_passed_on_is_not_refused_because_of_that(self) -> None:
        self.machine.sessions = 1000
        self.machine.tight = 1.0
        self.machine.run(10)
        self.assertEqual((self.pressure.refuses(light=False), self.pressure.refuses(light=True)), (True, False))

    def test_nothing_is_let_in_while_ticks_are_late(self) -> None:
        self.machine.late = 2 * LATE
        self.machine.run(5)
        self.assertEqual((self.pressure.refuses(light=False), self.pressure.refuses(light=True)), (True, True))
        self.machine.late = 0.0
        self.machine.run(2)
        self.assertEqual((self.pressure.refuses(light=False), self.pressure.refuses(light=True)), (False, False))

    def test_nothing_that_takes_work_is_let_in_while_jobs_are_tight(self) -> None:
        self.machine.tight = 2 * TIGHT
        self.machine.run(5)
        self.assertTrue(self.pressure.refuses(light=False))
        self.machine.tight = 0.0
        self.machine.run(2)
        self.assertFalse(self.pressure.refuses(light=False))

    def test_what_others_take_is_not_there(self) -> None:
        self.machine.taken = 0.5
        self.machine.sessions = 20
        self.machine.run(10)
        self.assert_near(self.machine.ask(1000) + 20, FULL * 1.5 / (ENCODE * (COSTS[0] + REST)), 2)

    def test_but_a_fair_share_is(self) -> None:
        self.machine.taken = 2.0
        self.machine.sessions = 20
        self.machine.run(10)
        most = FULL * 2 * SHARE / (ENCODE * (COSTS[0] + REST))
        self.assert_near(self.machine.ask(1000) + 20, most, 2)

    @settings(deadline=None)
    @given(
        st.floats(0.1, 64),
        st.lists(st.tuples(st.integers(0, 2000), st.floats(0, 1), st.floats(0, 1), st.floats(0, 64)), max_size=40),
    )
    def test_whatever_is_read_the_level_is_one_of_the_steps(
        self, cores: float, course: list[tuple[int, float, float, float]]
    ) -> None:
        machine = Machine(cores)
        for machine.sessions, machine.tight, machine.late, machine.taken in course:
            machine.run(PERIOD)
            machine.pending = machine.ask(3)
            self.assertIn(machine.pressure.complexity, (10, *STEPS))
            self.assertGreaterEqual(machine.pressure.load, -1e-9)
