from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from bench.heard import Heard
from bench.pictures import Axis
from bench.samples import Sample
from bench.verdict import (
    BY_TIME,
    Fact,
    beats,
    by_count,
    fact_rows,
    grown,
    growth_rows,
    left_behind,
    lingering_zombies,
    pictures,
    series,
    told,
)

SAMPLE = Sample(
    at=0.0,
    rss=80_000_000,
    pss=60_000_000,
    fds=50,
    threads=4,
    children=12,
    zombies=[],
    delayed_calls=40,
    memory_blocks=300_000,
    sessions=20,
    connections=2,
)


def at(sample: Sample) -> float:
    return sample.at


class GrowthTests(SynchronousTestCase):
    def judged(self, leak: int = 0, fds: int = 0) -> dict[str, bool]:
        """With so many bytes more at each sample, and so many descriptors in all."""
        samples = [
            replace(
                SAMPLE, at=2.0 * n, rss=SAMPLE.rss + n % 5 * 10_000 + leak * n, fds=SAMPLE.fds + n % 3 + fds * n // 600
            )
            for n in range(600)
        ]
        return {one.name: one.held for one in grown(series(samples, at), 600.0, BY_TIME)}

    def test_a_daemon_that_stays_as_it_is_passes(self) -> None:
        self.assertEqual(set(self.judged().values()), {True})

    def test_one_that_leaks_memory_fails_by_that(self) -> None:
        self.assertEqual([name for name, held in self.judged(leak=20_000).items() if not held], ["RSS, MB"])

    def test_one_that_leaks_descriptors_fails_by_that(self) -> None:
        self.assertEqual([name for name, held in self.judged(fds=6).items() if not held], ["fds"])

    def test_a_play_may_leave_a_tenth_of_a_kilobyte_behind(self) -> None:
        for left, held in ((90, True), (200, False)):
            samples = [replace(SAMPLE, at=100.0 * n, rss=SAMPLE.rss + 100 * n * left) for n in range(101)]
            (rss, *_) = grown(series(samples, at), 500.0, by_count(9500))
            self.assertEqual((rss.name, rss.held), ("RSS, MB", held))

    def test_rows_say_what_grows_what_is_free_and_what_was_not_judged(self) -> None:
        samples = [replace(SAMPLE, at=float(n), rss=SAMPLE.rss + n * 1_000_000) for n in range(100)]
        growths = grown(series(samples, at), 0.0, BY_TIME)
        said = {row[0]: row for row in growth_rows(growths, "in all", judged=True)}
        self.assertEqual(said["RSS, MB"], ("RSS, MB", "80.00", "179.00", "+99", "0", "5", "GROWS"))
        self.assertEqual((said["fds"][-1], said["PSS, MB"][-2:]), ("held", ("", "")))
        said = {row[0]: row for row in growth_rows(growths, "per 10", 10.0, judged=False)}
        self.assertEqual((said["RSS, MB"][3], said["RSS, MB"][-1]), ("+10", "not judged"))

    def test_every_series_is_drawn_with_its_trend(self) -> None:
        samples = [replace(SAMPLE, at=float(n)) for n in range(100)]
        lines = series(samples, at)
        drawn = pictures(lines, grown(lines, 20.0, BY_TIME), Axis("s"))
        self.assertEqual(set(drawn), {"memory.svg", "handles.svg", "blocks.svg"})
        said = {
            text.text for text in ElementTree.fromstring(drawn["memory.svg"]).iter("{http://www.w3.org/2000/svg}text")
        }
        self.assertLessEqual({"RSS, MB", "PSS, MB", "RSS, MB: trend"}, said)
        self.assertEqual(set(pictures(lines, [], Axis("s"))), set(drawn))
        self.assertEqual(pictures(dict.fromkeys(lines, ()), [], Axis("s")), {})


class FactTests(SynchronousTestCase):
    def test_what_is_above_its_bound_is_exceeded_and_what_has_none_is_only_told(self) -> None:
        rows = fact_rows([Fact("a", 1), Fact("b", 0), Fact("c", 9, None)])
        self.assertEqual(rows[1:], [("a", "1", "0", "EXCEEDED"), ("b", "0", "0", "held"), ("c", "9", "", "")])

    def test_a_zombie_counts_once_it_is_seen_twice(self) -> None:
        seen = [replace(SAMPLE, zombies=pids) for pids in ([7], [8], [8, 9], [])]
        self.assertEqual(lingering_zombies(seen), 1)
        self.assertEqual(lingering_zombies(seen[:2]), 0)

    def test_what_was_not_given_back_is_told(self) -> None:
        idle = replace(SAMPLE, sessions=0, children=0, connections=0)
        self.assertTrue(all(fact.held for fact in left_behind(idle, idle)))
        for worse in ({"fds": 51}, {"children": 1}, {"zombies": [7]}, {"sessions": 1}, {"connections": 1}):
            facts = left_behind(idle, replace(idle, **worse))
            self.assertEqual(sum(not fact.held for fact in facts), 1, worse)
        self.assertTrue(all(fact.held for fact in left_behind(idle, replace(idle, fds=49))))

    def test_all_that_was_heard_and_should_not_have_been_is_told(self) -> None:
        heard = Heard()
        self.assertTrue(all(fact.held for fact in told(heard)))
        heard.accepted("s", "t")
        heard.tally.lost = heard.tally.doubled = heard.tally.stray = heard.tally.unknown = 1
        heard.tally.ends["error: internal"] = 1
        self.assertFalse(any(fact.held for fact in told(heard)))

    def test_the_beat_is_judged_by_the_hour_and_only_where_it_can_be(self) -> None:
        tally = Heard().tally
        self.assertTrue(all(fact.held for fact in beats(tally, 0, judged=True)))
        tally.deficit, tally.calm_packets = 3, 180_000
        self.assertEqual([fact.held for fact in beats(tally, 1, judged=True)], [False, False, True, True])
        self.assertTrue(all(fact.held for fact in beats(tally, 1, judged=False)))
