"""Telling media from playlists and pages by their first bytes."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.sources import kinds
from audiosvc.sources.kinds import FIRST_BYTES, PAGE, Kind, Leads, tell, tell_file
from tests.ffmpeg.media import FFMPEG, STEPS, folder

URL = "http://h/x"

CONTAINERS = {
    "adts": ("aac",),
    "ac3": ("ac3",),
    "aiff": ("pcm_s16be",),
    "au": ("pcm_s16be",),
    "caf": ("pcm_s16be",),
    "avi": ("libmp3lame",),
    "flv": ("libmp3lame",),
    "asf": ("wmav2",),
    "w64": ("pcm_s16le",),
    "tta": ("tta",),
    "wv": ("wavpack",),
    "mpegts": ("aac",),
    "mpeg": ("mp2",),
    "mp2": ("mp2",),
    "dts": ("dca", "-strict", "-2", "-ar", "48000"),
}
"""What FFmpeg makes beyond the usual kinds: its muxer, the codec and what that needs."""

TOLD = {"adts": "aac", "mp2": "mp3"}
"""Demuxers that are called otherwise."""


def start(name: str) -> bytes:
    return (folder() / name).read_bytes()[:FIRST_BYTES]


def opus_page(*bodies: bytes, flags: int = 2) -> bytes:
    return b"".join(b"OggS\0" + bytes([flags]) + bytes(20) + b"\1" + bytes([len(body)]) + body for body in bodies)


def ogg(*serials: bytes, flags: int = 2) -> bytes:
    """A page of each of these streams."""
    return b"".join(b"OggS\0" + bytes([flags]) + bytes(8) + serial + bytes(8) + b"\1\4body" for serial in serials)


def frame(bits: int, size: int) -> bytes:
    return bits.to_bytes(4, "big") + bytes(size - 4)


MP3_FRAME = frame(0xFFFB9000, 417)
"""MPEG 1, layer 3, 128 kbit/s, 44.1 kHz."""


class ContainerTests(SynchronousTestCase):
    def test_the_usual_files_are_told(self) -> None:
        for name, container in (
            ("steps.wav", "wav"),
            ("steps.ogg", "ogg"),
            ("steps.mp3", "mp3"),
            ("steps.m4a", "mov"),
            ("fast.m4a", "mov"),
            ("steps.flac", "flac"),
            ("steps.opus", "ogg"),
            ("cover.mp3", "mp3"),
        ):
            kind = tell(start(name), {}, URL)
            self.assertEqual((name, kind.leads, kind.container), (name, Leads.TO_MEDIA, container))
            self.assertEqual((name, kind.opus, kind.live), (name, name == "steps.opus", False))

    def test_the_less_usual_are_told_too(self) -> None:
        with tempfile.TemporaryDirectory() as made:
            for muxer, codec in CONTAINERS.items():
                path = Path(made) / muxer
                argv = [FFMPEG, "-v", "error", "-f", "lavfi", "-i", STEPS, "-t", "1", "-c:a", *codec, "-f", muxer, path]
                subprocess.run(argv, check=True, timeout=60)
                kind = tell(path.read_bytes()[:FIRST_BYTES], {"content-type": "text/html"}, URL)
                self.assertEqual((muxer, kind.leads, kind.container), (muxer, Leads.TO_MEDIA, TOLD.get(muxer, muxer)))

    def test_what_begins_with_nothing_but_text_is_told_by_its_own_beginning(self) -> None:
        for first, container in ((b"MAC \x96\x0f", "ape"), (b"MP+\x07", "mpc"), (b"MPCKSH", "mpc8"), (b"tBaK", "tak")):
            self.assertEqual(tell(first, {}, URL).container, container)
        self.assertEqual(tell(b"#!AMR\nabc", {}, URL).container, "amr")

    def test_a_tag_in_front_of_other_sound_is_seen_through(self) -> None:
        tag = b"ID3\4\0\0\0\0\0\x0a" + bytes(10)
        adts = frame(0xFFF15080, 4)[:3] + bytes([0x40 | 0, 0x20, 0x1F, 0xFC]) + bytes(249)
        self.assertEqual(tell(tag + b"fLaC", {}, URL).container, "flac")
        self.assertEqual(tell(tag + MP3_FRAME * 2, {}, URL).container, "mp3")
        self.assertEqual(tell(tag + adts * 2, {}, URL).container, "aac")
        self.assertEqual(tell(b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(90), {}, URL).container, "mp3")
        self.assertEqual(tell(b"ID3\xff", {}, URL).container, "mp3")

    def test_frames_of_mpeg_audio_are_measured_right(self) -> None:
        for bits, size in (
            (0xFFFB9000, 417),
            (0xFFFB9200, 418),
            (0xFFFD9000, 522),
            (0xFFFF9000, 312),
            (0xFFF39000, 261),
            (0xFFE39000, 522),
        ):
            self.assertEqual(tell(frame(bits, size) * 2, {}, URL).container, "mp3", hex(bits))
            self.assertIsNone(tell(frame(bits, size + 1) * 2, {}, URL).container, hex(bits))

    def test_what_cannot_be_a_frame_is_none(self) -> None:
        for bits in (0xFFEB9000, 0xFFF99000, 0xFFFBF000, 0xFFFB0000, 0xFFFB9C00):
            self.assertIsNone(tell(frame(bits, 417) * 2, {}, URL).container, hex(bits))
        self.assertIsNone(tell(b"\xff\xf1\x7c\x80\x40\x20\x1f\xfc" * 99, {}, URL).container)

    def test_a_varying_bit_rate_is_told_by_its_table(self) -> None:
        for table, vbr in ((b"Xing", True), (b"VBRI", True), (b"Info", False)):
            first = MP3_FRAME[:36] + table + MP3_FRAME[40:]
            self.assertEqual(tell(first + MP3_FRAME, {}, URL).vbr, vbr)
            self.assertEqual(tell(b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + first + MP3_FRAME, {}, URL).vbr, vbr)
        self.assertFalse(tell(b"ID3\4\0\0\0\0\x7f\x0a" + bytes(50), {}, URL).vbr)


class ChainTests(SynchronousTestCase):
    def test_it_ends_in_another_stream_than_it_begins_with(self) -> None:
        later = ogg(b"next", flags=0)
        for first, last, chained in (
            (ogg(b"this"), later, True),
            (ogg(b"this", b"that"), ogg(b"that", flags=0) + later + bytes(40_000), True),
            (ogg(b"this"), ogg(b"this", flags=4), False),
            (ogg(b"this", b"that"), later + ogg(b"that", flags=4), False),
            (ogg(b"this"), later + ogg(b"this", flags=4)[:26], True),
            (ogg(b"this"), later[:26], False),
            (ogg(b"this"), bytes(100), False),
            (ogg(b"this"), b"", False),
            (ogg(b"this", flags=0), later, False),
            (b"fLaC", later, False),
            (b"", later, False),
        ):
            self.assertEqual(kinds.is_chained(first, last), chained, (first, last))

    def test_real_ones(self) -> None:
        one, other = (folder() / "steps.ogg").read_bytes(), (folder() / "steps.opus").read_bytes()
        self.assertFalse(kinds.is_chained(one, one))
        self.assertTrue(kinds.is_chained(one, (one + other)[-kinds.LAST_BYTES :]))


class OpusTests(SynchronousTestCase):
    def test_it_is_told_in_webm(self) -> None:
        with tempfile.TemporaryDirectory() as made:
            for codec, name in (("libopus", "a.webm"), ("libvorbis", "b.webm"), ("aac", "c.mkv")):
                opus = codec == "libopus"
                path = Path(made) / name
                argv = [FFMPEG, "-v", "error", "-f", "lavfi", "-i", "testsrc=d=1:s=64x48", "-f", "lavfi", "-i", STEPS]
                subprocess.run([*argv, "-t", "1", "-c:v", "libvpx", "-c:a", codec, path], check=True, timeout=60)
                kind = tell(path.read_bytes(), {}, URL)
                self.assertEqual((name, kind.container, kind.opus), (name, "matroska", opus))
                self.assertEqual(tell_file(path.read_bytes()), opus)

    def test_of_several_streams_of_an_ogg_the_first_of_sound_counts(self) -> None:
        for bodies, opus in (
            ((b"OpusHead", b"\x01vorbis"), True),
            ((b"\x80theora", b"OpusHead"), True),
            ((b"\x01vorbis", b"OpusHead"), False),
            ((b"\x80theora",), False),
            ((b"\x80theora",) * 40 + (b"OpusHead",), False),
        ):
            self.assertEqual(tell_file(opus_page(*bodies)), opus)
        self.assertFalse(tell_file(opus_page(b"OpusHead", flags=0)))

    def test_a_file_that_ends_too_early_holds_none(self) -> None:
        whole = start("steps.opus")
        self.assertTrue(tell_file(whole))
        self.assertEqual([tell_file(whole[:cut]) for cut in range(36)], [False] * 36)

    def test_sizes_that_are_not_known_or_lie_are_no_obstacle(self) -> None:
        track = b"\x83\x81\x02\x86\x86A_OPUS"
        tracks = b"\x16\x54\xae\x6b\xff" + b"\xae" + bytes([0x80 | len(track)]) + track
        head = b"\x1a\x45\xdf\xa3\x80"
        self.assertTrue(tell_file(head + b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + tracks))
        self.assertTrue(tell_file(head + b"\x18\x53\x80\x67\x08\x7f\xff\xff\xff" + tracks))
        self.assertFalse(tell_file(head + b"\x18\x53\x80\x67\x81" + tracks))
        self.assertFalse(tell_file(head + b"\0" * 100))


class PageTests(SynchronousTestCase):
    def test_a_page_is_one_whatever_its_name_and_type_say(self) -> None:
        for text in (
            b"<!DOCTYPE html><html>",
            b"\xef\xbb\xbf\r\n <HTML><MPD-not>",
            b"<?xml version='1.0'?><rss>",
            b'{"a": 1}',
            b"words",
            b"A page of words: W\xf6rter",
            "abcdefghijklmnoö".encode(),
        ):
            for headers in ({}, {"content-type": "audio/mpeg"}, {"icy-name": "x"}):
                self.assertEqual(tell(text, headers, "http://h/song.mp3?dl=0"), PAGE)

    def test_media_are_media_whatever_their_type_says(self) -> None:
        self.assertEqual(tell(start("steps.ogg"), {"content-type": "text/html"}, URL).leads, Leads.TO_MEDIA)

    def test_other_files_are_left_to_the_extractor(self) -> None:
        for first in (
            b"\x89PNG\r\n\x1a\n",
            b"\xff\xd8\xff\xe0",
            b"GIF89a\1\0",
            b"%PDF-1.7",
            b"PK\3\4\0",
            b"\x1f\x8b\x08\0",
        ):
            self.assertEqual(tell(first, {"content-type": "audio/mpeg"}, URL), PAGE)
        self.assertEqual(tell(b"\0\1\2\3", {"content-type": "image/x-odd; a=b"}, URL), PAGE)

    def test_unknown_bytes_are_left_to_ffmpeg(self) -> None:
        for headers in ({}, {"content-type": "application/octet-stream"}, {"content-type": "Audio/X-Odd"}):
            self.assertEqual(tell(b"\0\1\2\3", headers, URL), Kind(Leads.TO_MEDIA))

    def test_where_there_are_no_bytes_the_name_and_the_type_decide(self) -> None:
        self.assertEqual(tell(b"", {}, "http://h/a%2EMP3?x=y.html"), Kind(Leads.TO_MEDIA))
        self.assertEqual(tell(b"", {"content-type": "audio/mpeg"}, URL), Kind(Leads.TO_MEDIA))
        self.assertEqual(tell(b"", {}, "http://[bad"), PAGE)
        self.assertEqual(tell(b"", {}, "http://h/a.html"), PAGE)


class StationTests(SynchronousTestCase):
    def test_a_station_is_told_by_its_headers_and_entered_in_mid_frame(self) -> None:
        kind = tell(b"\xff\xfb\x00" + bytes(300) + MP3_FRAME * 3, {"icy-name": "A Station"}, URL)
        self.assertEqual(kind, Kind(Leads.TO_MEDIA, "mp3", live=True, station=True))
        self.assertEqual(tell(b"", {"icy-br": "128"}, URL), Kind(Leads.TO_MEDIA, live=True, station=True))
        self.assertTrue(tell(b"ICY 200 OK\r\nicy-name: x\r\n\r\n", {}, URL).station)

    def test_one_may_send_opus(self) -> None:
        self.assertTrue(tell(start("steps.opus"), {"icy-name": "A Station"}, URL).opus)

    def test_what_a_stations_server_keeps_as_a_file_is_not_live(self) -> None:
        kind = tell(start("steps.mp3"), {"icy-name": "A Station", "content-length": "99"}, URL)
        self.assertEqual((kind.station, kind.live), (True, False))


class PlaylistTests(SynchronousTestCase):
    def test_hls_is_told_by_what_it_says_and_not_by_its_type(self) -> None:
        listed = b"#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\na.ts\n"
        kind = tell(listed + b"#EXT-X-ENDLIST", {"content-type": "text/plain"}, URL, whole=True)
        self.assertEqual(kind, Kind(Leads.TO_PLAYLIST, "hls"))
        self.assertTrue(tell(listed, {}, URL, whole=True).live)

    def test_dash_is_told_in_any_dress(self) -> None:
        for text, live in (
            (b'<?xml version="1.0"?>\n<!-- x -->\n<MPD type="static">', False),
            (b"<MPD\n\ttype = 'dynamic'>", True),
            (b'<mpd:MPD xmlns:mpd="x" type="dynamic">', True),
            (b'<MPD><Period type="dynamic">', False),
        ):
            self.assertEqual(tell(text, {}, URL), Kind(Leads.TO_PLAYLIST, "dash", live=live))

    def test_the_lists_of_stations_lead_to_their_stream(self) -> None:
        stream = "http://h:8000/live"
        for text in (
            b"[playlist]\nNumberOfEntries=1\nFile1=http://h:8000/live\nTitle1=x\n",
            b"\xef\xbb\xbf[Playlist]\r\nfile2 = http://h:8000/live\r\n",
            b"#EXTM3U\n#EXTINF:-1,A Station\nhttp://h:8000/live\nhttp://other/\n",
        ):
            self.assertEqual(tell(text, {}, URL), Kind(Leads.TO_PLAYLIST, entry=stream))
        plain = b"# one\nfile:///etc/passwd\nhttp://h:8000/live\n"
        self.assertEqual(tell(plain, {"content-type": "audio/x-mpegurl"}, URL).entry, stream)
        self.assertEqual(tell(plain, {}, "http://h/a.m3u").entry, stream)
        self.assertEqual(tell(plain, {}, URL), PAGE)

    def test_one_that_names_nothing_leads_nowhere(self) -> None:
        for text in (b"[playlist]\nFile1=file:///etc/passwd\n", b"#EXTM3U\nrtsp://h/x\n"):
            self.assertEqual(tell(text, {}, URL), Kind(Leads.TO_PLAYLIST))


class HostileTests(SynchronousTestCase):
    beginnings = st.sampled_from(
        (
            *(b"", b"OggS", b"OggS\0\2", b"\x1aE\xdf\xa3", b"ID3", b"RIFF", b"\xff\xfb\x90\0", b"\xff\xf1\x50\x80"),
            *(b"#EXTM3U\n", b"#EXTM3U\n#EXT-X-STREAM-INF:", b"[playlist]\n", b"<MPD ", b"ICY 200", b"\0\0\0\x20ftyp"),
        )
    )
    types = st.sampled_from(("", "audio/mpeg", "text/html", ";", "audio/x-mpegurl"))

    @settings(deadline=None, max_examples=300)
    @given(beginnings, st.binary(max_size=2000), types)
    def test_nothing_raises(self, beginning: bytes, rest: bytes, content_type: str) -> None:
        kind = tell(beginning + rest, {"content-type": content_type}, URL)
        self.assertIsInstance(kind, Kind)
        self.assertIn(tell_file(beginning + rest), (True, False))

    @settings(deadline=None, max_examples=200)
    @given(st.sampled_from(["steps.opus", "steps.mp3", "steps.m4a", "steps.flac"]), st.data())
    def test_nor_do_real_files_with_bytes_changed(self, name: str, data: st.DataObject) -> None:
        first = bytearray(start(name)[:3000])
        for at in data.draw(st.lists(st.integers(0, len(first) - 1), max_size=30)):
            first[at] = data.draw(st.integers(0, 255))
        self.assertIsInstance(tell(bytes(first), {}, URL), Kind)

    @settings(deadline=None)
    @given(st.text(max_size=200))
    def test_nor_do_urls(self, url: str) -> None:
        self.assertEqual(kinds.suffix_of(url), kinds.suffix_of(url).lower())

    def test_no_bytes_take_long(self) -> None:
        heads = (
            b"",
            b"#EXTM3U\n#EXT-X-STREAM-INF:",
            b"<?xml",
            b"[playlist]\n",
            b"\x1aE\xdf\xa3\x80\x18\x53\x80\x67\xff",
        )
        units = (
            b"<MPD ",
            b"\xff",
            b"\xff\xfb\x90\0",
            b"\xff\xf1",
            b"OggS\0\2",
            b"\x1aE\xdf\xa3\x80",
            b"\xae\x80",
            b"A",
        )
        for first in (head + unit * (FIRST_BYTES // len(unit)) for head in heads for unit in units):
            before = time.process_time()
            tell(first, {}, URL)
            self.assertLess(time.process_time() - before, 0.5)
