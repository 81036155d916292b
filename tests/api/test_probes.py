"""What load balancers ask, and what of one session is logged."""

from __future__ import annotations

from msgspec.structs import replace
from treq.testing import StubTreq

from audiosvc.api.routes import Routes
from audiosvc.log.levels import SESSIONS_MOST, Levels
from audiosvc.vitals import Reason
from tests.api.support import VITALS
from tests.api.test_routes import RoutesCase


class Probes(RoutesCase):
    def setUp(self) -> None:
        super().setUp()
        self.vitals = VITALS
        self.levels = Levels("info")
        self.routes = Routes(self.sessions, self.sources, lambda: self.vitals, self.levels)
        self.http = StubTreq(self.routes.resource())

    def has(self, *reasons: Reason) -> None:
        self.vitals = replace(VITALS, status="degraded", reasons=list(reasons))

    def test_who_answers_lives(self) -> None:
        self.has(Reason("overloaded", "full", refuses=True))
        self.assertEqual(self.get("/health/live"), {"status": "live"})

    def test_who_takes_plays_is_ready_whatever_else_is_amiss(self) -> None:
        self.assertEqual(self.get("/health/ready"), {"status": "ready"})
        self.has(Reason("log_dropped", "3 lines", refuses=False))
        self.assertEqual(self.get("/health/ready"), {"status": "ready"})

    def test_who_refuses_them_is_not_and_says_why(self) -> None:
        full, reading = Reason("overloaded", "too much", refuses=True), Reason("log_dropped", "3 lines", refuses=False)
        self.has(full, reading, Reason("no_fds", "none left", refuses=True))
        status, answer = self.ask("GET", "/health/ready")
        self.assertEqual((status, answer["status"], answer["code"]), (503, "error", "not_ready"))
        self.assertEqual(answer["message"], "too much; none left")
        self.assertEqual([reason["code"] for reason in answer["reasons"]], ["overloaded", "no_fds"])
        self.assertNotIn("session_id", answer)

    def test_other_problems_have_no_reasons(self) -> None:
        self.assertNotIn("reasons", self.ask("GET", "/nowhere")[1])

    def test_health_answers_however_the_daemon_is(self) -> None:
        self.has(Reason("overloaded", "too much", refuses=True))
        answer = self.get("/health")
        self.assertEqual(answer["status"], "degraded")
        self.assertEqual(answer["reasons"], [{"code": "overloaded", "message": "too much", "refuses": True}])


class SessionLevels(Probes):
    def test_one_session_gets_a_level_whether_it_plays_or_not(self) -> None:
        answer = self.post("/session/user%3A42/log", {"level": "debug"})
        self.assertEqual(answer, {"session_id": "user:42", "level": "debug"})
        self.assertEqual(self.levels.sessions, {"user:42": "debug"})

    def test_it_is_taken_back(self) -> None:
        self.post("/session/a/log", {"level": "debug"})
        self.assertEqual(self.post("/session/a/log", {"level": None}), {"session_id": "a", "level": None})
        self.assertEqual(self.levels.sessions, {})

    def test_there_are_so_many_and_no_more(self) -> None:
        for number in range(SESSIONS_MOST):
            self.levels.set(f"s{number}", "debug")
        status, answer = self.ask("POST", "/session/a/log", {"level": "debug"})
        self.assertEqual((status, answer["code"], answer["session_id"]), (409, "too_many_levels", "a"))

    def test_it_is_one_of_four_words(self) -> None:
        for body in ({}, {"level": "critical"}, {"level": 1}, {"level": "debug", "more": 1}):
            self.assertEqual(self.ask("POST", "/session/a/log", body)[0], 400)
        self.assertEqual(self.levels.sessions, {})
