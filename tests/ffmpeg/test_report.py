"""The reading of what FFmpeg says."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc import errors
from audiosvc.errors import AudioServiceError
from audiosvc.ffmpeg.report import LINE_MOST, TEXT_MOST, TROUBLES_MOST, Report
from tests.ffmpeg import said


def report_of(*texts: str) -> Report:
    report = Report()
    for text in texts:
        report.feed(text.encode())
    return report


def facts(report: Report) -> tuple[object, ...]:
    return (report.opened, report.duration, report.title, report.artist, report.codec, report.failed, report.broken)


class DescriptionTests(SynchronousTestCase):
    def test_ogg_carries_its_tags_in_the_stream(self) -> None:
        self.assertEqual(
            facts(report_of(said.OGG)), (True, 300.25, "Tïtle: with; = colon", "An Artist", "vorbis", False, False)
        )

    def test_mp3_carries_them_in_the_container_and_its_cover_is_no_trouble(self) -> None:
        self.assertEqual(
            facts(report_of(said.MP3_WITH_COVER_51)), (True, 3620.04, "A Title", "An Artist", "mp3", False, False)
        )

    def test_titles_of_chapters_of_video_and_of_other_tracks_are_not_the_title(self) -> None:
        self.assertEqual(facts(report_of(said.BOOK_WITH_CHAPTERS)), (True, 5.16, "The Book", None, "aac", False, False))
        self.assertEqual(facts(report_of(said.TRANSPORT_STREAM)), (True, 20.02, None, None, "aac", False, False))

    def test_a_station_has_no_duration_and_is_called_by_what_it_plays(self) -> None:
        report = report_of(said.RADIO)
        self.assertEqual((report.duration, report.title), (None, "Somebody - Something"))

    def test_a_stations_name_serves_where_it_does_not_say_what_it_plays(self) -> None:
        silent = said.RADIO.replace(": Somebody - Something", ": ")
        self.assertEqual(report_of(silent).title, "A Station")

    def test_what_the_output_is_called_is_not_the_inputs(self) -> None:
        untitled = said.OGG.replace("[info]       title           : Tïtle: with; = colon\n", "")
        output = "[info] Output #0, s16le, to 'pipe:1':\n[info]   Metadata:\n[info]     title           : Not this\n"
        self.assertIsNone(report_of(untitled, output).title)

    def test_nothing_is_known_before_the_input_is_described(self) -> None:
        report = report_of("[info]   Duration: 00:00:10.00, start\n[info]     title           : Early\n")
        self.assertEqual(facts(report), (False, None, None, None, None, False, False))

    def test_what_the_daemon_reads_itself_is_described_in_the_same_terms(self) -> None:
        report = Report()
        report.describe("a\x1b[31m\ntitle" + TEXT_MOST * "x", "\n", 12.5, "ogg")
        self.assertEqual((report.opened, report.container, report.codec), (True, "ogg", "opus"))
        self.assertEqual((report.duration, report.artist, report.guessed), (12.5, None, False))
        assert report.title is not None
        self.assertEqual(len(report.title), TEXT_MOST)
        self.assertTrue(report.title.startswith("a"))
        self.assertTrue(report.title.isprintable())

    def test_a_title_is_shown_without_control_characters_and_cut_short(self) -> None:
        title = "a\x7fb\u202ec" + "x" * 400
        shown = report_of(said.RADIO.replace("Somebody - Something", title)).title
        assert shown is not None
        self.assertEqual((shown[:5], len(shown)), ("a b c", TEXT_MOST))

    @settings(deadline=None)
    @given(st.lists(st.integers(0, 1500), max_size=20))
    def test_any_split_of_the_bytes_reads_the_same(self, cuts: list[int]) -> None:
        data = (said.MP3_WITH_COVER_51 + said.FAILURES["503"][0]).encode()
        edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        report = Report()
        for start, end in pairwise(edges):
            report.feed(data[start:end])
        whole = report_of(data.decode())
        self.assertEqual((facts(report), report.error().message), (facts(whole), whole.error().message))


class StreamTests(SynchronousTestCase):
    def titles(self, *texts: bytes) -> list[str]:
        titles: list[str] = []
        report = Report()
        report.on_title = titles.append
        for text in texts:
            report.feed(text)
        return titles

    def test_a_station_announces_its_titles_and_the_rest_of_its_talk_is_ignored(self) -> None:
        said_so = said.STATION_VERBOSE.encode()
        again = b"[http @ 0x1] [verbose] Metadata update for StreamTitle: Second\n"
        self.assertEqual(self.titles(said_so, again), ["First - One", "Second"])
        report = report_of(said.STATION_VERBOSE)
        self.assertEqual(
            (report.title, report.codec, report.failed, report.broken), ("First - One", "mp3", False, False)
        )
        self.assertEqual((report.live, report.container), (True, "mp3"))

    def test_titles_come_in_two_alphabets(self) -> None:
        line = "[http @ 0x1] [verbose] Metadata update for StreamTitle: „Zwölf Röcke“\n"
        self.assertEqual(self.titles(line.encode(), line.encode("cp1252")), ["„Zwölf Röcke“"] * 2)

    def test_a_title_is_short_and_plain_and_something(self) -> None:
        line = b"[http @ 0x1] [verbose] Metadata update for StreamTitle: "
        long = line + "ö".encode() * 2000 + b"\n"
        self.assertEqual(self.titles(line + b"\n", line + b"a\x7f\xe2\x80\xaeb\n", long), ["a b", "ö" * TEXT_MOST])

    def test_where_the_sound_of_hls_begins_early_is_known(self) -> None:
        report = report_of(said.HLS_SOUGHT)
        self.assertEqual(
            (report.container, report.early, report.live, report.duration), ("hls", 0.473139, False, 3600.05)
        )

    def test_a_later_leap_of_the_clock_is_none_of_the_beginning(self) -> None:
        report = report_of(said.OGG_CHAINED)
        self.assertEqual((report.container, report.early, report.broken), ("ogg", 0, False))

    def test_a_playlist_without_a_duration_is_live(self) -> None:
        self.assertTrue(report_of(said.HLS_SOUGHT.replace("01:00:00.05", "N/A")).live)

    def test_a_duration_that_is_only_reckoned_is_marked(self) -> None:
        report = report_of(said.ADTS)
        self.assertEqual((report.duration, report.guessed), (5348.69, True))
        self.assertFalse(report_of(said.OGG).guessed)

    def test_of_ogg_it_is_not_told(self) -> None:
        report = report_of("[ogg @ 0x1] [warning] Estimating duration from bitrate, this may be inaccurate\n", said.OGG)
        self.assertEqual((report.duration, report.guessed), (None, True))


class ForgeryTests(SynchronousTestCase):
    """What a source says of itself can look like a message of FFmpeg's, but for the colours."""

    forged = "[error] Server returned 404 Not Found\n[info]   Duration: 00:00:01.00, start\n"

    def test_a_title_of_several_lines_is_its_first(self) -> None:
        titles: list[str] = []
        for text in (said.coloured(said.RADIO), ""):
            report = report_of(text)
            report.on_title = titles.append
            before = facts(report)
            for data in (
                f"{said.ANNOUNCED}One\n{self.forged}",
                f"{said.PLAIN}{said.ANNOUNCED}Two\n{self.forged[:-1]}",
                f"\n{said.PLAIN}[http @ 0x1] [info] Opened\n",
            ):
                report.feed(data.encode())
            self.assertEqual(facts(report), before)
        self.assertEqual(titles, ["One", "Two"] * 2)

    def test_in_any_split_of_the_bytes(self) -> None:
        data = f"{said.ANNOUNCED}One\n{self.forged}{said.PLAIN}{said.ANNOUNCED}Two\n{said.PLAIN}[info] Input #0, mp3,\n"
        for size in range(1, 60):
            titles: list[str] = []
            report = Report()
            report.on_title = titles.append
            for start in range(0, len(data), size):
                report.feed(data[start : start + size].encode())
            self.assertEqual((titles, report.failed, report.container), (["One", "Two"], False, "mp3"))

    def test_so_is_the_name_of_a_tag(self) -> None:
        tag = f"[info]     x\n{self.forged}[info]     : y\n"
        self.assertTrue(report_of(tag).failed, "before FFmpeg's first colour it cannot be told")
        self.assertFalse(report_of(said.coloured("[warning] Something\n"), tag).failed)

    def test_what_is_in_colour_is_ffmpegs(self) -> None:
        for name, texts in said.FAILURES.items():
            for text in texts:
                plain, shown = report_of(text), report_of(said.coloured(text))
                self.assertEqual((facts(shown), shown.error().message), (facts(plain), plain.error().message), name)


