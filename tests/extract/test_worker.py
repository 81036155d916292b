"""What the extractor's child makes of what yt-dlp gives it, without starting one."""

from __future__ import annotations

import io
import json
from http.cookiejar import Cookie
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase
from yt_dlp.networking.exceptions import HTTPError, NoSupportingHandlers, TransportError
from yt_dlp.utils import DownloadError, ExtractorError, UnsupportedError

from audiosvc.extract import worker
from audiosvc.extract.calls import LINE_MOST, Call, decode

PROXY = "http://name:token@127.0.0.1:3128"
PAGE = "http://page.example/"


def call(op: str = "resolve", **fields: Any) -> dict[str, Any]:
    return {"id": 1, "op": op, "target": PAGE, "limit": 500, "proxy": PROXY, "cookies": None, **fields}


def wrapped(error: Exception) -> DownloadError:
    """As yt-dlp raises it."""
    return DownloadError(f"ERROR: {error}", (type(error), error, None))


class OptionsTests(SynchronousTestCase):
    def test_nothing_is_read_or_written_besides_what_is_asked(self) -> None:
        made = worker.options(call())
        for off in ("cachedir", "usenetrc", "cookiesfrombrowser", "enable_file_urls", "check_formats"):
            self.assertFalse(made[off])
        for no in ("netrc_cmd", "cookiefile", "postprocessor_args", "exec_cmd", "nocheckcertificate", "writelink"):
            self.assertNotIn(no, made)
        self.assertEqual((made["simulate"], made["skip_download"], made["socket_timeout"]), (True, True, 5))
        self.assertEqual(made["remote_components"], [])

    def test_a_page_is_one_track_and_a_list_is_capped(self) -> None:
        made = worker.options(call())
        self.assertEqual((made["noplaylist"], made["playlist_items"]), (True, "1"))
        made = worker.options(call("playlist", limit=500))
        self.assertEqual(
            (made["noplaylist"], made["playlist_items"], made["extract_flat"]), (False, "1:500", "in_playlist")
        )

    def test_there_is_no_way_out_but_the_proxy(self) -> None:
        self.assertEqual(worker.options(call())["proxy"], PROXY)
        for proxy in (
            "",
            "127.0.0.1:3128",
            "https://127.0.0.1:1",
            "socks5://127.0.0.1:1",
            "http://",
            "http://h/ x",
            "__noproxy__",
        ):
            self.assertRaises(ValueError, worker.options, call(proxy=proxy))

    def test_cookies_are_read_from_memory_and_written_back_to_nowhere_else(self) -> None:
        made = worker.options(call(cookies="# x"))["cookiefile"]
        self.assertIsInstance(made, io.StringIO)
        self.assertEqual(made.read(), "# x")


class TroubleTests(SynchronousTestCase):
    def kind(self, error: BaseException) -> tuple[str, str]:
        told = worker.trouble(error, PROXY)
        return told["kind"], told["message"]

    def answered(self, status: int) -> HTTPError:
        return HTTPError(mock.Mock(status=status, reason="x"))

    def test_each_failure_is_of_a_kind(self) -> None:
        for error, kind in (
            (wrapped(UnsupportedError(PAGE)), "nothing"),
            (worker.NothingThere(), "nothing"),
            (
                wrapped(ExtractorError("Requested format is not available. Use --list-formats", expected=True)),
                "nothing",
            ),
            (wrapped(ExtractorError("No video formats found!")), "nothing"),
            (wrapped(ExtractorError("x", cause=self.answered(404))), "not_found"),
            (wrapped(self.answered(410)), "not_found"),
            (wrapped(ExtractorError("x", cause=self.answered(403))), "refused"),
            (wrapped(self.answered(503)), "refused"),
            (wrapped(NoSupportingHandlers([], [MemoryError()])), "memory"),
            (wrapped(ExtractorError("x", cause=TransportError("timed out"))), "unreachable"),
            (MemoryError(), "memory"),
            (wrapped(NoSupportingHandlers([], [MemoryError()])), "memory"),
            (wrapped(ExtractorError("x", cause=TransportError(cause=MemoryError()))), "memory"),
            (wrapped(MemoryError()), "memory"),  # type: ignore[arg-type]
            (KeyError("x"), "failed"),
            (RecursionError(), "failed"),
            (wrapped(ExtractorError("Private video", expected=True)), "failed"),
        ):
            with self.subTest(error):
                self.assertEqual(self.kind(error)[0], kind)

    def test_what_is_said_is_meant_for_users(self) -> None:
        for said, message in (
            (
                "Private video. Sign in if you've been granted access",
                "Private video. Sign in if you've been granted access",
            ),
            ("Sign in. Use --cookies-from-browser or --cookies", "Sign in"),
            ("a\nTraceback", "a"),
            ("x; please report this issue on https://github.example", "x"),
            ("", ""),
            ("y" * 5000, "y" * worker.MESSAGE_MOST),
        ):
            self.assertEqual(self.kind(wrapped(ExtractorError(said, expected=True))), ("failed", message))

    def test_the_way_to_the_proxy_is_not_told(self) -> None:
        for said in (f"cannot connect to {PROXY}/", "proxy name:token failed", "name:token@127.0.0.1:3128"):
            self.assertNotIn("token", self.kind(wrapped(ExtractorError(said)))[1])

    def test_errors_that_go_round_in_circles_end(self) -> None:
        one, two = ValueError("one"), ValueError("two")
        one.__cause__, two.__cause__ = two, one
        self.assertEqual(self.kind(one), ("failed", "one"))
        raised = DownloadError("ERROR: x", None)
        raised.exc_info = (DownloadError, raised, None)
        self.assertEqual(self.kind(raised), ("failed", "x"))


