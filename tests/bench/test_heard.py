from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.codec.ogg import OggMuxer
from audiosvc.wire.messages import (
    Attached,
    Error,
    Finished,
    Held,
    Hello,
    Metadata,
    Paused,
    Ready,
    Recovered,
    Resumed,
    Seeked,
    SessionEvent,
    Stopped,
)
from bench.heard import Beat, Heard, Track

TRACK, OTHER = "0000000100000000", "0000000200000000"
PACKET = b"\xfc" + bytes(80)


class HeardTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ends: list[tuple[Track, SessionEvent]] = []
        self.sounded: list[str] = []
        self.heard = Heard(
            lambda track, event: self.ends.append((track, event)), lambda track: self.sounded.append(track.track_id)
        )
        self.now = 0.0

    def ready(self, track_id: str = TRACK, format_: str = "ogg", position: float = 0.0) -> None:
        self.say(Ready("s", track_id, url="u", format=format_, position=position))

    def say(self, event: SessionEvent) -> None:
        self.heard.event(event, self.now)

    def play(self, payloads: list[bytes], seconds: float = 0.02) -> None:
        for payload in payloads:
            self.now += seconds
            self.heard.packet("s", payload, self.now)

    def pages(self, packets: int, serial: int = 1) -> list[bytes]:
        muxer = OggMuxer(serial)
        return [*muxer.headers(), *(muxer.page(PACKET) for _ in range(packets))]

    def test_an_undisturbed_track_leaves_nothing_to_be_said(self) -> None:
        track = self.heard.accepted("s", TRACK)
        self.ready()
        self.play(self.pages(200))
        self.say(Finished("s", TRACK, played=4.0))
        tally = self.heard.tally
        self.assertEqual((tally.lost, tally.doubled, tally.stray, tally.unknown, tally.late, tally.deficit), (0,) * 6)
        self.assertEqual((tally.tracks, tally.calm_tracks, tally.calm_packets, tally.packets), (1, 1, 200, 202))
        self.assertEqual((self.heard.unended(), self.heard.unasked(), self.sounded), ([], [], [TRACK]))
        self.assertEqual([(ended, type(event)) for ended, event in self.ends], [(track, Finished)])
        self.assertApproximates(tally.calm_hours, 4 / 3600, 1e-9)

    def test_pages_that_are_missing_twice_or_of_another_track_are_counted(self) -> None:
        self.heard.accepted("s", TRACK)
        self.ready()
        pages = self.pages(10)
        self.play([*pages[:5], *pages[7:], pages[3], pages[4]])
        self.play([*self.pages(1, serial=2)[2:], b"no page"])
        tally = self.heard.tally
        self.assertEqual((tally.lost, tally.doubled, tally.stray), (2, 2, 2))

    def test_packets_before_ready_and_after_the_end_are_of_no_track(self) -> None:
        self.heard.accepted("s", TRACK)
        self.play([PACKET])
        self.ready(format_="opus")
        self.play([PACKET])
        self.say(Stopped("s", TRACK, reason="stop", played=0.02))
        self.play([PACKET])
        self.assertEqual((self.heard.tally.stray, self.heard.tally.lost), (2, 0))

    def test_what_the_end_says_was_played_is_what_was_heard(self) -> None:
        for track_id, heard, played in ((TRACK, 3, 5), (OTHER, 5, 3)):
            self.heard.accepted("s", track_id)
            self.ready(track_id, "opus")
            self.play([PACKET] * heard)
            self.say(Finished("s", track_id, played=played * 0.02))
        self.assertEqual((self.heard.tally.lost, self.heard.tally.doubled), (2, 2))

    def test_each_play_has_one_end(self) -> None:
        self.heard.accepted("s", TRACK)
        for _ in range(3):
            self.say(Stopped("s", TRACK, reason="stop", played=0.0))
        self.heard.accepted("s", OTHER)
        self.assertEqual(self.heard.tally.unknown + len(self.heard.unasked()), 2)
        self.assertEqual([track.track_id for track in self.heard.unended()], [OTHER])
        self.assertEqual(self.heard.tally.ends, {"stopped: stop": 2})

    def test_an_end_may_come_before_the_answer_to_the_post(self) -> None:
        self.say(Error("s", TRACK, code="not_found", message="m", played=0.0))
        self.assertEqual([track.track_id for track in self.heard.unasked()], [TRACK])
        self.assertTrue(self.heard.accepted("s", TRACK).ended)
        self.assertEqual((self.heard.unasked(), self.heard.unended()), ([], []))
        self.assertEqual(self.heard.tally.ends, {"error: not_found": 1})

    def test_after_a_cut_the_daemon_must_go_on_with_what_is_held(self) -> None:
        self.heard.accepted("s", TRACK)
        self.ready(format_="opus")
        self.play([PACKET] * 10)
        self.heard.interrupted(self.now)
        self.assertEqual(self.heard.held(), {"s": Held(10, TRACK)})
        self.now += 5.0
        self.say(Attached("s", TRACK, status="streaming", position=0.2, packets=10))
        self.play([PACKET] * 10)
        tally = self.heard.tally
        self.assertEqual((tally.lost, tally.doubled, tally.late), (0, 0, 0))
        self.say(Attached("s", TRACK, status="streaming", position=0.2, packets=23))
        self.say(Attached("s", TRACK, status="streaming", position=0.2, packets=22))
        self.assertEqual((tally.lost, tally.doubled), (3, 1))

    def test_late_and_behind_are_counted_until_somebody_interferes(self) -> None:
        track = self.heard.accepted("s", TRACK)
        self.ready(format_="opus")
        self.play([PACKET] * 100)
        self.now += 0.2
        self.play([PACKET] * 100)
        self.heard.touch(track, self.now)
        self.now += 9
        self.play([PACKET] * 100)
        tally = self.heard.tally
        self.assertEqual((tally.late, tally.deficit, tally.calm_packets), (1, 10, 200))
        self.say(Finished("s", TRACK, played=6.0))
        self.assertEqual((tally.late, tally.calm_tracks, track.touched), (1, 0, True))

    def test_a_pause_and_a_jump_are_no_silence(self) -> None:
        self.heard.accepted("s", TRACK)
        self.ready(format_="opus")
        for event in (
            Paused("s", TRACK, position=0.0),
            Resumed("s", TRACK, position=0.0),
            Seeked("s", TRACK, position=9.0, previous=0.0),
        ):
            self.play([PACKET] * 120)
            self.say(event)
            self.now += 3
        self.say(Recovered("s", TRACK, position=1.0))
        self.say(Metadata("s", TRACK, title="T"))
        self.heard.event(Hello(1, (), "audiosvc"), self.now)
        tally = self.heard.tally
        self.assertEqual((tally.late, tally.deficit, tally.recovered), (0, 0, 1))


class BeatTests(SynchronousTestCase):
    def test_what_comes_late_and_is_made_good_is_late_and_not_missing(self) -> None:
        beat = Beat()
        for number in range(300):
            beat.packet(number * 0.02 if not 100 <= number < 110 else 2.2)
        self.assertEqual((beat.late, beat.deficit()), (1, 0))

    def test_silence_to_the_end_is_missing(self) -> None:
        beat = Beat()
        for number in range(300):
            beat.packet(number * 0.02)
        beat.end(299 * 0.02 + 1.01)
        self.assertEqual((beat.late, beat.deficit()), (1, 50))

    def test_a_few_packets_tell_nothing_of_a_beat(self) -> None:
        beat = Beat()
        beat.end(9.0)
        beat.packet(0.0)
        beat.packet(0.5)
        self.assertEqual((beat.late, beat.deficit()), (1, 0))
