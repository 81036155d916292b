from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.view import Arrivals, Track, bar, clock, fit, line, meter, printable, result, sentence, width
from audiosvc.wire.messages import (
    Detached,
    Error,
    Finished,
    Hello,
    Metadata,
    Paused,
    Ready,
    Resumed,
    Seeked,
    Stopped,
)

IDS = {"session_id": "play:1", "track_id": "t"}


def ready(**more: object) -> Ready:
    return Ready(**IDS, url="demo:one", format="opus", **{"position": 0.0, "title": "One", "duration": 60.0} | more)


def playing(packets: int, size: int = 320, level: float = -12.0, **more: object) -> Track:
    """A track whose packets came every 20 ms from 0 s on."""
    track = Track("play:1", "demo:one")
    track.event(ready(**more))
    for number in range(packets):
        track.packet(number * 0.02, size, level)
    return track


class ArrivalsTests(SynchronousTestCase):
    def test_real_time_is_fifty_packets_a_second_from_the_start_on(self) -> None:
        for packets in (1, 10, 51, 500):
            arrivals = Arrivals()
            for number in range(packets):
                arrivals.packet(number * 0.02, 320)
            rate, kilobits = arrivals.rates((packets - 1) * 0.02)
            self.assertAlmostEqual(rate, 50, delta=0.6)
            self.assertAlmostEqual(kilobits, 128, delta=1.5)

    def test_nothing_received_is_no_rate(self) -> None:
        self.assertEqual(Arrivals().rates(5.0), (0.0, 0.0))

    def test_the_rate_falls_to_zero_when_nothing_comes_for_the_window(self) -> None:
        arrivals = Arrivals()
        arrivals.packet(0.0, 100)
        self.assertEqual(arrivals.rates(2.0), (0.0, 0.0))

    def test_the_largest_gap_stays(self) -> None:
        arrivals = Arrivals()
        for now in (0.0, 0.02, 0.09, 0.11):
            arrivals.packet(now, 1)
        self.assertAlmostEqual(arrivals.largest_gap, 0.07)

    def test_a_rest_is_no_gap(self) -> None:
        arrivals = Arrivals()
        arrivals.packet(0.0, 1)
        arrivals.rest()
        arrivals.packet(9.0, 1)
        self.assertEqual(arrivals.largest_gap, 0.0)

    def test_what_is_remembered_is_bounded(self) -> None:
        arrivals = Arrivals()
        for number in range(5000):
            arrivals.packet(number / 1e6, 1)
        self.assertLessEqual(arrivals.rates(0.005)[0] * 0.025, 1000)
        self.assertEqual(arrivals.packets, 5000)


class TrackTests(SynchronousTestCase):
    def test_it_waits_under_its_url_until_it_is_ready(self) -> None:
        track = Track("play:1", "demo:one")
        self.assertEqual((track.state, track.title, track.ended), ("waiting", "demo:one", False))
        track.event(ready())
        self.assertEqual((track.state, track.title, track.duration), ("playing", "One", 60.0))

    def test_without_a_title_the_url_stays(self) -> None:
        self.assertEqual(playing(0, title=None).title, "demo:one")

    def test_the_title_may_change_while_it_plays(self) -> None:
        track = playing(0)
        track.event(Metadata(**IDS, title="Two"))
        self.assertEqual(track.title, "Two")

    def test_its_position_is_counted_in_packets_from_where_it_began(self) -> None:
        self.assertAlmostEqual(playing(100, position=30.0).position, 32.0)

    def test_a_seek_moves_the_position_and_is_no_gap(self) -> None:
        track = playing(100)
        track.event(Seeked(**IDS, position=10.0, previous=2.0))
        track.packet(8.0, 320, -12.0)
        self.assertAlmostEqual(track.position, 10.02)
        self.assertAlmostEqual(track.arrivals.largest_gap, 0.02)

    def test_a_pause_is_no_gap_and_makes_no_sound(self) -> None:
        track = playing(100)
        track.event(Paused(**IDS, position=2.0))
        self.assertEqual((track.state, track.level), ("paused", None))
        track.event(Resumed(**IDS, position=2.0))
        track.packet(60.0, 320, -12.0)
        self.assertEqual(track.state, "playing")
        self.assertAlmostEqual(track.arrivals.largest_gap, 0.02)

    def test_the_level_rises_at_once_and_falls_slowly(self) -> None:
        track = playing(1, level=-30.0)
        track.packet(0.02, 320, -10.0)
        self.assertEqual(track.level, -10.0)
        track.packet(0.04, 320, -math.inf)
        self.assertEqual(track.level, -11.0)

    def test_each_terminal_event_ends_it(self) -> None:
        for event, state, failure in (
            (Finished(**IDS, played=2.0), "finished", None),
            (Stopped(**IDS, reason="stop", played=2.0), "stopped", None),
            (Stopped(**IDS, reason="consumer_timeout", played=2.0), "stopped", "stopped: consumer timeout"),
            (Error(**IDS, code="not_audio", message="no audio", played=0.0), "error", "no audio (not_audio)"),
        ):
            track = playing(1)
            track.event(event)
            self.assertEqual((track.state, track.failure, track.level, track.ended), (state, failure, None, True))

    def test_other_events_change_nothing(self) -> None:
        track = playing(1)
        before = line(track, 0.02, 80)
        track.event(Hello(protocol=1, features=(), server="s"))
        track.event(Detached(**IDS))
        self.assertEqual(line(track, 0.02, 80), before)


