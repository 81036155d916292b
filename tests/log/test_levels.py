from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.errors import TooManyLevels
from audiosvc.log.levels import LEVELS, SESSIONS_MOST, Levels


class Level(SynchronousTestCase):
    def test_events_of_a_level_and_above_are_written(self) -> None:
        for place, level in enumerate(LEVELS):
            levels = Levels(level)
            for other, event in enumerate((*LEVELS, "critical")):
                self.assertEqual(levels.lets(event, None), other >= place, (level, event))

    def test_a_session_may_be_told_of_in_more_detail_than_others(self) -> None:
        levels = Levels("warn")
        levels.set("a", "debug")
        self.assertTrue(levels.lets("debug", "a"))
        for other in ("b", None, 7, ""):
            self.assertFalse(levels.lets("debug", other))

    def test_or_in_less(self) -> None:
        levels = Levels("debug")
        levels.set("a", "error")
        self.assertEqual([levels.lets(level, "a") for level in LEVELS], [False, False, False, True])

    def test_what_several_share_is_told_as_of_who_began_it(self) -> None:
        levels = Levels("info")
        levels.set("a", "debug")
        self.assertTrue(levels.lets("debug", "a and others"))
        self.assertFalse(levels.lets("debug", "b and others"))

    def test_it_is_as_before_once_it_is_taken_back(self) -> None:
        levels = Levels("info")
        levels.set("a", "debug")
        levels.set("a", None)
        levels.set("never", None)
        self.assertEqual((levels.lets("debug", "a"), levels.sessions), (False, {}))

    def test_so_many_have_one_and_no_more(self) -> None:
        levels = Levels("info")
        for number in range(SESSIONS_MOST):
            levels.set(f"s{number}", "debug")
        self.assertRaises(TooManyLevels, levels.set, "another", "debug")
        levels.set("s0", "warn")
        self.assertEqual((len(levels.sessions), levels.sessions["s0"]), (SESSIONS_MOST, "warn"))
        levels.set("s1", None)
        levels.set("another", "debug")
