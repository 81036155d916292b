"""What of a playlist is to be played."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.sources.playlists import LINE_MOST, LINES_MOST, read_hls, read_m3u, read_pls


def master(*variants: str, media: str = "") -> bytes:
    """A master playlist of variants, each its attributes; they are called `v0`, `v1` ..."""
    lines = ["#EXTM3U", *([f"#EXT-X-MEDIA:{line}" for line in media.split("\n")] if media else [])]
    for number, attributes in enumerate(variants):
        lines += [f"#EXT-X-STREAM-INF:{attributes}", "", f"v{number}"]
    return "\r\n".join(lines).encode()


def chosen(*variants: str, media: str = "") -> str | None:
    live, entry = read_hls(master(*variants, media=media), whole=True)
    assert not live
    return entry


VIDEO = 'CODECS="avc1.4d401f,mp4a.40.2",RESOLUTION=640x360'
SOUND = 'CODECS="mp4a.40.2"'


class MasterTests(SynchronousTestCase):
    def test_sound_alone_goes_before_any_video_and_the_best_of_it_before_the_rest(self) -> None:
        variants = (f"BANDWIDTH=90000,{VIDEO}", f"BANDWIDTH=64000,{SOUND}", f"BANDWIDTH=128000,{SOUND}")
        self.assertEqual(chosen(*variants), "v2")

    def test_not_more_of_it_than_can_be_heard(self) -> None:
        lossless = 'BANDWIDTH=2000000,CODECS="fLaC"'
        self.assertEqual(chosen(lossless, f"BANDWIDTH=256000,{SOUND}"), "v1")
        self.assertEqual(chosen(lossless, 'BANDWIDTH=900000,CODECS="alac"'), "v1")

    def test_a_rendition_of_sound_goes_before_video(self) -> None:
        media = 'TYPE=AUDIO,GROUP-ID="a",NAME="fr",URI="fr.m3u8"\nTYPE=AUDIO,GROUP-ID="a",DEFAULT=YES,URI="en.m3u8"'
        media += '\nTYPE=SUBTITLES,GROUP-ID="a",DEFAULT=YES,URI="s.m3u8"\nTYPE=AUDIO,GROUP-ID="b",URI="b.m3u8"'
        self.assertEqual(chosen(f'BANDWIDTH=1,{VIDEO},AUDIO="a"', media=media), "en.m3u8")
        variants = (f'BANDWIDTH=1,{VIDEO},AUDIO="a"', f'BANDWIDTH=2,{VIDEO},AUDIO="b"')
        self.assertEqual(chosen(*variants, media=media), "b.m3u8")

    def test_a_rendition_inside_of_the_variant_is_the_variant(self) -> None:
        media = 'TYPE=AUDIO,GROUP-ID="a",DEFAULT=YES,NAME="x"'
        variants = (f'BANDWIDTH=9,{VIDEO},AUDIO="a"', f'BANDWIDTH=5,{VIDEO},AUDIO="none"')
        self.assertEqual(chosen(*variants, media=media), "v1")

    def test_of_video_the_cheapest_that_sounds(self) -> None:
        silent = 'BANDWIDTH=1,CODECS="avc1.4d401f"'
        self.assertEqual(chosen(silent, f"BANDWIDTH=9,{VIDEO}", f"BANDWIDTH=5,{VIDEO}"), "v2")
        self.assertEqual(chosen("BANDWIDTH=9", "BANDWIDTH=5"), "v1")

    def test_where_nothing_can_be_chosen_ffmpeg_may(self) -> None:
        self.assertIsNone(chosen('CODECS="avc1.4d401f"'))
        self.assertIsNone(read_hls(b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{$cdn}/a\n", whole=True)[1])
        self.assertIsNone(read_hls(b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n", whole=True)[1])

    def test_an_odd_bandwidth_is_none(self) -> None:
        for odd in ("BANDWIDTH=x", "BANDWIDTH=\u0663", "BANDWIDTH=" + "9" * 99, "X=1", ""):
            self.assertEqual(chosen("BANDWIDTH=7", odd), "v1")


class MediaTests(SynchronousTestCase):
    def test_a_list_with_an_end_is_not_live_and_one_without_is(self) -> None:
        listed = b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:6,\na.ts\n"
        for rest, live in ((b"", True), (b"#EXT-X-ENDLIST\n", False), (b"#EXT-X-PLAYLIST-TYPE:VOD\n", False)):
            self.assertEqual(read_hls(listed + rest, whole=True), (live, None))

    def test_of_one_that_goes_on_it_is_known_by_where_it_begins(self) -> None:
        for number, live in ((b"0", False), (b"1", False), (b"", False), (b"7", True), (b"x", False)):
            listed = b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:" + number + b"\n#EXTINF:6,\na.ts\n"
            self.assertEqual(read_hls(listed, whole=False), (live, None))


class BoundsTests(SynchronousTestCase):
    def test_lines_too_long_and_too_many_are_not_looked_at(self) -> None:
        self.assertIsNone(read_m3u(b"http://h/" + b"x" * LINE_MOST))
        self.assertIsNone(read_m3u(b"\n" * LINES_MOST + b"http://h/\n"))

    @settings(deadline=None)
    @given(st.binary(max_size=500))
    def test_nothing_raises(self, text: bytes) -> None:
        for read in (read_m3u, read_pls):
            self.assertIsInstance(read(text), (str, type(None)))
        for head in (b"", b"#EXTM3U\n#EXT-X-STREAM-INF:", b"#EXT-X-MEDIA-SEQUENCE:"):
            live, entry = read_hls(head + text, whole=False)
            self.assertIn(live, (True, False))
            self.assertIsInstance(entry, (str, type(None)))
