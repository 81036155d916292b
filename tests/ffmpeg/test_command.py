"""FFmpeg's command lines, and what its children see of the environment."""

from __future__ import annotations

import os
import ssl
import tempfile
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.errors import UnsupportedUrl
from audiosvc.ffmpeg import command
from audiosvc.ffmpeg.command import (
    EXACT_SECONDS,
    HEADERS_MOST,
    Shown,
    child_environment,
    copy_argv,
    decode_argv,
    probe_argv,
)
from audiosvc.ffmpeg.report import COLOURS
from audiosvc.sources.model import File, Http, Media, Source, Tone

SONG = File(Path("/music/-a song%d.ogg"))


def argv(media: Media, position: float = 0.0, duration: float | None = None) -> list[str]:
    return decode_argv("/usr/bin/ffmpeg", Source("x", media), position, duration)


def value(argv: list[str], option: str) -> str:
    return argv[argv.index(option) + 1]


def headers(**named: str) -> str:
    given = {name.replace("_", "-"): text for name, text in named.items()}
    return value(argv(Http("http://h/x", given)), "-headers")


class DecodeTests(SynchronousTestCase):
    def test_a_file_is_opened_by_its_path_and_by_nothing_but_the_file_protocol(self) -> None:
        made = argv(SONG)
        self.assertEqual(value(made, "-i"), "file:/music/-a song%d.ogg")
        self.assertEqual(value(made, "-protocol_whitelist"), "file")
        self.assertEqual(made[-1], "pipe:1")

    def test_no_demuxer_that_opens_other_things_is_allowed_for_files(self) -> None:
        allowed = value(argv(SONG), "-format_whitelist").split(",")
        self.assertIn("ogg", allowed)
        for name in ("hls", "dash", "concat", "sdp", "rtsp", "imf", "lavfi", "image2", "ffmetadata"):
            self.assertNotIn(name, allowed)

    def test_over_http_playlists_of_media_are_and_descriptions_of_sessions_are_not(self) -> None:
        allowed = value(argv(Http("http://h/x")), "-format_whitelist").split(",")
        self.assertIn("hls", allowed)
        for name in ("concat", "sdp", "rtsp"):
            self.assertNotIn(name, allowed)

    def test_over_http_only_its_protocols_are_allowed(self) -> None:
        made = argv(Http("https://h/x?y"))
        self.assertEqual(value(made, "-protocol_whitelist"), "http,https,tcp,tls,crypto,httpproxy")
        self.assertEqual(value(made, "-i"), "https://h/x?y")

    def test_what_is_not_http_is_never_opened_as_a_source(self) -> None:
        """Among them what the whitelist must allow, and what an extractor may come with."""
        for url in (
            "tcp://h:1",
            "httpproxy://h:1/x",
            "tls://h:1",
            "rtmp://h/x",
            "file:///etc/passwd",
            "-version",
            "/x",
            "",
        ):
            for made in (decode_argv, probe_argv):
                self.assertRaises(UnsupportedUrl, made, "/usr/bin/ffmpeg", Source("x", Http(url)))

    def test_no_picture_is_decoded(self) -> None:
        for media in (SONG, Http("http://h/x")):
            decoders = value(argv(media), "-codec_whitelist").split(",")
            self.assertEqual([name for name in decoders if name in ("png", "mjpeg", "h264", "gif", "webp")], [])

    def test_options_of_the_input_stand_before_it_and_those_of_the_output_behind(self) -> None:
        made = argv(SONG, 12.5, 3.0)
        at = made.index("-i")
        self.assertLess(made.index("-ss"), at)
        self.assertGreater(made.index("-t"), at)
        self.assertEqual((value(made, "-ss"), value(made, "-t")), ("12.500000", "3.000000"))

    def test_nothing_is_sought_at_the_beginning_nor_cut_at_the_end(self) -> None:
        self.assertEqual({"-ss", "-t"} & set(argv(SONG)), set())

    def test_what_is_counted_in_is_opened_from_its_beginning_and_never_sought_in(self) -> None:
        for media in (File(Path("/x.ogg"), counted=True), Http("http://h/x.ogg", counted=True)):
            made = argv(media, 12.5, 3.0)
            self.assertEqual({"-ss", "-t"} & set(made), set())
            self.assertEqual(value(made, "-seekable"), "0")
            self.assertLess(made.index("-seekable"), made.index("-i"))

    def test_less_than_a_frame_is_a_frame(self) -> None:
        self.assertEqual(value(argv(SONG, 0.0, 0.001), "-t"), "0.020000")
        self.assertIn(":d=0.020000,", value(argv(Tone(440, 30), 0.0, 0.001), "-i"))

    def test_a_tone_ends_where_it_ends_wherever_it_is_entered(self) -> None:
        for position, duration, lasts in (
            (0.0, None, 30),
            (10.0, None, 20),
            (10.0, 5.0, 5),
            (28.0, 5.0, 2),
            (31.0, None, 0),
        ):
            self.assertIn(f":d={lasts:.6f},", value(argv(Tone(440, 30), position, duration), "-i"))

    def test_headers_out_of_the_list_are_sent_and_others_are_not(self) -> None:
        self.assertEqual(
            headers(User_Agent="me/1", X_Forwarded_For="1.2.3.4", Range="bytes=5-"), "User-Agent: me/1\r\n"
        )

    def test_without_headers_there_is_no_option_for_them(self) -> None:
        self.assertNotIn("-headers", argv(Http("http://h/x", {"X-Other": "1"})))

    def test_a_header_that_would_inject_another_is_refused(self) -> None:
        for text in ("a\r\nX: 1", "a\nX: 1", "a\rb", "a\0b"):
            self.assertRaises(UnsupportedUrl, headers, Referer=text)

    def test_headers_are_not_endless(self) -> None:
        self.assertEqual(len(headers(Cookie="c" * (HEADERS_MOST - 10))), HEADERS_MOST)
        self.assertRaises(UnsupportedUrl, headers, Cookie="c" * (HEADERS_MOST - 9))


class StreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        known = {"hls": frozenset({"extension_picky", "http_seekable"}), "dash": frozenset({"max_reload"})}
        self.patch(command, "demuxer_options", lambda ffmpeg, demuxer: known[demuxer])

    def test_a_playlist_is_opened_as_what_it_is_with_the_options_that_this_ffmpeg_knows(self) -> None:
        made = argv(Http("http://h/x", demuxer="hls"))
        self.assertEqual((value(made, "-f"), value(made, "-extension_picky")), ("hls", "0"))
        self.assertNotIn("-seg_max_retry", made)
        made = argv(Http("http://h/x", demuxer="dash"))
        self.assertEqual((value(made, "-f"), "-extension_picky" in made), ("dash", False))
        self.assertEqual(value(made, "-max_reload"), "16")

    def test_live_dash_is_read_at_its_own_pace(self) -> None:
        for live, demuxer, paced in ((True, "dash", True), (False, "dash", False), (True, "hls", False)):
            made = decode_argv("/usr/bin/ffmpeg", Source("x", Http("http://h/x", demuxer=demuxer), live=live))
            self.assertEqual("-re" in made[: made.index("-i")], paced)

    def test_options_of_a_playlist_are_not_given_to_other_media(self) -> None:
        self.assertEqual(
            [name for name in argv(Http("http://h/x")) if name in ("-extension_picky", "-http_seekable")], []
        )

    def test_hls_is_given_in_larger_pieces_where_it_is_sought_in(self) -> None:
        hls = Http("http://h/x", demuxer="hls")
        for media, position, samples in ((hls, 5.0, 48_000), (hls, 0.0, 4_800), (Http("http://h/x"), 5.0, 4_800)):
            self.assertIn(f"asetnsamples=n={samples}:", value(argv(media, position), "-af"))

    def test_where_hls_may_begin_early_it_is_not_cut(self) -> None:
        hls = Http("http://h/x", demuxer="hls")
        self.assertNotIn("-t", argv(hls, 5.0, 2.0))
        self.assertEqual(value(argv(hls, 0.0, 2.0), "-t"), "2.000000")

    def test_a_station_is_listened_to_more_closely(self) -> None:
        self.assertIn("level+verbose", argv(Http("http://h/x", station=True)))
        self.assertNotIn("level+verbose", argv(Http("http://h/x")))

    def test_a_varying_bit_rate_is_sought_in_exactly_as_far_as_that_is_not_long(self) -> None:
        vbr = Http("http://h/x", vbr=True)
        for media, position, fast in (
            (vbr, EXACT_SECONDS, False),
            (vbr, EXACT_SECONDS + 1, True),
            (Http("http://h/x"), 5, True),
        ):
            self.assertEqual("+fastseek" in argv(media, position), fast)

    def test_opus_is_sought_in_to_the_sample_and_mono_of_it_is_not_made_softer(self) -> None:
        made = decode_argv("/usr/bin/ffmpeg", Source("x", SONG, opus=True), 10.0, 2.0)
        before, after = made[: made.index("-i")], made[made.index("-i") :]
        self.assertEqual((value(before, "-ss"), value(after, "-ss")), ("9.750000", "0.250000"))
        self.assertEqual(value(after, "-t"), "2.000000")
        self.assertIn("nb_channels", value(made, "-af"))
        self.assertNotIn("nb_channels", value(argv(SONG), "-af"))
        self.assertNotIn("-ss", decode_argv("/usr/bin/ffmpeg", Source("x", SONG, opus=True)))


