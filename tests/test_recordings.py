from __future__ import annotations

import errno
import io
from collections.abc import Callable

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.audio import FRAME_BYTES
from audiosvc.codec.ogg import OggDemuxer
from audiosvc.recordings import Recordings, sentence
from audiosvc.wire.codec import WireError
from audiosvc.wire.messages import (
    Attached,
    Detached,
    Error,
    Event,
    Finished,
    Hello,
    Ready,
    SessionEvent,
    Stopped,
    UnknownEvent,
)

PACKETS = [b"\xfc" + bytes([n]) * 30 for n in range(5)]


def ready(session_id: str = "a", track_id: str = "t1", title: str | None = "Song") -> Ready:
    return Ready(session_id, track_id, "demo:x", "opus", 0.0, title)


def ends_properly(data: bytes) -> bool:
    """Whether the last page of `data` carries the end-of-stream flag."""
    return bool(data[data.rindex(b"OggS") + 5] & 4)


class Broken(io.BytesIO):
    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, data: object) -> int:
        raise self.error


class RecordingsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.files: dict[tuple[str, str], io.BytesIO] = {}
        self.told: list[str] = []
        self.warned: list[str] = []

    def place(self, session_id: str, track_id: str) -> io.BytesIO:
        return self.files.setdefault((session_id, track_id), io.BytesIO())

    def start(
        self, *named: str, follow: bool = False, place: Callable[[str, str], io.BytesIO] | None = None
    ) -> Recordings:
        return Recordings(named, follow, place or self.place, self.told.append, self.warned.append)

    def play(self, recordings: Recordings, *events: Event | UnknownEvent, packets: int = 2) -> None:
        for event in events:
            recordings.event(event)
            if isinstance(event, (Ready, Attached)):
                for packet in PACKETS[:packets]:
                    recordings.packet(event.session_id, packet)

    def test_one_track_of_what_is_named_is_heard_to_its_end(self) -> None:
        recordings = self.start("a")
        self.play(recordings, ready())
        self.assertNoResult(recordings.over)
        self.play(recordings, Finished("a", "t1", 0.04), ready(track_id="t2"))
        self.assertEqual(self.successResultOf(recordings.over), 0)
        self.assertEqual(list(self.files), [("a", "t1")])
        self.assertTrue(ends_properly(self.files["a", "t1"].getvalue()))

    def test_it_ends_with_the_last_of_several(self) -> None:
        recordings = self.start("a", "b")
        self.play(recordings, ready("a"), ready("b"), Stopped("a", "t1", "replaced", 1.0), ready("a", "t2"))
        self.assertNoResult(recordings.over)
        self.play(recordings, Detached("b", "t1"))
        self.assertEqual(self.successResultOf(recordings.over), 0)
        self.assertEqual(list(self.files), [("a", "t1"), ("b", "t1")])

    def test_hearing_all_ends_when_nothing_plays_any_more(self) -> None:
        recordings = self.start()
        self.play(
            recordings, Hello(1, ("credit",), "audiosvc/1"), ready("a"), Attached("b", "t1", "streaming", 4.0, 200)
        )
        self.play(recordings, Finished("a", "t1", 1.0), ready("a", "t2"), Finished("a", "t2", 1.0))
        self.assertNoResult(recordings.over)
        self.play(recordings, Finished("b", "t1", 1.0))
        self.successResultOf(recordings.over)
        self.assertEqual(list(self.files), [("a", "t1"), ("b", "t1"), ("a", "t2")])

    def test_following_chains_the_tracks_in_one_file(self) -> None:
        file = io.BytesIO()
        recordings = self.start("a", follow=True, place=lambda *_: file)
        self.play(recordings, ready(), Finished("a", "t1", 0.04), ready(track_id="t2"), Finished("a", "t2", 0.04))
        self.assertNoResult(recordings.over)
        recordings.finish()
        found = OggDemuxer().feed(file.getvalue())
        self.assertEqual([packet.bos for packet in found], [True, False, False, False] * 2)
        self.assertEqual(len({packet.serial for packet in found}), 2)

    def test_a_new_track_closes_the_one_before(self) -> None:
        recordings = self.start("a")
        self.play(recordings, ready(), ready(track_id="t2"))
        self.assertTrue(ends_properly(self.files["a", "t1"].getvalue()))

    def test_an_error_is_a_failure(self) -> None:
        recordings = self.start("a")
        self.play(recordings, Error("a", "t1", "not_audio", "no sound", 0.0))
        self.assertEqual(self.successResultOf(recordings.over), 1)
        self.assertEqual(self.files, {})

    def test_packets_outside_a_track_it_hears_are_left(self) -> None:
        recordings = self.start("a")
        recordings.packet("b", PACKETS[0])
        self.play(recordings, ready("b"))
        self.assertEqual(self.files, {})

    def test_being_ended_closes_the_files_and_more_is_ignored(self) -> None:
        recordings = self.start("a")
        self.play(recordings, ready())
        recordings.finish()
        recordings.finish()
        self.play(recordings, Finished("a", "t1", 1.0))
        recordings.lost(Failure(ConnectionDone()))
        self.assertEqual(self.successResultOf(recordings.over), 0)
        self.assertTrue(ends_properly(self.files["a", "t1"].getvalue()))
        self.assertEqual((len(self.told), self.warned), (1, []))

    def test_a_daemon_that_goes_away_is_a_failure_and_the_files_stay_whole(self) -> None:
        for reason, words in ((ConnectionDone(), "went away"), (WireError("invalid_length", "zero"), "broken: zero")):
            self.files.clear()
            recordings = self.start("a")
            self.play(recordings, ready())
            recordings.lost(Failure(reason))
            self.assertEqual(self.successResultOf(recordings.over), 1)
            self.assertIn(words, self.warned.pop())
            self.assertTrue(ends_properly(self.files["a", "t1"].getvalue()))

    def test_pcm_is_refused_in_words(self) -> None:
        recordings = self.start("a")
        recordings.event(ready())
        recordings.packet("a", bytes(FRAME_BYTES))
        self.assertEqual(self.successResultOf(recordings.over), 1)
        self.assertEqual(self.warned, ["a cannot be recorded: the payload is PCM, not Opus"])

    def test_a_reader_that_leaves_ends_it_quietly(self) -> None:
        recordings = self.start("a", place=lambda *_: Broken(BrokenPipeError()))
        self.play(recordings, ready())
        self.assertEqual((self.successResultOf(recordings.over), self.warned), (0, []))

    def test_a_full_disk_ends_it_with_words(self) -> None:
        recordings = self.start("a", place=lambda *_: Broken(OSError(errno.ENOSPC, "No space left")))
        self.play(recordings, ready())
        self.assertEqual((self.successResultOf(recordings.over), len(self.warned)), (1, 1))

    def test_a_disk_full_only_at_the_end_is_told_too(self) -> None:
        class FullLater(io.BytesIO):
            def flush(self) -> None:
                if self.getvalue().count(b"OggS") > 4:
                    raise OSError(errno.ENOSPC, "No space left")

        recordings = self.start("a", place=lambda *_: FullLater())
        self.play(recordings, ready(), Finished("a", "t1", 0.04))
        self.assertEqual((self.successResultOf(recordings.over), len(self.warned)), (1, 1))


class SentenceTests(SynchronousTestCase):
    def test_says_who_what_and_all_that_is_known(self) -> None:
        self.assertEqual(sentence(Finished("a", "t1", 1.5)), "a finished track_id='t1' played=1.5")
        self.assertEqual(sentence(ready(title=None)), "a ready track_id='t1' url='demo:x' format='opus' position=0.0")
        self.assertEqual(sentence(Hello(1, (), "x/1")), "hello protocol=1 features=() server='x/1'")

    def test_what_a_source_brought_along_cannot_steer_a_terminal(self) -> None:
        events: list[SessionEvent | UnknownEvent] = [
            ready(title="\x1b[2J\n\x9b"),
            UnknownEvent("\x1b", {"x": "\x07\r"}),
        ]
        for event in events:
            self.assertTrue(sentence(event).isprintable())  # type: ignore[arg-type]
