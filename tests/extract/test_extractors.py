"""Answers kept, look-ups shared, and a cookies file read."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from audiosvc import errors
from audiosvc.extract.cache import LIFE_SECONDS, MARGIN_SECONDS
from audiosvc.extract.extractors import COOKIES_MOST, NOWHERE, PLAYLIST_MOST, Extractors, read_cookies, worker_argv
from audiosvc.sources.model import Http
from tests.extract.support import ENTRY, TRACK, FakeDoor, FakeProcess, FakeReactor

URL = "http://page.example/song"
NOW = 1_800_000_000.0
LIST = {"type": "list", "entries": [ENTRY, {**ENTRY, "url": "rtmp://h/x"}]}


class ExtractorsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.made = Extractors(
            self.reactor.as_reactor, FakeDoor(), {"PATH": "/bin"}, 1, cookies="# cookies", wall=lambda: NOW
        )
        self.addCleanup(self.stop)

    def stop(self) -> None:
        stopped = self.made.stop()
        self.reactor.reap()
        self.successResultOf(stopped)

    @property
    def worker(self) -> FakeProcess:
        return self.reactor.workers[-1]

    @property
    def calls(self) -> list[dict[str, Any]]:
        return [call for worker in self.reactor.workers for call in worker.calls]

    def answer(self, ok: object = None) -> None:
        if not self.worker.calls:
            self.worker.ready()
        self.worker.answer(ok)

    def test_a_page_is_a_source(self) -> None:
        asked = self.made.resolve("http://Page.example/song#3")
        self.answer()
        source = self.successResultOf(asked)
        self.assertEqual((source.url, source.title, source.extracted), ("http://Page.example/song#3", "A song", True))
        (call,) = self.calls
        self.assertEqual((call["op"], call["target"], call["limit"]), ("resolve", "http://page.example/song#3", 1))
        self.assertEqual(call["cookies"], "# cookies")

    def test_a_playlist_and_a_search_are_sources(self) -> None:
        listed = self.made.playlist(URL)
        self.answer(LIST)
        found = self.made.search("two words", 7)
        self.answer(LIST)
        for asked in (listed, found):
            self.assertEqual([source.title for source in self.successResultOf(asked)], ["One"])
        self.assertEqual(
            [(call["op"], call["target"]) for call in self.calls], [("playlist", URL), ("search", "two words")]
        )
        self.assertEqual([call["limit"] for call in self.calls], [PLAYLIST_MOST, 7])

    def test_an_answer_is_kept_for_a_while(self) -> None:
        for ask, ok in (
            (lambda: self.made.resolve(URL), TRACK),
            (lambda: self.made.playlist(URL), LIST),
            (lambda: self.made.search("words", 5), LIST),
        ):
            before = len(self.calls)
            asked = ask()
            self.answer(ok)
            first = self.successResultOf(asked)
            self.assertEqual(self.successResultOf(ask()), first)
            self.reactor.advance(LIFE_SECONDS)
            self.reactor.reap()
            self.assertNoResult(again := ask())
            self.answer(ok)
            self.assertEqual(self.successResultOf(again), first)
            self.assertEqual(len(self.calls), before + 2)

    def test_media_that_expires_is_given_out_only_while_it_is_good(self) -> None:
        asked = self.made.resolve(URL)
        self.answer({**TRACK, "url": f"http://h/a.mp3?expire={int(NOW + MARGIN_SECONDS + 60)}"})
        self.successResultOf(asked)
        self.reactor.advance(59)
        self.successResultOf(self.made.resolve(URL))
        self.reactor.advance(1)
        again = self.made.resolve(URL)
        self.answer()
        self.successResultOf(again)
        self.assertEqual(len(self.calls), 2)

    def test_a_fresh_answer_is_asked_for_and_kept(self) -> None:
        asked = self.made.resolve(URL)
        self.answer()
        self.successResultOf(asked)
        fresh = self.made.resolve(URL, fresh=True)
        self.answer({**TRACK, "url": "http://h/new.mp3"})
        for source in (self.successResultOf(fresh), self.successResultOf(self.made.resolve(URL))):
            self.assertEqual(source.media, Http("http://h/new.mp3"))

    def test_a_page_is_known_once_it_was_read(self) -> None:
        self.assertFalse(self.made.knows(URL))
        asked = self.made.resolve(URL)
        self.answer()
        self.successResultOf(asked)
        self.reactor.advance(2 * LIFE_SECONDS)
        self.assertTrue(self.made.knows(URL))

    def test_who_asks_at_the_same_time_shares_one_look_up(self) -> None:
        asked = [self.made.resolve(URL), self.made.resolve(URL), self.made.resolve(URL, fresh=True)]
        self.answer()
        for each in asked:
            self.assertEqual(self.successResultOf(each).title, "A song")
        self.assertEqual(len(self.calls), 1)

    def test_a_failure_is_told_to_all_and_not_kept(self) -> None:
        asked = [self.made.resolve(URL), self.made.resolve(URL)]
        self.worker.ready()
        self.worker.refuse("not_found")
        for each in asked:
            self.failureResultOf(each, errors.SourceNotFound)
        again = self.made.resolve(URL)
        self.answer()
        self.successResultOf(again)

    def test_a_look_up_goes_on_until_the_last_goes_away(self) -> None:
        first, second = self.made.resolve(URL), self.made.resolve(URL)
        self.worker.ready()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertFalse(self.worker.killed)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertTrue(self.worker.killed)
        self.reactor.reap()
        third = self.made.resolve(URL)
        self.answer()
        self.successResultOf(third)

    def test_hostile_media_is_refused_and_not_kept(self) -> None:
        asked = self.made.resolve(URL)
        self.answer({**TRACK, "url": "rtmp://h/x"})
        self.failureResultOf(asked, errors.ExtractionFailed)
        self.assertFalse(self.made.knows(URL))

    def test_what_is_no_page_is_never_asked_about(self) -> None:
        for url in ("--batch-file=/etc/passwd", "file:///etc/passwd", "ytsearch:x", "http://h/#__youtubedl_smuggle=x"):
            for ask in (self.made.resolve, self.made.playlist):
                self.failureResultOf(ask(url), errors.UnsupportedUrl)
        self.assertEqual(self.reactor.workers, [])

    def test_what_fails_at_once_is_over_at_once(self) -> None:
        self.reactor.spawn_error = FileNotFoundError(2, "none")
        for _ in range(2):
            self.failureResultOf(self.made.resolve(URL), errors.ExtractionUnavailable)
        self.assertFalse(self.made.vitals().available)

    def test_workers_see_nothing_of_the_user_s_home(self) -> None:
        self.made.resolve(URL).addErrback(lambda _: None)
        self.assertEqual(self.worker.argv, worker_argv())
        self.assertEqual(self.worker.argv[1], "-I")
        self.assertEqual(self.worker.environment["HOME"], NOWHERE)
        self.assertEqual(sorted(self.worker.environment), ["HOME", "PATH", "http_proxy"])

    def test_its_vitals(self) -> None:
        self.made.resolve(URL).addErrback(lambda _: None)
        waits = self.made.resolve("http://page.example/2")
        self.worker.ready()
        vitals = self.made.vitals()
        self.assertEqual((vitals.available, vitals.workers, vitals.busy, vitals.waiting), (True, 1, 1, 1))
        self.answer()
        self.answer()
        self.successResultOf(waits)
        vitals = self.made.vitals()
        self.assertEqual((vitals.busy, vitals.calls, vitals.restarts, vitals.cached), (0, 2, 0, 2))


class CookieTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.file = Path(folder.name) / "cookies.txt"

    def test_a_cookies_file_is_read_as_it_is(self) -> None:
        text = (
            "# Netscape HTTP Cookie File\n\n.h.example\tTRUE\t/\tTRUE\t0\tname\tvälue\n"
            "#HttpOnly_h.example\tFALSE\t/a\tFALSE\t1800000000.5\tn\t\nh\tFALSE\t/\tFALSE\t\tn\tv\n"
        )
        self.file.write_text(text, "utf-8")
        self.assertEqual(read_cookies(self.file), text)

    def test_what_is_no_cookies_file_is_refused_without_a_word_of_what_is_in_it(self) -> None:
        for raw in (
            b'[{"name": "secret"}]',
            b"h\tTRUE\t/\tTRUE\tsecret\tname\tvalue\n",
            b"h TRUE / TRUE 0 secret value\n",
            b"h\tTRUE\t/\tTRUE\t0\tsecret\n",
            b"\xff\n",
            b"#" * (COOKIES_MOST + 1),
        ):
            self.file.write_bytes(raw)
            told = self.assertRaises(ValueError, read_cookies, self.file)
            self.assertIn(str(self.file), str(told))
            self.assertNotIn("secret", str(told))
        self.file.unlink()
        self.assertRaises(ValueError, read_cookies, self.file)
