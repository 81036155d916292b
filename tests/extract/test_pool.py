"""Who gets a worker, and what becomes of workers that do not do as they should."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from audiosvc import errors
from audiosvc.extract.calls import LINE_MOST, Track
from audiosvc.extract.pool import (
    BACKOFF_LEAST,
    BACKOFF_MOST,
    CALL_SECONDS,
    CALLS_MOST,
    IDLE_SECONDS,
    READ_MOST,
    START_SECONDS,
    WAIT_SECONDS,
    WAITING_MOST,
    Answer,
    Pool,
)
from audiosvc.extract.process import PIPES_SECONDS, STDERR_MOST
from tests.extract.support import TRACK, FakeDoor, FakeProcess, FakeReactor

URL = "http://page.example/"


class PoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.door = FakeDoor()
        self.pool = Pool(self.reactor.as_reactor, self.door, {"PATH": "/bin"}, 2, ["python", "worker.py"])
        self.addCleanup(self.leaves_nothing)

    def leaves_nothing(self) -> None:
        stopped = self.pool.stop()
        self.reactor.reap()
        self.successResultOf(stopped)
        self.assertEqual((self.pool.workers, self.pool.waiting, self.door.open), (0, 0, []))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def ask(self, url: str = URL) -> Deferred[Answer]:
        return self.pool.ask("resolve", url)

    def refused(self, asked: Deferred[Any], error: type[Exception]) -> str:
        return self.failureResultOf(asked, error).getErrorMessage()

    @property
    def worker(self) -> FakeProcess:
        return self.reactor.workers[-1]


class WorkTests(PoolTests):
    def test_a_worker_is_started_when_there_is_something_to_ask_and_asked_when_it_is_ready(self) -> None:
        self.assertEqual(self.reactor.workers, [])
        asked = self.pool.ask("playlist", URL, 500, "cookies")
        self.assertEqual(self.worker.argv, ["python", "worker.py"])
        self.assertEqual(self.worker.calls, [])
        self.worker.ready()
        (call,) = self.worker.calls
        self.assertEqual(
            (call["op"], call["target"], call["limit"], call["cookies"]), ("playlist", URL, 500, "cookies")
        )
        self.worker.answer({"type": "list", "entries": []})
        self.assertEqual(self.successResultOf(asked).size, 63)
        self.assertTrue(self.pool.available)

    def test_a_worker_is_kept_and_asked_one_thing_at_a_time(self) -> None:
        for _ in range(3):
            asked = self.ask()
            if not self.worker.calls:
                self.worker.ready()
            self.worker.answer()
            found = self.successResultOf(asked).found
            assert isinstance(found, Track)
            self.assertEqual(found.title, "A song")
        self.assertEqual((len(self.reactor.workers), len(self.worker.calls)), (1, 3))

    def test_there_are_as_many_workers_as_are_needed_and_no_more_than_count(self) -> None:
        asked = [self.ask() for _ in range(5)]
        self.assertEqual(len(self.reactor.workers), 2)
        for worker in self.reactor.workers:
            worker.ready()
        self.assertEqual((self.pool.busy, self.pool.waiting), (2, 3))
        for worker in (0, 1, 0, 1, 0):
            self.reactor.workers[worker].answer()
        for each in asked:
            self.successResultOf(each)
        self.assertEqual((self.pool.busy, self.pool.calls, len(self.reactor.workers)), (0, 5, 2))

    def test_each_call_goes_out_under_a_permit_of_its_own(self) -> None:
        first, second = self.ask(), self.ask()
        for worker in self.reactor.workers:
            worker.ready()
        proxies = [worker.calls[0]["proxy"] for worker in self.reactor.workers]
        self.assertEqual(proxies, ["http://n2:token2@127.0.0.1:3128", "http://n3:token3@127.0.0.1:3128"])
        self.assertEqual(self.door.open, ["extractor", "extractor", "extract resolve", "extract resolve"])
        self.assertEqual([permit.most for permit in self.door.permits], [None, None, READ_MOST, READ_MOST])
        self.worker.answer()
        self.assertEqual(self.door.open, ["extractor", "extractor", "extract resolve"])
        self.successResultOf(second)
        self.reactor.workers[0].answer()
        self.successResultOf(first)

    def test_a_worker_lives_where_its_own_permit_says_and_goes_out_with_it(self) -> None:
        self.door.prefix = ("nsenter", "-t", "9", "--")
        self.ask().addErrback(lambda _: None)
        self.assertEqual(self.worker.argv, ["nsenter", "-t", "9", "--", "python", "worker.py"])
        environment = {"PATH": "/bin", "http_proxy": "http://n0:token0@127.0.0.1:3128"}
        self.assertEqual(self.worker.environment, environment)

    def test_a_worker_from_where_there_is_no_way_out_any_more_is_replaced(self) -> None:
        self.ask()
        self.worker.ready()
        self.worker.answer()
        self.door.prefix = ("nsenter", "-t", "10", "--")
        asked = self.ask()
        self.reactor.reap()
        self.assertEqual(len(self.reactor.workers), 2)
        self.worker.ready()
        self.worker.answer()
        self.successResultOf(asked)
        self.assertEqual(self.pool.restarts, 0)

    def test_a_shut_door_is_told(self) -> None:
        asked = self.ask()
        self.door.shut = errors.SourceUnreachable("no way out")
        self.worker.ready()
        self.assertEqual(self.refused(asked, errors.SourceUnreachable), "no way out")
        self.assertEqual(self.pool.busy, 0)

    def test_who_is_told_may_ask_again_at_once(self) -> None:
        again: list[Deferred[Answer]] = []
        self.ask().addCallback(lambda _: again.append(self.ask()))
        self.worker.ready()
        self.worker.answer()
        self.assertEqual(len(self.worker.calls), 2)
        self.reactor.advance(1)
        self.worker.answer()
        self.successResultOf(again[0])


class TroubleTests(PoolTests):
    def test_trouble_is_told_and_the_worker_kept(self) -> None:
        asked = self.ask()
        self.worker.ready()
        self.worker.refuse("not_found")
        self.refused(asked, errors.SourceNotFound)
        self.assertFalse(self.worker.killed)

    def test_what_the_door_refused_explains_a_failure_but_spoils_no_answer(self) -> None:
        for kind in ("refused", "unreachable", "failed", "nothing"):
            asked = self.ask()
            if not self.worker.calls:
                self.worker.ready()
            self.door.permits[-1].denial = errors.BlockedAddress("10.0.0.1 is not reached")
            self.worker.refuse(kind)
            self.assertEqual(self.refused(asked, errors.BlockedAddress), "10.0.0.1 is not reached")
        asked = self.ask()
        self.door.permits[-1].denial = errors.BlockedAddress()
        self.worker.answer()
        self.successResultOf(asked)

    def test_why_nobody_answered_is_known_at_the_door(self) -> None:
        for kind, error in (("unreachable", errors.SourceTimeout), ("failed", errors.ExtractionFailed)):
            asked = self.ask()
            if not self.worker.calls:
                self.worker.ready()
            self.door.permits[-1].trouble = errors.SourceTimeout("no such name")
            self.worker.refuse(kind)
            self.refused(asked, error)

    def test_a_call_without_an_answer_ends_in_time_and_so_does_its_worker(self) -> None:
        asked, waits = self.ask(), self.ask("http://page.example/2")
        for worker in self.reactor.workers:
            worker.ready()
        later = self.ask("http://page.example/3")
        self.reactor.workers[1].answer()
        self.successResultOf(waits)
        self.reactor.advance(CALL_SECONDS - 0.1)
        self.assertNoResult(asked)
        self.reactor.workers[1].answer()
        self.successResultOf(later)
        self.reactor.advance(0.1)
        self.refused(asked, errors.ExtractionTimeout)
        self.assertTrue(self.reactor.workers[0].killed)
        self.assertFalse(self.reactor.workers[1].killed)
        self.reactor.reap()
        self.assertEqual((self.pool.workers, self.pool.restarts), (1, 1))

    def test_who_is_told_that_it_hangs_may_ask_again_and_gets_another(self) -> None:
        again: list[Deferred[Answer]] = []
        self.ask().addErrback(lambda _: again.append(self.ask()))
        self.worker.ready()
        self.reactor.advance(CALL_SECONDS)
        self.reactor.reap()
        self.worker.ready()
        self.worker.answer()
        self.successResultOf(again[0])

    def test_a_worker_that_crashes_fails_its_call_alone(self) -> None:
        first, second = self.ask(), self.ask()
        for worker in self.reactor.workers:
            worker.ready()
        self.reactor.workers[0].exit(11)
        self.refused(first, errors.ExtractionFailed)
        self.reactor.workers[1].answer()
        self.successResultOf(second)
        third, fourth = self.ask(), self.ask()
        self.assertEqual(len(self.reactor.workers), 3)
        self.worker.ready()
        for worker in self.reactor.workers[1:]:
            worker.answer()
        for asked in (third, fourth):
            self.successResultOf(asked)
        self.assertTrue(self.pool.available)

    def test_a_worker_that_talks_nonsense_is_killed_and_its_call_fails(self) -> None:
        for nonsense in (b"null\n", b"{}\n", b"\xff\n", b'{"id":1,"ok":{}}\n', b"x" * (LINE_MOST + 1)):
            asked = self.ask()
            self.worker.ready()
            self.worker.protocol.outReceived(nonsense)
            self.assertTrue(self.worker.killed)
            self.reactor.reap()
            self.refused(asked, errors.ExtractionFailed)
        self.assertEqual(self.pool.restarts, 5)

    def test_what_a_killed_worker_still_says_is_not_heard(self) -> None:
        asked = self.ask()
        self.worker.ready()
        self.worker.protocol.outReceived(b"null\n" + json.dumps({"id": 1, "last": False, "ok": TRACK}).encode() + b"\n")
        self.reactor.reap()
        self.refused(asked, errors.ExtractionFailed)

    def test_a_worker_that_speaks_without_being_asked_is_killed(self) -> None:
        asked = self.ask()
        self.worker.ready()
        self.worker.answer()
        self.successResultOf(asked)
        self.worker.answer()
        self.assertTrue(self.worker.killed)

    def test_a_worker_that_says_too_much_on_standard_error_is_killed(self) -> None:
        asked = self.ask()
        self.worker.ready()
        self.worker.protocol.errReceived(b"x" * STDERR_MOST)
        self.assertFalse(self.worker.killed)
        self.worker.protocol.errReceived(b"x")
        self.reactor.reap()
        self.refused(asked, errors.ExtractionFailed)

    def test_an_answer_in_many_pieces_is_one(self) -> None:
        asked = self.ask()
        self.worker.ready()
        for byte in json.dumps({"id": 1, "last": False, "ok": TRACK}).encode() + b"\n":
            self.worker.protocol.outReceived(bytes([byte]))
        self.successResultOf(asked)

    def test_what_a_worker_said_last_is_read_before_it_is_given_up(self) -> None:
        asked = self.ask()
        self.worker.ready()
        self.worker.protocol.processExited(None)
        self.worker.answer()
        self.successResultOf(asked)
        self.reactor.advance(PIPES_SECONDS)
        self.worker.exit()


class BoundsTests(PoolTests):
    def test_not_many_wait(self) -> None:
        asked = [self.ask() for _ in range(WAITING_MOST)]
        self.refused(self.ask(), errors.TooManyLookups)
        for each in asked:
            each.addErrback(lambda _: None)

    def test_nobody_waits_for_long(self) -> None:
        busy = [self.ask() for _ in range(2)]
        for worker in self.reactor.workers:
            worker.ready()
        self.reactor.advance(1)
        waits = self.ask()
        for each in busy:
            each.addErrback(lambda _: None)
        self.reactor.advance(CALL_SECONDS - 1)
        self.reactor.advance(1)
        self.refused(waits, errors.TooManyLookups)
        self.assertEqual(CALL_SECONDS, WAIT_SECONDS)

    def test_one_that_is_cancelled_while_it_waits_leaves_its_place(self) -> None:
        busy = [self.ask(), self.ask()]
        for worker in self.reactor.workers:
            worker.ready()
        waits = self.ask()
        waits.cancel()
        self.refused(waits, CancelledError)
        self.assertEqual(self.pool.waiting, 0)
        for worker in self.reactor.workers:
            worker.answer()
        for each in busy:
            self.successResultOf(each)

    def test_one_that_is_cancelled_at_work_frees_the_place(self) -> None:
        first, second = self.ask(), self.ask()
        for worker in self.reactor.workers:
            worker.ready()
        waits = self.ask()
        first.cancel()
        self.refused(first, CancelledError)
        self.assertTrue(self.reactor.workers[0].killed)
        self.reactor.reap()
        self.worker.ready()
        self.worker.answer()
        self.successResultOf(waits)
        self.assertEqual(self.pool.restarts, 0)
        second.addErrback(lambda _: None)

    def test_a_worker_is_replaced_after_many_calls(self) -> None:
        for _ in range(CALLS_MOST):
            asked = self.ask()
            if not self.worker.calls:
                self.worker.ready()
            self.worker.answer()
            self.successResultOf(asked)
        self.assertTrue(self.worker.killed)
        self.reactor.reap()
        self.ask().addErrback(lambda _: None)
        self.assertEqual((len(self.reactor.workers), self.pool.restarts), (2, 0))

    def test_a_worker_that_says_it_is_its_last_answer_is_asked_nothing_more(self) -> None:
        first = self.ask()
        self.worker.ready()
        self.worker.answer(last=True)
        self.successResultOf(first)
        second = self.ask()
        self.reactor.reap()
        self.worker.ready()
        self.worker.answer()
        self.successResultOf(second)
        self.assertEqual((len(self.reactor.workers), self.pool.restarts), (2, 0))

    def test_a_worker_that_nobody_needs_gives_its_memory_back(self) -> None:
        asked = self.ask()
        self.worker.ready()
        self.worker.answer()
        self.successResultOf(asked)
        self.reactor.advance(IDLE_SECONDS - 1)
        self.assertFalse(self.worker.killed)
        self.reactor.advance(1)
        self.assertTrue(self.worker.killed)
        self.reactor.reap()
        self.assertEqual((self.pool.workers, self.pool.restarts), (0, 0))

    def test_a_worker_that_ends_by_itself_between_calls_is_no_matter(self) -> None:
        asked = self.ask()
        self.worker.ready()
        self.worker.answer()
        self.successResultOf(asked)
        self.worker.exit()
        self.assertEqual((self.pool.workers, self.pool.restarts, self.pool.available), (0, 0, True))


class StartTests(PoolTests):
    def test_what_cannot_start_is_told_to_all_and_not_tried_again_at_once(self) -> None:
        first, second = self.ask(), self.ask()
        for worker in self.reactor.workers:
            worker.protocol.errReceived(b"No module named yt_dlp\n")
            worker.exit(1)
        for asked in (first, second):
            self.refused(asked, errors.ExtractionUnavailable)
        self.assertFalse(self.pool.available)
        self.refused(self.ask(), errors.ExtractionUnavailable)
        self.assertEqual(len(self.reactor.workers), 2)

    def test_the_pause_between_two_tries_grows_and_ends_with_the_first_that_starts(self) -> None:
        delay = BACKOFF_LEAST
        for _ in range(12):
            asked = self.ask()
            self.worker.exit(1)
            self.refused(asked, errors.ExtractionUnavailable)
            self.reactor.advance(delay - 0.01)
            self.refused(self.ask(), errors.ExtractionUnavailable)
            self.reactor.advance(0.01)
            delay = min(delay * 2, BACKOFF_MOST)
        asked = self.ask()
        self.worker.ready()
        self.worker.answer()
        self.successResultOf(asked)
        self.assertTrue(self.pool.available)

    def test_a_program_that_is_not_there_and_a_machine_that_is_full_are_the_same(self) -> None:
        self.reactor.spawn_error = FileNotFoundError(2, "No such file or directory")
        self.refused(self.ask(), errors.ExtractionUnavailable)
        self.reactor.advance(BACKOFF_LEAST)
        self.reactor.spawn_error = BlockingIOError(11, "Resource temporarily unavailable")
        self.refused(self.ask(), errors.ExtractionUnavailable)

    def test_without_a_way_out_none_is_started(self) -> None:
        self.door.shut = errors.SourceUnreachable("no way out")
        self.refused(self.ask(), errors.ExtractionUnavailable)
        self.assertEqual(self.reactor.workers, [])

    def test_one_that_is_not_ready_in_time_is_killed(self) -> None:
        asked = self.ask()
        self.reactor.advance(START_SECONDS)
        self.assertTrue(self.worker.killed)
        self.reactor.reap()
        self.refused(asked, errors.ExtractionUnavailable)

    def test_one_that_begins_with_nonsense_is_killed(self) -> None:
        asked = self.ask()
        self.worker.protocol.outReceived(b"Hello\n")
        self.reactor.reap()
        self.refused(asked, errors.ExtractionUnavailable)

    def test_while_one_works_others_that_do_not_start_are_not_missed(self) -> None:
        first = self.ask()
        self.worker.ready()
        second = self.ask()
        self.worker.exit(1)
        third = self.ask()
        self.assertEqual(len(self.reactor.workers), 2)
        for asked in (first, second, third):
            self.reactor.workers[0].answer()
            self.successResultOf(asked)
        self.assertEqual(self.pool.restarts, 1)

    def test_when_the_last_that_works_goes_those_that_wait_are_told(self) -> None:
        first = self.ask()
        self.worker.ready()
        second = self.ask()
        self.worker.exit(1)
        self.reactor.workers[0].exit(1)
        self.refused(first, errors.ExtractionFailed)
        self.refused(second, errors.ExtractionUnavailable)


class StopTests(PoolTests):
    def test_all_are_told_and_every_worker_is_reaped(self) -> None:
        asked = [self.ask() for _ in range(3)]
        self.reactor.workers[0].ready()
        stopped = self.pool.stop()
        for each in asked:
            self.refused(each, errors.ShuttingDown)
        self.assertNoResult(stopped)
        self.reactor.reap()
        self.successResultOf(stopped)
        self.refused(self.ask(), errors.ShuttingDown)
        self.assertEqual(len(self.reactor.workers), 2)