class TextTests(SynchronousTestCase):
    def test_titles_cannot_steer_the_terminal(self) -> None:
        self.assertEqual(printable("a\x1b[2Jb\r\nc\u202ed"), "a [2Jb  c d")

    def test_width_counts_columns_not_letters(self) -> None:
        self.assertEqual([width(text) for text in ("abc", "夜", "e\u0301", "")], [3, 2, 1, 0])

    def test_fitting_pads_or_cuts(self) -> None:
        self.assertEqual(fit("ab", 4), "ab  ")
        self.assertEqual(fit("abcdef", 4), "abc~")
        self.assertEqual(fit("夜夜夜", 5), "夜夜~")
        self.assertEqual(fit("夜夜夜", 4), "夜~ ")

    @given(st.text(), st.integers(1, 30))
    @settings(deadline=None)
    def test_whatever_the_text_it_fits_exactly(self, text: str, columns: int) -> None:
        self.assertEqual(width(fit(text, columns)), columns)

    def test_times_are_written_as_on_a_player(self) -> None:
        self.assertEqual(
            [clock(seconds) for seconds in (None, 0, 9.99, 61, 3599, 3600, 36_061)],
            ["-:--", "0:00", "0:09", "1:01", "59:59", "1:00:00", "10:01:01"],
        )

    def test_a_bar_is_filled_to_its_share(self) -> None:
        self.assertEqual(
            [bar(share, 6) for share in (-1.0, 0.0, 0.5, 1.0, 7.0)],
            ["[----]", "[----]", "[==--]", "[====]", "[====]"],
        )

    def test_the_meter_goes_from_silence_to_full_scale(self) -> None:
        self.assertEqual(
            [meter(level) for level in (None, -math.inf, -48.0, -24.0, 0.0, 3.0)],
            ["      ", "      ", "      ", "|||   ", "||||||", "||||||"],
        )


class LineTests(SynchronousTestCase):
    def test_eighty_columns_hold_everything(self) -> None:
        self.assertEqual(
            line(playing(151), 3.0, 79),
            "playing  One                 0:03/1:00 [------]  50/s 128kb/s ||||   gap   20ms",
        )

    def test_it_takes_exactly_the_columns_there_are(self) -> None:
        for track in (playing(60), playing(60, title="夜のドライブ " * 9, duration=None)):
            for columns in range(10, 220):
                self.assertEqual(width(line(track, 1.2, columns)), columns)

    def test_in_few_columns_the_lesser_things_give_way_first(self) -> None:
        track = playing(60)
        shown = {columns: line(track, 1.2, columns) for columns in (70, 69, 54, 46)}
        self.assertIn("[", shown[70])
        self.assertNotIn("[", shown[69])
        self.assertIn("||||", shown[69])
        self.assertNotIn("||||", shown[54])
        self.assertIn("kb/s", shown[54])
        self.assertNotIn("kb/s", shown[46])
        self.assertIn("gap", shown[46])

    def test_an_unknown_duration_leaves_the_bar_empty(self) -> None:
        self.assertIn("0:01/-:-- [------]", line(playing(60, duration=None), 1.2, 79))

    def test_the_bar_shows_the_place(self) -> None:
        self.assertIn("[===---]", line(playing(50, position=29.0), 1.0, 79))

    def test_a_failure_stands_where_the_title_was(self) -> None:
        track = Track("play:1", "demo:one")
        track.fail("no such piece")
        self.assertIn("error    no such piece", line(track, 0.0, 79))

    def test_a_sentence_says_the_same(self) -> None:
        self.assertEqual(
            sentence(playing(151), 3.0),
            "play:1 playing: One, 0:03/1:00, 50 packets/s, 128 kbit/s, level -12 dB, largest gap 20 ms",
        )
        self.assertIn("silent", sentence(playing(1, level=-math.inf), 0.0))
        self.assertIn("silent", sentence(Track("play:1", "demo:one"), 0.0))

    def test_a_sentence_says_what_failed(self) -> None:
        track = Track("play:1", "demo:one")
        track.fail("no such piece")
        self.assertIn("no such piece", sentence(track, 0.0))

    def test_the_result_names_the_end_and_the_recording(self) -> None:
        track = playing(100)
        track.event(Finished(**IDS, played=2.0))
        self.assertEqual(result(track, "r/One.ogg"), "One: finished: 2.00 s, largest gap 20 ms\n    r/One.ogg")
        silent = Track("play:2", "demo:two")
        silent.fail("no such piece")
        self.assertEqual(result(silent, None), "demo:two: no such piece: nothing heard")
