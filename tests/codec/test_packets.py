"""Packets taken apart and put together sound as they did, by libopus's own judgement; nothing else is let in."""

from __future__ import annotations

import ctypes
import math
from array import array
from functools import cache

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.audio import CHANNELS, SAMPLE_RATE
from audiosvc.codec.ogg import MalformedPacket
from audiosvc.codec.opus import opuslib
from audiosvc.codec.packets import FRAME_MOST, join, split

VOIP, AUDIO = opuslib.APPLICATION_VOIP, opuslib.APPLICATION_AUDIO

sizes = st.one_of(st.integers(0, 8), st.integers(248, 260), st.integers(0, FRAME_MOST))


def decoded(packets: list[bytes], channels: int = CHANNELS) -> bytes:
    decoder = opuslib.Decoder(SAMPLE_RATE, channels)
    return b"".join(bytes(decoder.decode(packet, 5760)) for packet in packets)


@cache
def encoded(samples: int, channels: int, bitrate: int, application: str | int) -> list[bytes]:
    """Ten frames of a rising tone, each of so many samples."""
    encoder = opuslib.Encoder(SAMPLE_RATE, channels, application)
    encoder.bitrate = bitrate
    notes = (math.sin(n * (0.02 + n * 1e-6)) for n in range(10 * samples))
    sound = array("h", [round(12_000 * note) for note in notes for _ in range(channels)]).tobytes()
    step = samples * channels * 2
    return [encoder.encode(sound[at : at + step], samples) for at in range(0, len(sound), step)]


def libopus_splits(packet: bytes) -> list[bytes] | None:
    """The frames as libopus finds them, None if it takes the packet for damaged."""
    toc, offset = ctypes.c_ubyte(), ctypes.c_int()
    frames, lengths = (ctypes.c_void_p * 48)(), (ctypes.c_int16 * 48)()
    data = ctypes.create_string_buffer(packet, len(packet))
    parse = opuslib.api.libopus.opus_packet_parse
    count = parse(data, len(packet), ctypes.byref(toc), frames, lengths, ctypes.byref(offset))
    if count < 0:
        return None
    return [ctypes.string_at(frames[i] or 0, lengths[i]) if lengths[i] else b"" for i in range(count)]


class SplitTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=400)
    @given(st.one_of(st.binary(max_size=60), st.builds(bytes.__add__, st.binary(max_size=6), st.binary(max_size=2000))))
    def test_any_bytes_are_parted_as_libopus_parts_them(self, packet: bytes) -> None:
        assume(packet)
        expected = libopus_splits(packet)
        if expected is None:
            self.assertRaises(MalformedPacket, split, packet)
        else:
            self.assertEqual(split(packet).frames, expected)

    def test_no_bytes_are_no_packet(self) -> None:
        self.assertRaises(MalformedPacket, split, b"")

    def test_what_a_decoder_would_refuse_is_refused(self) -> None:
        for packet in (
            b"\xff",  # no count
            b"\xff\x00",  # no frames
            b"\xff\x3f",  # 1.26 s
            b"\xfd\x00",  # two frames of half a byte
            b"\xfe",  # no length
            b"\xfe\xfc",  # half a length
            b"\xfe\x05\x00",  # a frame that is not there
            b"\xff\x02\x00",  # two frames of half a byte
            b"\xff\x41",  # padding without its length
            b"\xff\x41\xff",  # and with the first part of it
            b"\xff\x41\x05\x00",  # more padding than packet
            b"\xff\x83\x01\x01\x00",  # a frame too few
            b"\xff\x83\x01",  # a length too few
            b"\xfc" + bytes(FRAME_MOST + 1),
        ):
            self.assertRaises(MalformedPacket, split, packet)
            self.assertIsNone(libopus_splits(packet))

    def test_padding_is_left_out(self) -> None:
        self.assertEqual(split(b"\xff\x41\x03ab" + bytes(3)).frames, [b"ab"])
        self.assertEqual(split(b"\xff\x41\xff\x01ab" + bytes(255)).frames, [b"ab"])
        self.assertEqual(split(b"\xff\xc2\x02\x01abc" + bytes(2)).frames, [b"a", b"bc"])

    def test_how_long_a_frame_lasts_and_what_it_is(self) -> None:
        self.assertEqual(split(b"\xff\x03abc"), (0xFC, 960, [b"a", b"b", b"c"]))
        self.assertEqual(split(b"\xe1abab"), (0xE0, 120, [b"ab", b"ab"]))
        self.assertEqual(split(b"\x18"), (0x18, 2880, [b""]))


class JoinTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=300)
    @given(st.integers(0, 31), st.booleans(), st.lists(sizes, min_size=1, max_size=8), st.booleans())
    def test_what_is_put_together_is_taken_apart_again(
        self, config: int, stereo: bool, sizes: list[int], alike: bool
    ) -> None:
        frames = [bytes((i + 1,)) * (sizes[0] if alike else size) for i, size in enumerate(sizes)]
        toc = config << 3 | stereo << 2
        packet = join(toc, frames)
        expected = libopus_splits(packet)
        assume(expected is not None)  # longer than 120 ms
        self.assertEqual(expected, frames)
        self.assertEqual((split(packet).toc, split(packet).frames), (toc, frames))

    def test_the_shortest_form_is_taken(self) -> None:
        self.assertEqual(join(0xFC, [b"ab"]), b"\xfcab")
        self.assertEqual(join(0xF0, [b"ab", b"cd"]), b"\xf1abcd")
        self.assertEqual(join(0xF0, [b"a", b"cde"]), b"\xf2\x01acde")
        self.assertEqual(join(0xE8, [b"a"] * 4), b"\xeb\x04aaaa")
        self.assertEqual(join(0xE8, [b"a", b"", b"b", b"cc"]), b"\xeb\x84\x01\x00\x01abcc")


class SoundTests(SynchronousTestCase):
    def check(self, samples: int, together: int, channels: int, bitrate: int, application: str | int) -> None:
        """The sound of `together` packets made one, or of one of them made several, is not changed by a bit."""
        packets = encoded(samples, channels, bitrate, application)
        if together > 1:
            joined = []
            for at in range(0, len(packets) - len(packets) % together, together):
                parts = [split(packet) for packet in packets[at : at + together]]
                if len({part.toc for part in parts}) == 1:
                    joined.append(join(parts[0].toc, [frame for part in parts for frame in part.frames]))
                else:
                    joined += packets[at : at + together]
            self.assertLess(len(joined), len(packets))
            packets = packets[: len(packets) - len(packets) % together]
        else:
            joined = [join(part.toc, [frame]) for part in map(split, packets) for frame in part.frames]
            self.assertGreater(len(joined), len(packets))
        for heard in (1, 2):
            self.assertEqual(decoded(joined, heard), decoded(packets, heard))

    def test_packets_of_several_frames_taken_apart(self) -> None:
        for samples in (1920, 2880):
            for channels in (1, 2):
                self.check(samples, 1, channels, 96_000, AUDIO)

    def test_short_frames_put_together(self) -> None:
        for samples, together in ((480, 2), (240, 4), (120, 8)):
            for channels in (1, 2):
                self.check(samples, together, channels, 96_000, AUDIO)

    def test_short_frames_of_speech_put_together(self) -> None:
        for bitrate in (8_000, 14_000, 24_000):
            self.check(480, 2, 1, bitrate, VOIP)