class FieldsTests(SynchronousTestCase):
    def test_whatever_a_page_says_is_of_the_agreed_types(self) -> None:
        odd: tuple[Any, ...] = (None, 7, 1.5, True, [], ["x"], {}, {"a": 1}, b"x", object(), "\ud800", "x" * 100_000)
        odd += (float("nan"), float("inf"), 10**400, -1)
        for value in odd:
            for field in (
                "http_headers",
                "title",
                "duration",
                "thumbnail",
                "uploader",
                "is_live",
                "acodec",
                "ext",
                "protocol",
            ):
                if field == "http_headers":
                    value = value if isinstance(value, dict) else {"X": value}
                made = worker.track({"url": "http://h/a", field: value}, None, None)
                raw = json.dumps({"id": 1, "last": False, "ok": made}, allow_nan=False).encode()
                decode(raw, Call(1, "resolve", PAGE, 1, PROXY, None))
            listed = worker.entries(
                {"_type": "playlist", "entries": [{"url": "http://h/a", "title": value}, value]}, PAGE, 5
            )
            listed += worker.entries({"_type": "playlist", "entries": [{"url": value, "thumbnails": [value]}]}, PAGE, 5)
            raw = json.dumps(
                {"id": 1, "last": False, "ok": {"type": "list", "entries": listed}}, allow_nan=False
            ).encode()
            decode(raw, Call(1, "playlist", PAGE, 5, PROXY, None))

    def test_the_artist_goes_before_the_channel_before_the_uploader(self) -> None:
        info = {"url": "http://h/a", "creator": "d", "uploader": "c", "channel": "b", "artist": "a"}
        for key, name in (("artist", "a"), ("channel", "b"), ("uploader", "c"), ("creator", "d")):
            self.assertEqual(worker.track(info, None, None)["uploader"], name)
            del info[key]
        self.assertIsNone(worker.track(info, None, None)["uploader"])

    def test_a_live_track_is_one_however_it_is_said(self) -> None:
        for said, live in (
            ({"is_live": True}, True),
            ({"live_status": "is_live"}, True),
            ({"live_status": "was_live"}, False),
        ):
            self.assertIs(worker.track({"url": "http://h/a", **said}, None, None)["live"], live)

    def test_a_single_medium_of_a_page_is_not_numbered(self) -> None:
        info = {"url": "http://h/a", "title": "Song (1)", "extractor_key": "HTML5MediaEmbed"}
        self.assertEqual(worker.track(info, None, None)["title"], "Song")
        self.assertEqual(worker.track(info, "List", None)["title"], "Song (1)")
        self.assertEqual(worker.track({**info, "extractor_key": "Youtube"}, None, None)["title"], "Song (1)")

    def test_cookies_of_the_site_are_sent_with_its_media_and_the_operator_s_are_not(self) -> None:
        def cookie(name: str) -> Cookie:
            return Cookie(0, name, "v", None, False, "h", True, False, "/", True, False, None, False, None, None, {})

        ydl = mock.Mock()
        ydl.cookiejar.get_cookies_for_url.return_value = [cookie("own"), cookie("a"), cookie("b")]
        own = {("h", "/", "own")}
        self.assertEqual(worker._cookies(ydl, {"url": "http://h/a"}, own), "a=v; b=v")
        self.assertEqual(worker.track({"url": "http://h/a"}, None, "a=v")["headers"], {"Cookie": "a=v"})
        ydl.cookiejar.get_cookies_for_url.return_value = [cookie("own")]
        self.assertIsNone(worker._cookies(ydl, {"url": "http://h/a"}, own))


