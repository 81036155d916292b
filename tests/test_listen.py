"""The receiving half: what comes from the daemon, and what becomes of it in files."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from audiosvc import listen
from audiosvc.audio import FRAME_BYTES
from audiosvc.codec.ogg import MalformedPacket, OggDemuxer, OggMuxer
from audiosvc.listen import Listener, Recorder, Recordings, parse, sentence, track_path
from audiosvc.wire.codec import WireError, encode_event, encode_packet
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


def audio(data: bytes) -> list[bytes]:
    return [found.data for found in OggDemuxer().feed(data) if not found.data.startswith(b"Opus")]


def ends_properly(data: bytes) -> bool:
    """Whether the last page of `data` carries the end-of-stream flag."""
    return bool(data[data.rindex(b"OggS") + 5] & 4)


class ListenerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.heard: list[object] = []
        self.lost: list[Failure] = []
        self.transport = StringTransport()
        self.listener = Listener(lambda *packet: self.heard.append(packet), self.heard.append, self.lost.append)
        self.listener.makeConnection(self.transport)

    def test_hands_on_packets_and_events_in_their_order_at_any_split(self) -> None:
        data = encode_event(ready()) + encode_packet("a", b"1") + encode_event(Finished("a", "t1", 0.02))
        for at in range(len(data)):
            self.listener.dataReceived(data[at : at + 1])
        self.assertEqual(self.heard, [ready(), ("a", b"1"), Finished("a", "t1", 0.02)])

    def test_says_what_it_wants_in_lines(self) -> None:
        self.listener.subscribe("guild-a")
        self.listener.hello("me/1")
        self.listener.credit("guild-a", 50)
        lines = [
            b'{"type":"subscribe","session_id":"guild-a"}',
            b'{"type":"hello","client":"me/1"}',
            b'{"type":"credit","session_id":"guild-a","packets":50}',
        ]
        self.assertEqual(self.transport.value().splitlines(), lines)

    def test_tells_that_the_connection_is_gone(self) -> None:
        self.listener.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.lost[0].check(ConnectionDone))

    def test_leaves_a_broken_stream_after_what_was_whole(self) -> None:
        self.listener.dataReceived(encode_packet("a", b"1") + b"\xff\xff\xff\xff")
        self.listener.dataReceived(b"more")
        self.assertEqual((self.heard, self.transport.disconnecting), ([("a", b"1")], True))
        self.listener.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.lost[0].check(WireError))
        self.assertEqual(self.lost[0].value.code, "invalid_length")

    def test_closes_only_what_was_open(self) -> None:
        Listener(mock.Mock(), mock.Mock(), mock.Mock()).close()
        self.listener.close()
        self.assertTrue(self.transport.disconnecting)


class RecorderTests(SynchronousTestCase):
    def record(self, *payloads: bytes) -> bytes:
        out = io.BytesIO()
        recorder = Recorder(out, "Song")
        for payload in payloads:
            recorder.packet(payload)
        recorder.close()
        self.assertFalse(out.closed)
        return out.getvalue()

    def test_opus_packets_become_a_whole_stream(self) -> None:
        data = self.record(*PACKETS)
        head, tags, *rest = OggDemuxer().feed(data)
        self.assertTrue(head.bos)
        self.assertIn(b"TITLE=Song", tags.data)
        self.assertEqual([found.data for found in rest], PACKETS)
        self.assertTrue(ends_properly(data))

    def test_each_packet_is_there_as_soon_as_it_is_given(self) -> None:
        path = Path(self.mktemp())
        recorder = Recorder(path)
        for count, packet in enumerate(PACKETS, 1):
            recorder.packet(packet)
            self.assertEqual(audio(path.read_bytes()), PACKETS[:count])
        recorder.close()

    def test_ogg_pages_are_written_as_they_are(self) -> None:
        muxer = OggMuxer(1, title="Theirs")
        pages = [*muxer.headers(), muxer.page(PACKETS[0]), muxer.page(PACKETS[1], last=True)]
        self.assertEqual(self.record(*pages), b"".join(pages))

    def test_ogg_pages_cut_short_get_an_end(self) -> None:
        muxer = OggMuxer(1)
        pages = [*muxer.headers(), muxer.page(PACKETS[0])]
        self.assertEqual(self.record(*pages), b"".join([*pages, muxer.end()]))

    def test_ogg_pages_heard_from_the_middle_on_get_new_headers(self) -> None:
        muxer = OggMuxer(1)
        headers = muxer.headers()
        pages = [muxer.page(packet) for packet in PACKETS]
        for payloads in (pages, [headers[1], *pages], [*pages[:2], *headers, *pages[2:]]):
            data = self.record(*payloads)
            head, _, *rest = OggDemuxer().feed(data)
            self.assertTrue(head.bos and ends_properly(data))
            self.assertEqual([found.data for found in rest], PACKETS)

    def test_refuses_pcm_and_nonsense(self) -> None:
        for payload in (bytes(FRAME_BYTES), b"", b"\xff\x00"):
            with self.assertRaises(MalformedPacket):
                Recorder(io.BytesIO()).packet(payload)

    def test_writes_nothing_where_nothing_was_heard(self) -> None:
        self.assertEqual(self.record(), b"")

    def test_closes_its_own_file_even_if_the_end_cannot_be_written(self) -> None:
        recorder = Recorder(Path(self.mktemp()))
        recorder.packet(PACKETS[0])
        self.patch(recorder, "_write", mock.Mock(side_effect=OSError(errno.ENOSPC, "full")))
        with self.assertRaises(OSError):
            recorder.close()
        self.assertTrue(recorder._file.closed)


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


class OptionsTests(SynchronousTestCase):
    def refused(self, *arguments: str) -> str:
        with mock.patch("sys.stderr", new_callable=io.StringIO) as said:
            self.assertRaises(SystemExit, parse, arguments)
        return said.getvalue()

    def test_takes_sessions_and_a_place(self) -> None:
        given = parse(["guild-a", "user:42", "-o", "out/", "--socket", "/x.sock", "--follow", "--quiet"])
        wanted = listen.Options(["guild-a", "user:42"], "out/", Path("/x.sock"), True, True)
        self.assertEqual(given, wanted)

    def test_refuses_what_cannot_be_meant(self) -> None:
        self.patch(os, "isatty", lambda fd: True)
        self.assertIn("1 to 36 characters", self.refused("gu/ild", "-o", "x"))
        self.assertIn("name exactly one", self.refused("-o", "x.ogg"))
        self.assertIn("name exactly one", self.refused("a", "b", "-o", "-"))
        self.assertIn("no folder nowhere", self.refused("a", "-o", "nowhere/x.ogg"))
        self.assertIn("at most 107 bytes", self.refused("a", "-o", "x", "--socket", "/" + "ö" * 54))
        self.assertIn("is a terminal", self.refused("a", "-o", "-"))
        self.assertIn("--output", self.refused("a"))

    def test_a_track_gets_a_file_of_its_own_whatever_it_is_called(self) -> None:
        folder = Path(self.mktemp())
        found = track_path(folder, "user:..", "../" + "x" * 100)
        self.assertEqual((found.parent, found.name), (folder, "user___-___" + "x" * 61 + ".ogg"))
        for name in ("a-t.ogg", "a-t-2.ogg", "a-t-3.ogg"):
            path = track_path(folder, "a", "t")
            self.assertEqual(path.name, name)
            path.touch()
