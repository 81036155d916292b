from __future__ import annotations

import errno
import io
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.audio import FRAME_BYTES
from audiosvc.codec.ogg import MalformedPacket, OggDemuxer, OggMuxer
from audiosvc.recorder import Recorder

PACKETS = [b"\xfc" + bytes([n]) * 30 for n in range(5)]


def audio(data: bytes) -> list[bytes]:
    return [found.data for found in OggDemuxer().feed(data) if not found.data.startswith(b"Opus")]


def ends_properly(data: bytes) -> bool:
    """Whether the last page of `data` carries the end-of-stream flag."""
    return bool(data[data.rindex(b"OggS") + 5] & 4)


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
