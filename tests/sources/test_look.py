"""A first look at a URL: what it asks for, what it makes of the answer, what it remembers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from audiosvc import errors
from audiosvc.sources.kinds import FIRST_BYTES as MOST_BYTES
from audiosvc.sources.kinds import LAST_BYTES
from audiosvc.sources.look import (
    FIRST_BYTES,
    LIST_BYTES,
    LISTS_MOST,
    LOOK_SECONDS,
    REDIRECTS_MOST,
    REMEMBERED_MOST,
    REMEMBERED_SECONDS,
    Answer,
    Look,
    Page,
    Seen,
)
from audiosvc.sources.model import Http, Source

PAGE = b"<!doctype html><title>x</title>"
OGG = b"OggS\0\2" + bytes(20) + b"\1\x13OpusHead"
SOUND = b"fLaC\0\0\0\x22"
MEDIA_LIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\na.ts\n"


@dataclass
class Answered:
    body: bytes = b""
    status: int = 206
    headers: Mapping[str, str] = field(default_factory=dict)
    url: str = ""


def ogg(serial: bytes, flags: int) -> bytes:
    return b"OggS\0" + bytes([flags]) + bytes(8) + serial + bytes(8) + b"\1\x08OpusHead"


class Web:
    """What is where, and what of it was asked for."""

    def __init__(self, places: Mapping[str, Answered | Exception]) -> None:
        self.places = dict(places)
        self.asked: list[str] = []
        self.limits: set[tuple[str, int, float, int]] = set()
        self.held: list[Deferred[Answer]] | None = None

    def fetch(
        self, url: str, headers: Mapping[str, str], most_bytes: int, seconds: float, redirects: int
    ) -> Deferred[Answer]:
        self.asked.append(url)
        self.limits.add((headers["Range"], most_bytes, seconds, redirects))
        if not headers["Range"].startswith("bytes=0-"):
            url = f"{url} {headers['Range']}"
        if self.held is not None:
            self.held.append(Deferred())
            return self.held[-1]
        there = self.places[url]
        if isinstance(there, Exception):
            return fail(there)
        return succeed(Answered(there.body[:most_bytes], there.status, there.headers, there.url or url))


class LookTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def looking(self, places: Mapping[str, Answered | Exception]) -> Look:
        self.web = Web(places)
        return Look(self.clock, self.web.fetch)

    def seen(self, places: Mapping[str, Answered | Exception], url: str = "http://h/a") -> Seen:
        return self.successResultOf(self.looking(places)(url))

    def source(self, places: Mapping[str, Answered | Exception], url: str = "http://h/a") -> tuple[Source, Http]:
        seen = self.seen(places, url)
        assert isinstance(seen, Source)
        assert isinstance(seen.media, Http)
        return seen, seen.media


class CountedTests(LookTestCase):
    """Whether a position has to be counted to."""

    def counted(self, first: Answered, last: Answered | Exception | None = None) -> bool:
        places: dict[str, Answered | Exception] = {"http://h/a": first}
        if last is not None:
            places[f"http://cdn/a bytes={500_000 - LAST_BYTES}-499999"] = last
        return self.source(places)[1].counted

    def test_an_ogg_is_looked_at_from_both_ends(self) -> None:
        first = Answered(ogg(b"one1", 2), headers={"content-range": "bytes 0-12287/500000"}, url="http://cdn/a")
        for last, counted in (
            (Answered(ogg(b"two2", 0)), True),
            (Answered(ogg(b"one1", 0)), False),
            (Answered(ogg(b"two2", 0), 200), False),
            (Answered(b"", 416), False),
            (errors.SourceTimeout(), False),
        ):
            self.assertEqual(self.counted(first, last), counted, last)
            self.assertEqual(len(self.web.asked), 2)
        ends = {(f"bytes={500_000 - LAST_BYTES}-499999", LAST_BYTES, LOOK_SECONDS, REDIRECTS_MOST)}
        self.assertEqual({limit for limit in self.web.limits if limit[1] == LAST_BYTES}, ends)

    def test_a_short_one_is_looked_at_once(self) -> None:
        for body, counted in ((ogg(b"one1", 2) + ogg(b"two2", 0), True), (ogg(b"one1", 2), False)):
            there = {"content-range": f"bytes 0-{len(body) - 1}/{len(body)}"}
            self.assertEqual(self.counted(Answered(body, headers=there)), counted)
            self.assertEqual(self.counted(Answered(body)), counted)
            self.assertEqual(len(self.web.asked), 1)

    def test_the_end_of_other_media_is_not_looked_at(self) -> None:
        self.assertFalse(self.counted(Answered(SOUND, headers={"content-range": "bytes 0-12287/500000"})))
        self.assertEqual(len(self.web.asked), 1)

    def test_a_server_that_gives_no_parts_leaves_no_choice(self) -> None:
        for body in (SOUND, ogg(b"one1", 2)):
            for headers, counted in (
                ({"content-length": "500000"}, True),
                ({"content-length": "500000", "accept-ranges": "none"}, True),
                ({"accept-ranges": "bytes"}, True),
                ({}, True),
            ):
                self.assertEqual(self.counted(Answered(body, 200, headers)), counted, headers)

    def test_one_that_says_it_does_but_gave_none_is_asked_again(self) -> None:
        said = {"content-length": "500000", "accept-ranges": "bytes"}
        for body, end in ((SOUND, b"\0"), (ogg(b"one1", 2), ogg(b"one1", 0))):
            first = Answered(body, 200, said, "http://cdn/a")
            for last, counted in (
                (Answered(end), False),
                (Answered(end, 200), True),
                (errors.SourceTimeout(), True),
            ):
                self.assertEqual(self.counted(first, last), counted, last)
                self.assertEqual(len(self.web.asked), 2)
        self.assertTrue(self.counted(Answered(ogg(b"one1", 2), 200, said, "http://cdn/a"), Answered(ogg(b"two2", 0))))
        short = Answered(SOUND, 200, said | {"content-length": str(len(SOUND))})
        self.assertFalse(self.counted(short))
        self.assertEqual(len(self.web.asked), 1)

    def test_neither_stations_nor_playlists_are_counted_in(self) -> None:
        self.assertFalse(self.counted(Answered(SOUND, 200, {"icy-name": "A Station"})))
        self.assertFalse(self.counted(Answered(MEDIA_LIST, 200, {"content-length": "49"})))


class SightTests(LookTestCase):
    def test_media_are_played_from_where_they_were_asked_for(self) -> None:
        source, media = self.source(
            {"http://h/a%20b.flac": Answered(SOUND, url="http://cdn/token")}, "http://h/a%20b.flac"
        )
        self.assertEqual((source.url, media), ("http://h/a%20b.flac", Http("http://h/a%20b.flac")))
        self.assertEqual((source.title, source.live, source.opus, source.extracted), ("a b", False, False, False))

    def test_what_is_asked_for_is_bounded(self) -> None:
        self.seen({"http://h/a": Answered(SOUND)})
        self.assertEqual(self.web.limits, {(f"bytes=0-{FIRST_BYTES - 1}", FIRST_BYTES, LOOK_SECONDS, REDIRECTS_MOST)})
        self.assertLessEqual(max(FIRST_BYTES, LIST_BYTES), MOST_BYTES)

    def test_a_page_is_a_page_whatever_it_is_called(self) -> None:
        url = "http://h/wiki/File:Song.ogg"
        self.assertEqual(self.seen({url: Answered(PAGE, headers={"content-type": "audio/ogg"})}, url), Page(url))

    def test_opus_and_a_varying_bit_rate_are_seen(self) -> None:
        self.assertTrue(self.source({"http://h/a": Answered(OGG)})[0].opus)
        frame = b"\xff\xfb\x90\0" + bytes(413)
        table = frame[:36] + b"Xing" + frame[40:]
        self.assertTrue(self.source({"http://h/a": Answered(table + frame)})[1].vbr)

    def test_a_station_is_live_and_called_by_its_name(self) -> None:
        answered = Answered(b"\xff\xfb", headers={"icy-name": " A\x1b Station\u202e ", "content-type": "audio/mpeg"})
        source, media = self.source({"http://h/a": answered})
        self.assertEqual((source.live, source.title, media.station), (True, "A Station", True))

    def test_a_playlist_is_played_as_it_is(self) -> None:
        source, media = self.source({"http://h/a": Answered(MEDIA_LIST + b"#EXT-X-ENDLIST\n")})
        self.assertEqual((source.live, media), (False, Http("http://h/a", demuxer="hls")))
        source, media = self.source({"http://h/a": Answered(b'<MPD type="dynamic">')})
        self.assertEqual((source.live, media.demuxer), (True, "dash"))

    def test_the_sound_of_a_master_playlist_is_gone_to(self) -> None:
        master = b'#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9,CODECS="mp4a.40.2"\nsound/a.m3u8?x=y\n'
        places = {
            "http://h/a": Answered(master, url="http://cdn/list/master.m3u8"),
            "http://cdn/list/sound/a.m3u8?x=y": Answered(MEDIA_LIST),
        }
        source, media = self.source(places)
        self.assertEqual((source.url, source.title, source.live), ("http://h/a", "a", True))
        self.assertEqual(media, Http("http://cdn/list/sound/a.m3u8?x=y", demuxer="hls"))

    def test_a_long_playlist_is_read_on(self) -> None:
        long = MEDIA_LIST + (b"#" * 99 + b"\n") * 200
        source, _ = self.source({"http://h/a": Answered(long[:20_000] + b"\n#EXT-X-ENDLIST\n")})
        self.assertFalse(source.live)
        self.assertEqual({limits[1] for limits in self.web.limits}, {FIRST_BYTES, LIST_BYTES})

    def test_the_list_of_a_station_leads_to_it(self) -> None:
        places = {
            "http://h/a.pls": Answered(b"[playlist]\nFile1=http://radio:8000/;\n"),
            "http://radio:8000/;": Answered(b"\xff", headers={"icy-br": "128"}),
        }
        source, media = self.source(places, "http://h/a.pls")
        self.assertEqual((source.url, source.live, media.url), ("http://h/a.pls", True, "http://radio:8000/;"))

    def test_a_semicolon_belongs_to_what_a_playlist_names(self) -> None:
        master = b'#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9,CODECS="mp4a.40.2"\n/;\n'
        places = {"http://h/a": Answered(master), "http://h/;": Answered(MEDIA_LIST)}
        self.assertEqual(self.source(places)[1].url, "http://h/;")


class RefusalTests(LookTestCase):
    def refused(self, places: Mapping[str, Answered | Exception], url: str = "http://h/a") -> Exception:
        failure = self.failureResultOf(self.looking(places)(url), errors.AudioServiceError)
        assert isinstance(failure.value, Exception)
        return failure.value

    def test_statuses_are_told_apart(self) -> None:
        for status, error in (
            (404, errors.SourceNotFound),
            (410, errors.SourceNotFound),
            (401, errors.SourceRefused),
            (403, errors.SourceRefused),
            (204, errors.SourceRefused),
            (302, errors.SourceRefused),
            (503, errors.SourceRefused),
        ):
            refused = self.refused({"http://h/a": Answered(PAGE, status)})
            self.assertEqual((type(refused), str(status) in str(refused)), (error, True))
        self.assertIsInstance(self.seen({"http://h/a": Answered(SOUND, 206)}), Source)

    def test_what_the_way_there_refuses_is_passed_on(self) -> None:
        for error in (errors.BlockedAddress("no"), errors.SourceTimeout(), errors.SourceUnreachable()):
            self.assertIs(self.refused({"http://h/a": error}), error)

    def test_an_odd_url_is_not_asked_for(self) -> None:
        for url in ("ftp://h/a", "http://h/a b", "http://u:p@h/"):
            self.assertIsInstance(self.refused({}, url), errors.UnsupportedUrl)
        self.assertEqual(self.web.asked, [])

    def test_nor_is_one_that_a_playlist_names(self) -> None:
        for entry in (b"file:///etc/passwd", b"ftp://h/x", b"http://u:p@h/x", b"//[::1", b"http://h:0/x"):
            listed = b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\n" + entry
            self.assertIsInstance(self.refused({"http://h/a": Answered(listed)}), errors.UnsupportedUrl, entry)
            self.assertEqual(self.web.asked, ["http://h/a"])

    def test_playlists_that_lead_nowhere_are_not_audio(self) -> None:
        for listed in (b"[playlist]\n", b"#EXTM3U\nhttp://h/a\n", b"#EXTM3U\nhttp://h/page\n"):
            places = {"http://h/a": Answered(listed), "http://h/page": Answered(PAGE)}
            self.assertIsInstance(self.refused(places), errors.NotAudio)
            self.assertLessEqual(len(self.web.asked), LISTS_MOST + 1)


class MemoryTests(LookTestCase):
    def test_it_looks_once_a_minute(self) -> None:
        look = self.looking({"http://h/a": Answered(SOUND), "http://h/b": Answered(PAGE)})
        for _ in range(3):
            for url in ("http://h/a", "http://h/b"):
                self.successResultOf(look(url))
        self.assertEqual(len(self.web.asked), 2)
        self.clock.advance(REMEMBERED_SECONDS)
        self.successResultOf(look("http://h/a"))
        self.assertEqual(len(self.web.asked), 3)

    def test_unless_it_is_asked_to_look_now(self) -> None:
        look = self.looking({"http://h/a": Answered(SOUND)})
        self.successResultOf(look("http://h/a"))
        self.web.places["http://h/a"] = Answered(PAGE)
        self.assertIsInstance(self.successResultOf(look("http://h/a", fresh=True)), Page)
        self.assertIsInstance(self.successResultOf(look("http://h/a")), Page)

    def test_a_refusal_is_not_remembered(self) -> None:
        look = self.looking({"http://h/a": Answered(SOUND, 503)})
        self.failureResultOf(look("http://h/a"), errors.SourceRefused)
        self.web.places["http://h/a"] = Answered(SOUND)
        self.successResultOf(look("http://h/a"))

    def test_what_was_seen_longest_ago_is_forgotten_first(self) -> None:
        urls = [f"http://h/{number}" for number in range(REMEMBERED_MOST + 1)]
        look = self.looking({url: Answered(SOUND) for url in urls})
        for url in urls:
            self.successResultOf(look(url))
        self.assertEqual(len(look._remembered), REMEMBERED_MOST)
        self.successResultOf(look(urls[1]))
        self.assertEqual(len(self.web.asked), len(urls))
        self.successResultOf(look(urls[0]))
        self.assertEqual(len(self.web.asked), len(urls) + 1)

    def test_who_asks_at_the_same_time_shares_a_look_and_may_leave(self) -> None:
        look = self.looking({})
        self.web.held = []
        first, second, third = (look("http://h/a") for _ in range(3))
        self.assertEqual(len(self.web.asked), 1)
        first.addErrback(lambda _: None)
        first.cancel()
        self.web.held[0].callback(Answered(SOUND, url="http://h/a"))
        self.assertEqual(self.successResultOf(second), self.successResultOf(third))

    def test_a_failure_is_shared_too(self) -> None:
        look = self.looking({})
        self.web.held = []
        asked = [look("http://h/a") for _ in range(2)]
        self.web.held[0].errback(errors.SourceTimeout())
        for answer in asked:
            self.failureResultOf(answer, errors.SourceTimeout)