class CopyTests(SynchronousTestCase):
    def copied(self, position: float = 0.0, duration: float | None = None) -> list[str]:
        return copy_argv("/usr/bin/ffmpeg", SONG, position, duration)

    def test_it_is_opened_as_for_decoding_and_not_decoded(self) -> None:
        made = self.copied()
        self.assertEqual(made[: made.index("-i") + 2], argv(SONG)[: made.index("-i") + 2])
        self.assertEqual((value(made, "-c:a"), value(made, "-f")), ("copy", "opus"))

    def test_it_begins_a_little_early(self) -> None:
        self.assertEqual(value(self.copied(10.0), "-ss"), "9.750000")
        self.assertNotIn("-ss", self.copied(0.2))

    def test_what_is_counted_begins_at_its_beginning(self) -> None:
        made = copy_argv("/usr/bin/ffmpeg", File(SONG.path, counted=True), 10.0, 2.0)
        self.assertNotIn("-ss", made)
        self.assertEqual(value(made, "-t"), "11.990000")

    def test_and_ends_where_it_should(self) -> None:
        """Packets that begin before the end of `-t` are copied, and the first begins 6.5 ms before the position."""
        self.assertNotIn("-t", self.copied(10.0))
        self.assertEqual(value(self.copied(10.0, 2.0), "-t"), "2.240000")
        self.assertEqual(value(self.copied(0.1, 2.0), "-t"), "2.090000")
        self.assertEqual(value(self.copied(0.0, 0.001), "-t"), "0.010000")


class ProbeTests(SynchronousTestCase):
    def test_a_probe_opens_the_same_input_in_the_same_way_and_has_no_output(self) -> None:
        for media in (SONG, Http("https://h/x"), Tone(440, 30)):
            probed, decoded = probe_argv("/usr/bin/ffmpeg", Source("x", media)), argv(media)
            self.assertEqual(probed, decoded[: len(probed)])
            self.assertEqual(probed[-2], "-i")


class ShownTests(SynchronousTestCase):
    def test_what_is_logged_of_a_command_line_has_no_headers_and_bare_urls(self) -> None:
        media = Http("https://u:p@h/a.mp3?token=t#f", headers={"Cookie": "id=secret", "User-Agent": "x y"})
        shown = str(Shown(decode_argv("/usr/bin/ffmpeg", Source("x", media), 1.5)))
        self.assertIn(" -i https://h/a.mp3 ", shown)
        self.assertIn(" -headers … ", shown)
        self.assertIn(" -codec_whitelist … ", shown)
        for secret in ("token", "u:p", "secret", "Cookie", "aac"):
            self.assertNotIn(secret, shown)

    def test_what_holds_spaces_is_one_word_of_it(self) -> None:
        shown = Shown(["ffmpeg", "-i", "file:/music/a b?c.mp3"])
        self.assertEqual((str(shown), repr(shown)), ("ffmpeg -i 'file:/music/a b?c.mp3'",) * 2)


class EnvironmentTests(SynchronousTestCase):
    def test_nothing_of_the_daemons_environment_gets_through_but_the_path(self) -> None:
        outside = {"PATH": "/bin", "no_proxy": "*", "http_proxy": "http://p", "HOME": "/root", "LD_PRELOAD": "x.so"}
        made = child_environment(outside)
        self.assertEqual(set(made) - {"SSL_CERT_FILE"}, {"PATH", "LANG", *COLOURS})
        self.assertEqual((made["PATH"], made["LANG"]), ("/bin", "C.UTF-8"))

    def test_without_a_path_there_is_the_usual_one(self) -> None:
        self.assertEqual(child_environment({})["PATH"], "/usr/local/bin:/usr/bin:/bin")

    def test_the_trust_store_is_the_one_that_python_uses(self) -> None:
        with tempfile.NamedTemporaryFile() as store, mock.patch.dict(os.environ, SSL_CERT_FILE=store.name):
            self.assertEqual(child_environment({})["SSL_CERT_FILE"], store.name)

    def test_without_a_trust_store_none_is_named(self) -> None:
        none = ssl.get_default_verify_paths()._replace(cafile=None)
        self.patch(ssl, "get_default_verify_paths", lambda: none)
        self.assertNotIn("SSL_CERT_FILE", child_environment({}))
