"""What is made of what yt-dlp found, hostile or not."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase
from yt_dlp.utils import smuggle_url

from audiosvc import errors
from audiosvc.extract import results
from audiosvc.extract.calls import Entry, Listing, Track, Trouble
from audiosvc.ffmpeg.command import HEADERS_MOST
from audiosvc.session.track import SECONDS_MOST, URL_MOST
from audiosvc.sources.model import Http, Source
from tests.extract.support import ENTRY, TRACK

PAGE = "https://page.example/watch"


def found(**fields: Any) -> Track:
    return msgspec.convert({**TRACK, **fields}, Track)


def listed(**fields: Any) -> list[Source]:
    return results.sources(Listing([msgspec.convert({**ENTRY, **fields}, Entry)]), 10)


def headers_of(source: Source) -> dict[str, str]:
    assert isinstance(source.media, Http)
    return dict(source.media.headers)


class TrackTests(SynchronousTestCase):
    def test_a_track_is_played_by_its_media_and_known_by_its_page(self) -> None:
        made = results.source(
            found(thumbnail="https://i.example/1.jpg", uploader="Somebody", headers={"Referer": PAGE}), PAGE
        )
        self.assertEqual(
            made,
            Source(
                PAGE,
                Http("http://media.example/a.mp3", {"referer": PAGE}),
                "A song",
                12.5,
                "https://i.example/1.jpg",
                "Somebody",
                extracted=True,
            ),
        )

    def test_media_that_may_not_be_opened_is_refused(self) -> None:
        for url in (
            *("rtmp://h/x", "rtsp://h/x", "file:///etc/passwd", "/etc/passwd", "concat:a|b", "data:audio/wav;base64,x"),
            *("tcp://127.0.0.1:22", "-i", "", "http://", "http://u:p@h/x", "http://h/a b", "http://h/\r\nX: y"),
            *("subfile,,start,0,end,9,,:/etc/passwd", "http://h:99999/", "javascript:x", "http://h/" + "x" * URL_MOST),
            "http://h/" + "é" * (URL_MOST // 2),
        ):
            with self.subTest(url[:60]):
                self.assertRaises(errors.ExtractionFailed, results.source, found(url=url), PAGE)

    def test_ways_of_transfer_that_ffmpeg_cannot_go_are_refused(self) -> None:
        for protocol in ("rtmp", "rtmpe", "mms", "rtsp", "ism", "f4m", "mhtml", "websocket_frag", "youtube_live_chat"):
            self.assertRaises(errors.ExtractionFailed, results.source, found(protocol=protocol), PAGE)

    def test_lists_of_segments_are_named_to_ffmpeg(self) -> None:
        for protocol, demuxer in (
            ("m3u8", "hls"),
            ("m3u8_native", "hls"),
            ("http_dash_segments", "dash"),
            (None, None),
        ):
            media = results.source(found(protocol=protocol), PAGE).media
            assert isinstance(media, Http)
            self.assertEqual(media.demuxer, demuxer)

    def test_opus_is_known_in_webm_and_ogg_alone(self) -> None:
        for codec, ext, protocol, opus in (
            ("opus", "webm", "https", True),
            ("Opus", "ogg", "http", True),
            ("opus", "opus", None, True),
            ("opus", "mp4", "https", False),
            ("opus", "webm", "http_dash_segments", False),
            ("opus", None, "https", False),
            ("mp4a.40.2", "webm", "https", False),
            (None, "webm", "https", False),
        ):
            self.assertIs(results.source(found(codec=codec, ext=ext, protocol=protocol), PAGE).opus, opus)

    def test_what_goes_on_by_itself_has_no_duration(self) -> None:
        made = results.source(found(live=True, duration=60.0), PAGE)
        self.assertEqual((made.live, made.duration), (True, None))

    def test_durations_that_are_none_are_not_known(self) -> None:
        for seconds in (None, 0.0, -1.0, float("nan"), float("inf"), -float("inf"), SECONDS_MOST + 1, 1e300):
            self.assertIsNone(results.source(found(duration=seconds), PAGE).duration)
        self.assertEqual(results.source(found(duration=SECONDS_MOST), PAGE).duration, SECONDS_MOST)

    def test_texts_are_cleaned(self) -> None:
        made = results.source(found(title="a\r\nb\x1b[31m\u202ec\u2066\0d", uploader="x" * 5000), PAGE)
        self.assertEqual((made.title, len(made.uploader or "")), ("a b [31mc d", 200))

    def test_a_track_without_a_title_is_called_after_its_media(self) -> None:
        for title in (None, "", "\u202e\n "):
            self.assertEqual(results.source(found(title=title), PAGE).title, "a")
        self.assertIsNone(results.source(found(uploader="\n"), PAGE).uploader)

    def test_pictures_are_pictures_on_the_web(self) -> None:
        for url in ("javascript:alert(1)", "data:image/png;base64,x", "//h/i.jpg", "", "http://h/" + "x" * 2048):
            self.assertIsNone(results.source(found(thumbnail=url), PAGE).thumbnail)

    def test_a_list_is_known_as_one(self) -> None:
        self.assertIsNone(results.source(found(), PAGE).playlist)
        self.assertEqual(results.source(found(playlist=""), PAGE).playlist, "")
        self.assertEqual(results.source(found(playlist="My\nlist"), PAGE).playlist, "My list")


class HeaderTests(SynchronousTestCase):
    def test_only_those_that_ffmpeg_may_send_are_taken(self) -> None:
        given = {
            "User-Agent": "Mozilla", "Referer": PAGE, "COOKIE": "a=b", "Origin": "https://page.example",
            "Accept": "*/*", "Accept-Language": "en", "Host": "127.0.0.2", "Range": "bytes=0-", "X-Y": "z",
            "Proxy-Authorization": "x", "Connection": "close", "Content-Length": "5", "Sec-Fetch-Mode": "navigate",
            "coo\u212aie": "kelvin", "Referer: x\r\nX": "y", "": "",
        }  # fmt: skip
        self.assertEqual(
            headers_of(results.source(found(headers=given), PAGE)),
            {
                "user-agent": "Mozilla", "referer": PAGE, "cookie": "a=b", "origin": "https://page.example",
                "accept": "*/*", "accept-language": "en",
            },
        )  # fmt: skip

    def test_a_value_that_could_be_more_than_a_value_is_left_out(self) -> None:
        for value in ("x\r\nHost: i", "x\ny", "x\ry", "x\0", "x\ty", "\x7f", "é", "\u2028"):
            self.assertEqual(headers_of(results.source(found(headers={"Referer": value}), PAGE)), {})

    def test_too_many_are_refused(self) -> None:
        fits = HEADERS_MOST - len("cookie: \r\n")
        self.assertEqual(len(results.headers({"Cookie": "x" * fits})["cookie"]), fits)
        self.assertRaises(errors.ExtractionFailed, results.headers, {"Cookie": "x" * (fits + 1)})


class ListTests(SynchronousTestCase):
    def test_entries_are_known_by_the_url_they_are_played_by(self) -> None:
        (made,) = listed(duration=60.0, uploader="Somebody", thumbnail="http://i.example/1.jpg")
        self.assertEqual((made.url, made.title, made.duration), ("http://page.example/1", "One", 60.0))
        self.assertEqual((made.uploader, made.thumbnail), ("Somebody", "http://i.example/1.jpg"))
        self.assertEqual(made.media, Http("http://page.example/1"))

    def test_entries_that_cannot_be_asked_for_are_left_out(self) -> None:
        for url in ("aXbYcZ", "ytsearch:x", "rtmp://h/x", "file:///etc/passwd", "", "http://h/#x__youtubedl_smuggle=x"):
            self.assertEqual(listed(url=url), [])

    def test_what_yt_dlp_tells_itself_is_cut_off(self) -> None:
        for url, shown in (
            ("http://h/a.mp3", "http://h/a.mp3"),
            ("http://h/a#track=3", "http://h/a#track=3"),
            ("http://h/a#track=3#one", "http://h/a#track=3#one"),
        ):
            smuggled = smuggle_url(url, {"force_videoid": "1", "to_generic": True})
            self.assertIn(results.SMUGGLED, smuggled)
            (made,) = listed(url=smuggled)
            self.assertEqual(made.url, shown)
            self.assertEqual(results.page(made.url), shown)
        self.assertEqual(listed(url="#__youtubedl_smuggle=x"), [])

    def test_hostile_words_are_cleaned(self) -> None:
        (made,) = listed(title="\u202etrap\n" + "x" * 500, duration=float("nan"), thumbnail="javascript:x")
        self.assertEqual((len(made.title or ""), made.duration, made.thumbnail), (200, None, None))

    def test_a_list_is_cut_off(self) -> None:
        entry = msgspec.convert(ENTRY, Entry)
        self.assertEqual(len(results.sources(Listing([entry] * 20), 10)), 10)


class PageTests(SynchronousTestCase):
    def test_a_page_is_asked_for_as_it_was_parsed(self) -> None:
        self.assertEqual(results.page("HTTPS://Page.Example/wätch?v=1"), "https://page.example/w%C3%A4tch?v=1")

    def test_a_fragment_that_may_name_the_track_is_kept(self) -> None:
        self.assertEqual(results.page("http://h/a#track=3&ä"), "http://h/a#track=3&%C3%A4")

    def test_no_orders_are_smuggled_in(self) -> None:
        self.assertRaises(errors.UnsupportedUrl, results.page, "http://h/#__youtubedl_smuggle=%7B%7D")

    def test_what_is_no_page_is_refused(self) -> None:
        for url in ("--batch-file=/etc/passwd", "ytsearch:x", "file:///etc/passwd", "http://h/" + "x" * URL_MOST):
            self.assertRaises(errors.UnsupportedUrl, results.page, url)


class TroubleTests(SynchronousTestCase):
    def test_each_kind_of_trouble_is_an_error(self) -> None:
        for kind, error in (
            ("nothing", errors.ExtractionFailed),
            ("failed", errors.ExtractionFailed),
            ("memory", errors.ExtractionFailed),
            ("not_found", errors.SourceNotFound),
            ("refused", errors.SourceRefused),
            ("unreachable", errors.SourceUnreachable),
        ):
            for message in ("", "why\nnot"):
                told = results.error(Trouble(kind, message))  # type: ignore[arg-type]
                self.assertIs(type(told), error)
                self.assertTrue(told.message)
                self.assertNotIn("\n", told.message)

    def test_the_site_s_words_are_passed_on(self) -> None:
        self.assertIn("Private video", results.error(Trouble("failed", "Private video")).message)
        self.assertIn("403", results.error(Trouble("refused", "it answered 403")).message)