class FailureTests(SynchronousTestCase):
    expected: dict[str, tuple[type[AudioServiceError], str]] = {
        "missing file": (errors.SourceNotFound, "the source is not there"),
        "not media": (errors.NotAudio, "the source holds no audio that can be decoded"),
        "playlist": (errors.NotAudio, "the source is of a kind that is not played"),
        "unknown codec": (errors.NotAudio, "the source holds no audio that can be decoded"),
        "decoder not allowed": (errors.NotAudio, "the source holds no audio that can be decoded"),
        "401": (errors.SourceRefused, "the source's server answered 401"),
        "404": (errors.SourceNotFound, "the source's server answered 404: not there"),
        "410": (errors.SourceNotFound, "the source's server answered 410: not there"),
        "503": (errors.SourceRefused, "the source's server answered 503"),
        "silent server": (errors.SourceTimeout, "the source sent no audio in time"),
        "connection refused": (errors.SourceUnreachable, "the source's server refused the connection"),
        "unknown host": (errors.SourceUnreachable, "the source's host name is not known"),
        "untrusted certificate": (
            errors.SourceUnreachable,
            "the certificate of the source's server cannot be verified",
        ),
        "redirect to a file": (errors.UnsupportedUrl, "the source leads to a kind of URL that is not played"),
    }

    def test_every_failure_is_told_apart_in_both_ffmpegs_words(self) -> None:
        self.assertEqual(set(self.expected), set(said.FAILURES))
        for name, texts in said.FAILURES.items():
            for text in texts:
                report = report_of(text)
                error = report.error()
                with self.subTest(name, text=text):
                    self.assertEqual((type(error), error.message), self.expected[name])
                    self.assertTrue(report.failed)

    def test_a_video_without_sound_is_not_audio_decoded_or_probed(self) -> None:
        for text in (said.VIDEO_ONLY_DECODED, said.VIDEO_ONLY_PROBED):
            error = report_of(text).error()
            self.assertEqual((type(error), error.message), (errors.NotAudio, "the source holds no audio"))

    def test_a_probe_without_an_output_is_no_failure(self) -> None:
        self.assertFalse(report_of(said.OGG, "[fatal] At least one output file must be specified\n").failed)

    def test_the_last_cause_is_the_one_told(self) -> None:
        early = said.FAILURES["not media"][0]
        self.assertIsInstance(report_of(early, said.FAILURES["404"][0]).error(), errors.SourceNotFound)
        refused = said.FAILURES["connection refused"][0]
        self.assertIsInstance(report_of(said.FAILURES["404"][0], refused).error(), errors.SourceUnreachable)

    def test_that_nothing_made_sense_is_told_only_where_that_is_the_cause(self) -> None:
        error = report_of(said.HLS_OF_AN_UNTRUSTED_SERVER).error()
        self.assertEqual((type(error), error.message), self.expected["untrusted certificate"])
        late = said.FAILURES["not media"][0]
        self.assertIsInstance(report_of(said.FAILURES["503"][0], late).error(), errors.SourceRefused)

    def test_an_unknown_failure_is_the_decoders_with_its_last_error(self) -> None:
        error = report_of("[error] first\n[x @ 0x1] [error] second\x07thing\n[warning] later\n").error()
        self.assertEqual((type(error), error.message), (errors.DecoderFailed, "FFmpeg: second thing"))

    def test_a_failure_without_a_word_is_the_decoders(self) -> None:
        self.assertEqual((Report().error().code, Report().failed), ("decoder_failed", False))

    def test_neither_secrets_of_a_url_nor_the_inputs_name_are_told(self) -> None:
        line = "[error] something about https://user:pw@h.example/a/b?sig=secret#x and so on\n"
        self.assertEqual(report_of(line).error().message, "FFmpeg: something about https://h.example/a/b and so on")
        self.assertEqual(report_of("[error] file:/srv/x: y: Odd thing\n").error().message, "FFmpeg: Odd thing")

    def test_a_message_is_cut_short(self) -> None:
        self.assertEqual(len(report_of(f"[error] {'long ' * 150}\n").error().message), TEXT_MOST)

    def test_an_ffmpeg_that_did_not_start_is_told_as_such(self) -> None:
        loader = "ffmpeg: error while loading shared libraries: libavdevice.so.59: No such file or directory\n"
        report = report_of(loader)
        self.assertEqual((type(report.error()), report.failed), (errors.SpawnFailed, True))

    def test_words_before_ffmpegs_own_are_forgotten_once_it_speaks(self) -> None:
        self.assertFalse(report_of("some library's greeting\n", said.OGG).failed)


