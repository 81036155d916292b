from __future__ import annotations

import math
import shutil
import tempfile
from pathlib import Path

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

import audiosvc.reception
from audiosvc.audio import FRAME_BYTES
from audiosvc.codec.ogg import OggDemuxer
from audiosvc.codec.opus import Encoder
from audiosvc.reception import PlayFailed, Reception, recording_path
from audiosvc.wire.messages import Finished, Hello, Ready, Stopped


class Case(SynchronousTestCase):
    def folder(self) -> Path:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        return Path(folder).resolve()


class RecordingPathTests(Case):
    def test_it_is_named_by_the_title(self) -> None:
        self.assertEqual(recording_path(Path("r"), "Prélude (No. 1)"), Path("r/Prélude (No. 1).ogg"))

    def test_a_title_cannot_leave_the_folder_or_hide(self) -> None:
        for title in ("../../etc/passwd", "/etc/passwd", "..", ".hidden", "a\0b\n", ""):
            path = recording_path(Path("r"), title)
            self.assertEqual(path.parent, Path("r"))
            self.assertRegex(path.name, r"^[^./\0\n][^/\0\n]*\.ogg$")

    def test_a_long_title_is_cut_between_letters(self) -> None:
        path = recording_path(Path("r"), "夜" * 1000)
        self.assertEqual(path.name, "夜" * 33 + ".ogg")

    def test_nothing_is_replaced(self) -> None:
        folder = self.folder()
        names = []
        for _ in range(3):
            path = recording_path(folder, "One")
            path.touch()
            names.append(path.name)
        self.assertEqual(names, ["One.ogg", "One 2.ogg", "One 3.ogg"])


def ready(session_id: str, title: str = "One") -> Ready:
    return Ready(session_id, f"track-{session_id}", "demo:one", "opus", 0.0, title)


def finished(session_id: str) -> Finished:
    return Finished(session_id, f"track-{session_id}", 1.0)


class ReceptionTests(Case):
    def setUp(self) -> None:
        self.clock = Clock()
        self.recordings = self.folder()
        self.packets = Encoder(96_000, 5).encode(bytes(FRAME_BYTES * 50))

    def reception(self, *urls: str) -> Reception:
        reception = Reception(urls or ("demo:one", "demo:two"), self.recordings, self.clock.seconds)
        self.addCleanup(reception.close)
        return reception

    def hear(self, reception: Reception, session_id: str, packets: list[bytes]) -> None:
        for packet in packets:
            reception.on_packet(session_id, packet)
            self.clock.advance(0.02)

    def test_each_session_is_measured_and_recorded_by_itself(self) -> None:
        reception = self.reception()
        reception.on_event(Hello(1, (), "server"))
        reception.on_event(ready("play:1", "One"))
        reception.on_event(ready("play:2", "Two"))
        self.hear(reception, "play:1", self.packets)
        self.hear(reception, "play:2", self.packets[:10])
        reception.on_event(finished("play:1"))
        reception.close()
        self.assertEqual([track.arrivals.packets for track in reception.tracks.values()], [50, 10])
        for name, sent in (("One", self.packets), ("Two", self.packets[:10])):
            demuxer = OggDemuxer()
            pages = (self.recordings / f"{name}.ogg").read_bytes()
            found = [packet.data for packet in demuxer.feed(pages)]
            self.assertEqual(found[2:], sent)

    def test_the_level_is_that_of_the_sound(self) -> None:
        reception = self.reception()
        reception.on_event(ready("play:1"))
        self.hear(reception, "play:1", self.packets)
        self.assertEqual(reception.tracks["play:1"].level, -math.inf)
        loud = Encoder(96_000, 5).encode((b"\0\x40" * 96 + b"\0\xc0" * 96) * 100)
        self.hear(reception, "play:1", loud)
        self.assertGreater(reception.tracks["play:1"].level or 0.0, -20)

    def test_a_packet_that_cannot_be_decoded_is_recorded_and_silent(self) -> None:
        reception = self.reception()
        reception.on_event(ready("play:1"))
        reception.on_packet("play:1", b"\xff\x41")
        self.assertEqual(reception.tracks["play:1"].level, -math.inf)
        self.assertEqual(reception.tracks["play:1"].arrivals.packets, 1)

    def test_it_has_ended_when_the_last_track_has(self) -> None:
        reception = self.reception()
        ended = reception.all_ended()
        reception.on_event(ready("play:1"))
        reception.on_event(finished("play:1"))
        self.assertNoResult(ended)
        reception.on_event(Stopped("play:2", "t", "stop", 0.0))
        self.successResultOf(ended)

    def test_a_track_that_was_refused_has_ended_too(self) -> None:
        reception = self.reception("demo:none")
        reception.refused("play:1", "no such piece (unknown_demo)")
        self.successResultOf(reception.all_ended())
        self.assertEqual(reception.tracks["play:1"].failure, "no such piece (unknown_demo)")
        self.assertEqual(reception.recorded, {})

    def test_a_lost_connection_fails_whoever_waits_and_whoever_will(self) -> None:
        reception = self.reception()
        waiting = reception.all_ended()
        reception.leave(Failure(ConnectionError("gone")))
        reception.leave(Failure(ValueError("later")))
        self.failureResultOf(waiting, ConnectionError)
        self.failureResultOf(reception.all_ended(), ConnectionError)

    def test_losing_the_connection_after_the_end_is_nothing(self) -> None:
        reception = self.reception("demo:one")
        ended = reception.all_ended()
        reception.on_event(finished("play:1"))
        reception.leave(Failure(ConnectionError("gone")))
        self.successResultOf(ended)

    def test_the_folder_of_the_recordings_is_made(self) -> None:
        self.recordings /= "deep/er"
        self.reception()
        self.assertTrue(self.recordings.is_dir())

    def test_a_folder_that_cannot_be_made_is_refused_in_words(self) -> None:
        self.recordings /= "file"
        self.recordings.touch()
        refused = self.assertRaises(PlayFailed, self.reception)
        self.assertIn("cannot record", str(refused))

    def test_a_recording_that_cannot_be_begun_ends_the_run(self) -> None:
        reception = self.reception()
        self.recordings.rmdir()
        reception.on_event(ready("play:1"))
        failure = self.failureResultOf(reception.all_ended(), PlayFailed)
        self.assertIn("cannot record", str(failure.value))
        self.assertEqual(reception.recorded, {})

    def test_a_recording_that_cannot_be_continued_ends_the_run(self) -> None:
        self.patch(audiosvc.reception, "recording_path", lambda folder, title: Path("/dev/full"))
        reception = self.reception("demo:one")
        reception.on_event(ready("play:1"))
        reception.on_packet("play:1", self.packets[0])
        self.failureResultOf(reception.all_ended(), PlayFailed)
        reception.on_packet("play:1", self.packets[1])
        self.assertEqual(reception.tracks["play:1"].arrivals.packets, 2)

    def test_a_packet_that_no_ogg_stream_takes_ends_the_run(self) -> None:
        reception = self.reception("demo:one")
        reception.on_event(ready("play:1"))
        reception.on_packet("play:1", b"")
        self.failureResultOf(reception.all_ended(), PlayFailed)

    def test_without_recordings_nothing_is_written(self) -> None:
        reception = Reception(["demo:one"], None, self.clock.seconds)
        reception.on_event(ready("play:1"))
        self.hear(reception, "play:1", self.packets)
        reception.on_event(finished("play:1"))
        self.assertEqual(list(self.recordings.iterdir()), [])
        self.assertEqual(reception.tracks["play:1"].arrivals.packets, 50)
