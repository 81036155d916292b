from __future__ import annotations

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.errors import NoFds, Overloaded, ShuttingDown, TooManySessions
from audiosvc.health import CODES, COUNTED, LATELY_SECONDS, REFUSALS, Lately, counts, judged
from audiosvc.vitals import IsolationVitals, Vitals
from tests.api.support import VITALS

WELL = replace(
    VITALS,
    overload=replace(VITALS.overload, reduced=False),
    isolation=IsolationVitals("auto", active=True, hardened=True, why=None),
)


class Judged(SynchronousTestCase):
    def codes(self, vitals: Vitals) -> list[str]:
        """Of what follows from the vitals alone; nothing of that refuses plays."""
        told = judged(vitals, [], {})
        self.assertEqual([reason for reason in told.reasons if reason.refuses], [])
        self.assertEqual(told.status, "degraded" if told.reasons else "ok")
        return [reason.code for reason in told.reasons]

    def test_where_nothing_is_amiss_there_is_nothing_to_say(self) -> None:
        self.assertEqual(judged(WELL, [], {}), WELL)
        self.assertEqual(self.codes(replace(WELL, extractors=None, cache=None)), [])

    def test_plays_that_would_be_refused_are_refused_for_the_reason_they_would_be_told(self) -> None:
        told = judged(WELL, [TooManySessions(), Overloaded(), NoFds()], {})
        self.assertEqual([reason.code for reason in told.reasons], ["too_many_sessions", "overloaded", "no_fds"])
        self.assertTrue(all(reason.refuses and reason.message for reason in told.reasons))
        self.assertEqual(told.status, "degraded")

    def test_what_stops_is_neither_well_nor_unwell(self) -> None:
        self.assertEqual(judged(WELL, [ShuttingDown()], {"log_dropped": 3}).status, "stopping")

    def test_encoders_that_work_less_thoroughly_are_less_than_was_asked_for(self) -> None:
        self.assertEqual(self.codes(replace(WELL, overload=VITALS.overload)), ["effort_reduced"])

    def test_pages_that_cannot_be_read_are_missed_where_they_were_to_be(self) -> None:
        assert WELL.extractors is not None
        broken = replace(WELL.extractors, available=False)
        self.assertEqual(self.codes(replace(WELL, extractors=broken)), ["extractors_unavailable"])

    def test_isolation_is_missed_unless_it_was_not_wanted(self) -> None:
        for mode, active, hardened, codes in (
            ("auto", False, True, ["not_isolated"]),
            ("auto", True, False, ["not_hardened"]),
            ("auto", False, False, ["not_isolated", "not_hardened"]),
            ("off", False, False, []),
        ):
            isolation = IsolationVitals(mode, active, hardened, "the kernel says no")
            self.assertEqual(self.codes(replace(WELL, isolation=isolation)), codes)
        (reason, *_) = judged(replace(WELL, isolation=IsolationVitals("auto", False, True, "says no")), [], {}).reasons
        self.assertIn("says no", reason.message)

    def test_a_folder_of_tracks_that_could_not_be_opened_is_not_one_that_is_still_being_opened(self) -> None:
        assert WELL.cache is not None
        for disk, errors, codes in ((False, 1, ["cache_disk_unusable"]), (False, 0, []), (True, 5, [])):
            cache = replace(WELL.cache, disk=disk, disk_errors=errors)
            self.assertEqual(self.codes(replace(WELL, cache=cache)), codes)

    def test_what_was_counted_lately_is_told_with_its_count(self) -> None:
        told = judged(WELL, [], {"spawn_failures": 3, "pacer_stalled": 40})
        self.assertEqual(
            [(r.code, r.message.split()[0]) for r in told.reasons], [("spawn_failures", "3"), ("pacer_stalled", "40")]
        )

    def test_every_code_is_known(self) -> None:
        self.assertEqual(len(set(CODES)), len(CODES))
        self.assertEqual(
            {error.code for error in REFUSALS} | set(COUNTED),
            set(CODES)
            - {
                "effort_reduced",
                "extractors_unavailable",
                "not_isolated",
                "not_hardened",
                "cache_disk_unusable",
            },
        )


class Counted(SynchronousTestCase):
    def test_the_counts_are_those_of_the_vitals(self) -> None:
        self.assertEqual(
            counts(VITALS), {"spawn_failures": 2, "cache_disk_errors": 1, "log_dropped": 3, "pacer_stalled": 4}
        )
        self.assertEqual(counts(replace(VITALS, cache=None))["cache_disk_errors"], 0)
        self.assertEqual(set(counts(VITALS)), set(COUNTED))

    def test_what_has_grown_is_told_of_for_a_while(self) -> None:
        lately = Lately()
        lately.look({"a": 0, "b": 2}, 0.0)
        self.assertEqual(lately.grown(0.0), {"b": 2})
        lately.look({"a": 1, "b": 2}, 200.0)
        self.assertEqual(lately.grown(200.0), {"b": 2, "a": 1})
        self.assertEqual(lately.grown(LATELY_SECONDS), {"a": 1})
        lately.look({"a": 1, "b": 3}, 400.0)
        self.assertEqual(lately.grown(400.0), {"b": 3, "a": 1})
        self.assertEqual(lately.grown(200.0 + LATELY_SECONDS), {"b": 3})
        self.assertEqual(lately.grown(400.0 + LATELY_SECONDS), {})