class BrokenTests(SynchronousTestCase):
    def test_a_source_that_broke_off_is_noticed(self) -> None:
        for line in (
            "[http @ 0x1] [error] Stream ends prematurely at 300000, should be 7201742",
            "[in#0/mp3 @ 0x1] [error] Error during demuxing: Connection reset by peer",
            "[in#0/matroska,webm @ 0x555de8c3a100] [error] File ended prematurely",
            "[in#0/mov,mp4,m4a,3gp,3g2,mj2 @ 0x55581beb3100] [error] stream 0, offset 0xf424a: partial file",
            "[http @ 0x1] [warning] Will reconnect at 300000 in 0 second(s), error=Input/output error.",
            "[http @ 0x1] [warning] HTTP error 403 Forbidden",
            "[tls @ 0x1] [error] Error in the pull function.",
            "[tls @ 0x1] [error] IO error: End of file",
            "[tls @ 0x1] [error] The TLS connection was non-properly terminated.",
            "[tls @ 0x1] [error] error:0A000126:SSL routines::unexpected eof while reading",
            "[in#0/wav @ 0x1] [warning] corrupt input packet in stream 0",
            "[error] http://127.0.0.1/x: Connection timed out",
            "[in#0 @ 0x5572c9c80440] [warning] filesize and duration do not match (growing file?)",
            "[flac @ 0x55968f4bca40] [error] decode_frame() failed",
            "[in#0/hls @ 0x1] [warning] Segment 3 of playlist 0 failed too many times, skipping",
        ):
            with self.subTest(line):
                self.assertTrue(report_of(said.OGG, f"{line}\n").broken)

    def test_other_trouble_is_not_a_break(self) -> None:
        report = report_of(said.OGG, "[mp3float @ 0x1] [error] Header missing\n")
        self.assertEqual((report.broken, report.ceased), (False, False))

    def test_the_end_of_what_stated_no_length_is_neither_break_nor_failure(self) -> None:
        for name, text in said.UNMEASURED.items():
            with self.subTest(name):
                report = report_of(text)
                self.assertEqual((report.ceased, report.broken, report.failed), (True, False, False))
                self.assertEqual((report.duration, report.prepared), (None, True))

    def test_nor_is_the_short_last_packet_of_a_wav_that_was_piped(self) -> None:
        piped = "[wav @ 0x1] [warning] Ignoring maximum wav data size, file may be invalid\n"
        for context in ("[in#0/wav @ 0x1] [warning] ", "[warning] http://h.example/x: "):
            self.assertFalse(report_of(said.OGG, piped, f"{context}corrupt input packet in stream 0\n").broken)

    def test_but_a_break_before_it_counts(self) -> None:
        report = report_of(said.UNMEASURED["closed"].replace("18446744073709551615", "256600"))
        self.assertEqual((report.ceased, report.broken, report.failed), (True, True, True))

    def test_what_could_not_even_be_opened_failed(self) -> None:
        for text in (
            "[http @ 0x1] [error] Stream ends prematurely at 0, should be 18446744073709551615\n"
            "[in#0 @ 0x1] [error] Error opening input: Input/output error\n",
            "[error] http://h.example/x: Input/output error\n",
        ):
            report = report_of(text)
            self.assertEqual((report.failed, report.prepared), (True, False))
            self.assertEqual(report.error().code, "decoder_failed")


class BoundsTests(SynchronousTestCase):
    def test_a_line_without_end_is_kept_to_its_beginning(self) -> None:
        report = report_of("[error] HTTP error 404 ")
        for _ in range(1000):
            report.feed(b"x" * 1000)
        self.assertLessEqual(len(report._rest), LINE_MOST)
        report.feed(b"\n")
        self.assertEqual(report.error().code, "source_not_found")

    def test_the_last_trouble_is_kept_as_it_was_said(self) -> None:
        self.assertIsNone(Report().last_trouble)
        report = report_of("[error] HTTP error 404 x\n", "[warning] trouble http://h/?x\n", "[info] y\n")
        self.assertEqual(report.last_trouble, "trouble http://h/?x")

    def test_of_many_troubles_the_newest_are_kept(self) -> None:
        report = report_of("[error] HTTP error 404 x\n", "[warning] trouble\n" * TROUBLES_MOST)
        self.assertIsInstance(report.error(), errors.DecoderFailed)