class ListTests(SynchronousTestCase):
    def first(self, *answers: Any) -> tuple[dict[str, Any], str | None]:
        ydl = mock.Mock()
        ydl.extract_info.return_value, *rest = answers
        ydl.process_ie_result.side_effect = rest
        return worker.first_track(ydl, PAGE)

    def test_the_first_track_of_a_list_is_followed_to(self) -> None:
        reference, track = {"_type": "url", "url": "http://h/1"}, {"url": "http://h/1.mp3"}
        inner = {"_type": "playlist", "title": "Inner", "entries": [None, reference]}
        outer = {"_type": "playlist", "title": "Outer", "entries": [reference]}
        self.assertEqual(self.first(track), (track, None))
        self.assertEqual(self.first(outer, track), (track, "Outer"))
        self.assertEqual(self.first({**outer, "title": None, "entries": [track]}), (track, ""))
        self.assertEqual(self.first(outer, inner, track), (track, "Outer"))

    def test_where_there_is_none_there_is_nothing(self) -> None:
        endless = {"_type": "playlist", "entries": [{"_type": "url", "url": PAGE}]}
        for answers in (
            ({"_type": "playlist", "entries": []},),
            ({"_type": "playlist", "entries": None},),
            (None,),
            ({},),
            ({"url": 7},),
            (endless,) * (worker.HOPS_MOST + 1),
        ):
            self.assertRaises(worker.NothingThere, self.first, *answers)

    def test_an_entry_is_asked_for_by_its_own_page_else_by_its_media(self) -> None:
        info = {
            "_type": "playlist",
            "webpage_url": PAGE,
            "entries": [
                {"_type": "url", "url": "http://h/1", "webpage_url": "http://h/other"},
                {"url": "http://h/2.mp3", "webpage_url": "http://h/2"},
                {"url": "http://h/3.mp3", "webpage_url": PAGE},
                {"url": None, "webpage_url": PAGE},
                None,
                {"url": "http://h/4.mp3"},
                {"url": "http://h/5.mp3"},
            ],
        }
        made = [entry["url"] for entry in worker.entries(info, PAGE, 4)]
        self.assertEqual(made, ["http://h/1", "http://h/2", "http://h/3.mp3", "http://h/4.mp3"])

    def test_one_track_is_a_list_of_one(self) -> None:
        (entry,) = worker.entries({"url": "http://h/1.mp3", "title": "One"}, PAGE, 4)
        self.assertEqual((entry["url"], entry["title"]), (PAGE, "One"))
        self.assertEqual(worker.entries({}, PAGE, 4), [])

    def test_the_largest_picture_of_a_flat_entry_is_its_thumbnail(self) -> None:
        pictures = [{"url": "http://h/s.jpg"}, {"url": "http://h/l.jpg"}]
        self.assertEqual(worker.entry({"thumbnails": pictures}, PAGE)["thumbnail"], "http://h/l.jpg")


class SayTests(SynchronousTestCase):
    def test_an_answer_is_one_line_and_never_too_long(self) -> None:
        out = io.BytesIO()
        worker.say(out, {"id": 3, "ok": {"title": "a\nü"}})
        worker.say(out, {"id": 4, "ok": {"title": "x" * LINE_MOST}})
        first, second = out.getvalue().splitlines()
        self.assertEqual(json.loads(first), {"id": 3, "ok": {"title": "a\nü"}})
        self.assertEqual(json.loads(second)["error"]["kind"], "failed")
        self.assertEqual(worker.LINE_MOST, LINE_MOST)
