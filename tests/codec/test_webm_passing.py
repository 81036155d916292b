"""WebM as it lies in a file: what is passed of it from wherever one begins, and what is left to FFmpeg."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.audio import FRAME_SAMPLES, SAMPLE_RATE
from audiosvc.codec.ogg import PRE_SKIP
from audiosvc.codec.passing import Passed
from audiosvc.codec.webm import WebmHead
from audiosvc.codec.webm_passing import ROUNDING, WebmPassing
from tests.codec.material import copied, folder
from tests.codec.test_passing import CELT_10, SILK_60, head, numbered

DELAY = PRE_SKIP * 1_000_000_000 // SAMPLE_RATE


def element(identity: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    name = identity.to_bytes((identity.bit_length() + 7) // 8, "big")
    return name + (len(body) | 1 << 28).to_bytes(4, "big") + body


def number(identity: int, value: int) -> bytes:
    return element(identity, value.to_bytes(8, "big"))


def block(time: int, packet: bytes) -> bytes:
    return element(0xA3, b"\x81", time.to_bytes(2, "big", signed=True), b"\x80", packet)


def last(time: int, packet: bytes, discard: int) -> bytes:
    """A block at whose end so many samples are to be dropped."""
    padding = element(0x75A2, (discard * 1_000_000_000 // SAMPLE_RATE).to_bytes(8, "big", signed=True))
    return element(0xA0, element(0xA1, block(time, packet)[5:]), padding)


def webm(*blocks: bytes, opus_head: bytes = head(), at: int = 0) -> bytes:
    """One cluster at `at` ms with these in it."""
    ebml = element(0x1A45DFA3, element(0x4282, b"webm"))
    info = element(0x1549A966, number(0x2AD7B1, 1_000_000))
    track = (
        number(0xD7, 1),
        number(0x83, 2),
        element(0x86, b"A_OPUS"),
        element(0x63A2, opus_head),
        number(0x56AA, DELAY),
    )
    tracks = element(0x1654AE6B, element(0xAE, *track))
    return ebml + element(0x18538067, info, tracks, element(0x1F43B675, number(0xE7, at), *blocks))


def blocks(packets: list[bytes], first: int = 0) -> list[bytes]:
    """Of 20 ms each, from `first` ms on."""
    return [block(first + 20 * i, packet) for i, packet in enumerate(packets)]


def passed(
    data: bytes, at: int = 0, known: WebmHead | None = None, offset: int = 0
) -> tuple[list[Passed], WebmPassing]:
    passing = WebmPassing(at, known, offset)
    return [*passing.feed(data), *passing.end()], passing


def packets(found: list[Passed]) -> list[bytes]:
    return [each.packet for each in found]


class PlaceTests(SynchronousTestCase):
    def test_it_is_what_ffmpeg_copies_each_packet_nearly_at_its_place(self) -> None:
        found, passing = passed((folder() / "20.webm").read_bytes())
        copy = copied("20.webm")[0]
        self.assertEqual(packets(found), packets(copy))
        for one, other in zip(found, copy, strict=True):
            self.assertLessEqual(abs(one.position - other.position), ROUNDING)
        self.assertEqual((passing.odd, passing.unpassable, passing.demuxer.whole), (None, None, True))

    def test_from_any_position_the_packets_are_the_same(self) -> None:
        data = (folder() / "20.webm").read_bytes()
        _, whole = passed(data)
        known, cues, chosen = whole.head, whole.demuxer.cues, random.Random(5)
        assert known is not None and cues is not None
        where = {each.packet: each.position for each in passed(data)[0]}
        for at in (0, 480, *(chosen.randrange(15 * SAMPLE_RATE) for _ in range(40))):
            offset = known.start(cues, at)
            found, passing = passed(data[offset:], at, known, offset)
            self.assertIsNone(passing.odd)
            self.assertLessEqual(abs(found[0].position - (at - PRE_SKIP)), FRAME_SAMPLES // 2 + ROUNDING)
            for each in found:
                self.assertLessEqual(abs(each.position - where[each.packet]), ROUNDING)

    def test_packets_lie_where_their_times_say_rounded_as_they_are(self) -> None:
        times = [0, 21, 40, 60, 81, 99]
        data = webm(*(block(time, packet) for time, packet in zip(times, numbered(6), strict=True)))
        found, _ = passed(data)
        self.assertEqual([each.position for each in found], [time * 48 - PRE_SKIP for time in times])

    def test_of_several_in_one_block_each_begins_where_the_one_before_ends(self) -> None:
        both = element(0xA3, b"\x81", (0).to_bytes(2, "big"), b"\x84\x01", *numbered(2))
        found, _ = passed(webm(both, *blocks(numbered(2, first=2), 40)))
        self.assertEqual(packets(found), numbered(4))
        self.assertEqual([each.position for each in found], [i * FRAME_SAMPLES - PRE_SKIP for i in range(4)])

    def test_a_hole_moves_the_position(self) -> None:
        found, _ = passed(webm(*blocks(numbered(3)), *blocks(numbered(3, first=3), 1000)))
        self.assertEqual(packets(found), numbered(6))
        self.assertEqual(found[3].position, SAMPLE_RATE - PRE_SKIP)

    def test_what_is_to_be_dropped_at_the_end_is_left_out(self) -> None:
        for discard, left in ((0, 6), (-100, 6), (959, 6), (960, 5)):
            found, _ = passed(webm(*blocks(numbered(5)), last(100, numbered(6)[5], discard)))
            self.assertEqual(packets(found), numbered(6)[:left])

    def test_a_last_packet_that_is_short_is_filled(self) -> None:
        data = webm(*(block(10 * i, packet) for i, packet in enumerate(numbered(5, CELT_10))))
        self.assertEqual(len(passed(data)[0]), 3)


class OddTests(SynchronousTestCase):
    def odd(self, data: bytes, at: int = 0, known: WebmHead | None = None, offset: int = 0) -> str | None:
        found, passing = passed(data, at, known, offset)
        self.given = packets(found)
        return passing.odd

    def test_what_is_no_webm(self) -> None:
        self.assertIsNotNone(self.odd(bytes(100)))

    def test_a_head_that_makes_no_sense(self) -> None:
        data = webm(*blocks(numbered(3)), opus_head=head(version=16))
        self.assertEqual(self.odd(data), "the head of the Opus makes no sense")

    def test_one_that_begins_late(self) -> None:
        self.assertIn("does not begin at 0", self.odd(webm(*blocks(numbered(3)), at=5000)) or "")

    def test_times_that_go_back(self) -> None:
        made = blocks(numbered(3))
        self.assertIsNone(self.odd(webm(*made, *blocks(numbered(3), 40))))
        found, passing = passed(webm(*made, block(1000, b"\xfc1"), *blocks(numbered(3), 80)))
        self.assertEqual(passing.odd, "the WebM goes back in time")
        self.assertEqual(len(found), 4, "what was good before is passed")

    def test_a_damaged_packet(self) -> None:
        self.assertEqual(self.odd(webm(*blocks([*numbered(3), b"\xff\x00", *numbered(2)]))), "the Opus is damaged")
        self.assertEqual(self.given, numbered(3))

    def test_a_place_that_does_not_hold_what_is_sought(self) -> None:
        data = webm(*blocks(numbered(3)), at=5000)
        known = passed(webm(*blocks(numbered(3))))[1].head
        assert known is not None
        self.assertIn(
            "lacks what was sought", self.odd(data[known.clusters :], SAMPLE_RATE, known, known.clusters) or ""
        )

    def test_what_cannot_be_passed_is_told(self) -> None:
        found, passing = passed(webm(*blocks([*numbered(3), *numbered(1, SILK_60)])))
        assert passing.unpassable is not None
        self.assertEqual((packets(found), passing.unpassable.position), (numbered(3), 3 * FRAME_SAMPLES - PRE_SKIP))
        found, passing = passed(webm(*blocks(numbered(3)), opus_head=head(gain=1)))
        assert passing.unpassable is not None
        self.assertIn("louder or softer", passing.unpassable.reason)
        self.assertEqual((found, passing.odd), ([], None))
