"""Our pages read by FFmpeg, FFmpeg's by us."""

from __future__ import annotations

import math
import subprocess
from array import array

import imageio_ffmpeg
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.audio import CHANNELS, FRAME_SAMPLES, SAMPLE_RATE
from audiosvc.codec.ogg import PRE_SKIP, OggDemuxer, OggMuxer, packet_samples
from audiosvc.codec.opus import Encoder
from audiosvc.codec.pcm import level

FRAMES = 100


def ffmpeg(*arguments: str, data: bytes = b"") -> tuple[bytes, str]:
    argv = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-v", "warning", *arguments, "pipe:1"]
    done = subprocess.run(argv, input=data, capture_output=True, timeout=60, check=True)
    return done.stdout, done.stderr.decode()


def decoded(data: bytes) -> tuple[bytes, str]:
    return ffmpeg("-i", "pipe:0", "-f", "s16le", "-ar", str(SAMPLE_RATE), "-ac", str(CHANNELS), data=data)


def tone_packets(hz: float = 440) -> list[bytes]:
    samples = array("h")
    for n in range(FRAME_SAMPLES * FRAMES):
        samples.extend([round(8000 * math.sin(math.tau * hz * n / SAMPLE_RATE))] * CHANNELS)
    return Encoder(128_000, 5).encode(samples.tobytes())


class OurPagesTests(SynchronousTestCase):
    def test_ffmpeg_decodes_them_to_the_sample_without_a_complaint(self) -> None:
        muxer = OggMuxer(5, title="Größe", artist="Ada")
        packets = tone_packets()
        pages = muxer.headers() + [muxer.page(packet, packet is packets[-1]) for packet in packets]
        pcm, said = decoded(b"".join(pages))
        self.assertEqual(said, "")
        self.assertEqual(len(pcm), (FRAME_SAMPLES * FRAMES - PRE_SKIP) * 4)
        self.assertLess(abs(level(pcm) - 20 * math.log10(8000 / math.sqrt(2) / 32_768)), 0.1)
        tags, _ = ffmpeg("-i", "pipe:0", "-map_metadata", "0:s:0", "-f", "ffmetadata", data=b"".join(pages))
        self.assertIn("TITLE=Größe\nARTIST=Ada", tags.decode())

    def test_ffmpeg_takes_a_stream_cut_short_and_one_chained_to_it(self) -> None:
        packets = tone_packets()
        data = b""
        for serial in (1, 2):
            muxer = OggMuxer(serial, title=f"part {serial}")
            data += b"".join([*muxer.headers(), *(muxer.page(packet) for packet in packets[:50]), muxer.end()])
        pcm, _ = decoded(data)
        self.assertGreaterEqual(len(pcm), 2 * (FRAME_SAMPLES * 50 - PRE_SKIP) * 4)

    def test_ffmpeg_copies_the_very_same_packets(self) -> None:
        muxer = OggMuxer(5)
        packets = tone_packets()
        pages = muxer.headers() + [muxer.page(packet, packet is packets[-1]) for packet in packets]
        copy, _ = ffmpeg("-i", "pipe:0", "-c", "copy", "-f", "ogg", data=b"".join(pages))
        self.assertEqual([found.data for found in OggDemuxer().feed(copy)][2:], packets)


class TheirPagesTests(SynchronousTestCase):
    def made(self, *options: str) -> bytes:
        source = ("-f", "lavfi", "-i", "sine=440:sample_rate=48000:duration=3.21")
        return ffmpeg(*source, "-ac", "2", "-c:a", "libopus", *options, "-f", "ogg")[0]

    def test_every_packet_comes_out_and_the_granules_add_up(self) -> None:
        for options in ((), ("-frame_duration", "60"), ("-frame_duration", "2.5", "-page_duration", "20000")):
            demuxer = OggDemuxer()
            head, tags, *audio = demuxer.feed(self.made(*options))
            self.assertTrue(head.bos and head.data.startswith(b"OpusHead") and tags.data.startswith(b"OpusTags"))
            self.assertEqual((demuxer.skipped_bytes, demuxer.dropped_packets), (0, 0))
            self.assertEqual([found.eos for found in audio], [False] * (len(audio) - 1) + [True])
            at = 0
            for found in audio[:-1]:
                at += packet_samples(found.data)
                self.assertIn(found.granule, (None, at))
            # The last granule cuts off what the encoder only added to fill its last packet.
            self.assertEqual(audio[-1].granule, int.from_bytes(head.data[10:12], "little") + round(3.21 * SAMPLE_RATE))
            self.assertGreaterEqual(at + packet_samples(audio[-1].data), audio[-1].granule or 0)

    def test_packed_into_pages_of_ours_it_sounds_the_same(self) -> None:
        data = self.made()
        _, _, *audio = OggDemuxer().feed(data)
        muxer = OggMuxer(1)
        pages = muxer.headers() + [muxer.page(found.data, found.eos) for found in audio]
        theirs, ours = decoded(data)[0], decoded(b"".join(pages))[0]
        self.assertEqual(ours[: len(theirs)], theirs)
        self.assertLess(len(ours) - len(theirs), FRAME_SAMPLES * 4)
