"""Which packets of a copy are passed, as what, with which position; and where it ends, whatever comes."""

from __future__ import annotations

import struct
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.audio import FRAME_SAMPLES, OPUS_PACKET_MOST, SAMPLE_RATE
from audiosvc.codec.ogg import PRE_SKIP, page_checksum
from audiosvc.codec.packets import join, split
from audiosvc.codec.passing import LEAD_SECONDS, Passed, Passing, Unpassable

CELT_20, CELT_10, CELT_5, CELT_2, SWB_10, SILK_20, SILK_60 = 0xFC, 0xF4, 0xEC, 0xE4, 0xD4, 0x0C, 0x18
"""TOC bytes of one frame: CELT is full band (one super-wide) and stereo, SILK narrow band and mono."""

END = 7 * FRAME_SAMPLES - PRE_SKIP
"""Where the sound of a stream of seven packets ends."""

LEAD = round(LEAD_SECONDS * SAMPLE_RATE)
TAGS = b"OpusTags" + bytes(8)


def head(pre_skip: int = PRE_SKIP, channels: int = 2, gain: int = 0, mapping: int = 0, version: int = 1) -> bytes:
    return struct.pack("<8sBBHIhB", b"OpusHead", version, channels, pre_skip, 44_100, gain, mapping)


def numbered(count: int, toc: int = CELT_20, first: int = 0) -> list[bytes]:
    """Packets of one frame each, that say which one they are."""
    return [bytes((toc,)) + (first + i).to_bytes(4, "big") for i in range(count)]


class Copy:
    """Writes Ogg as FFmpeg does: pages of `together` packets, each page with its granule position."""

    def __init__(self, serial: int = 7, together: int = 5) -> None:
        self.written = b""
        self.granule = 0
        self._serial = serial
        self._together = together
        self._sequence = 0

    def begin(self, opus_head: bytes = head(), tags: bytes = TAGS) -> Copy:
        self.page([opus_head], 2, 0)
        self.page([tags], 0, 0)
        return self

    def at(self, granule: int) -> Copy:
        """The next packet begins at `granule`."""
        self.granule = granule
        return self

    def add(self, packets: list[bytes], last: bool = False, trimmed: int = 0, stated: bool = True) -> Copy:
        for start in range(0, len(packets), self._together):
            some = packets[start : start + self._together]
            self.granule += sum(parts.samples * len(parts.frames) for parts in map(split, some))
            end = last and start + self._together >= len(packets)
            self.page(some, 4 if end else 0, self.granule - (trimmed if end else 0) if stated else -1)
        return self

    def page(self, packets: list[bytes], flags: int, granule: int) -> None:
        lacing = b"".join(b"\xff" * (len(packet) // 255) + bytes((len(packet) % 255,)) for packet in packets)
        fields = (b"OggS", 0, flags, granule, self._serial, self._sequence, 0, len(lacing))
        raw = struct.pack("<4sBBqIIIB", *fields) + lacing + b"".join(packets)
        self.written += raw[:22] + page_checksum(raw) + raw[26:]
        self._sequence += 1


def passed(copy: Copy, at: int = 0) -> tuple[list[Passed], Passing]:
    passing = Passing(at)
    return [*passing.feed(copy.written), *passing.end()], passing


def packets(found: list[Passed]) -> list[bytes]:
    return [each.packet for each in found]


def positions(found: list[Passed]) -> list[int]:
    return [each.position for each in found]


class PositionTests(SynchronousTestCase):
    def test_from_the_beginning_every_packet_is_passed_as_it_is(self) -> None:
        sent = numbered(12)
        found, passing = passed(Copy().begin().add(sent, last=True))
        self.assertEqual(packets(found), sent)
        self.assertEqual(positions(found), [i * FRAME_SAMPLES - PRE_SKIP for i in range(12)])
        self.assertEqual((passing.reached, passing.unpassable, passing.lost), (12 * FRAME_SAMPLES - PRE_SKIP, None, 0))

    def test_what_lies_before_the_position_is_left_out(self) -> None:
        """FFmpeg begins with a page or a cluster, and counts from where it was asked to begin."""
        at = 10 * SAMPLE_RATE
        copy = Copy().begin().at(-3 * FRAME_SAMPLES).add(numbered(40))
        found, _ = passed(copy, at)
        self.assertEqual(positions(found)[0], at - LEAD + 13 * FRAME_SAMPLES - PRE_SKIP)
        self.assertEqual(packets(found), numbered(40)[16:])

    @given(st.integers(0, 3 * SAMPLE_RATE), st.integers(0, 5000), st.sampled_from([CELT_20, CELT_10, CELT_5, CELT_2]))
    def test_the_first_packet_is_the_nearest(self, at: int, pre_skip: int, toc: int) -> None:
        samples = split(bytes((toc,))).samples
        zero = max(0, at - LEAD)
        copy = Copy().begin(head(pre_skip)).at(-zero).add(numbered(4 * SAMPLE_RATE // samples, toc))
        found, _ = passed(copy, at)
        away = positions(found)[0] - (at - PRE_SKIP)
        begins_late = max(0, PRE_SKIP - pre_skip) if at < FRAME_SAMPLES else 0
        self.assertLessEqual(abs(away), max(samples // 2, begins_late))

    def test_pre_skip_is_left_out_in_whole_packets(self) -> None:
        found, _ = passed(Copy().begin(head(pre_skip=3840)).add(numbered(9)))
        self.assertEqual(found[0], Passed(numbered(9)[4], 0))

    def test_what_comes_after_the_stated_end_is_left_out(self) -> None:
        for trimmed, left in ((0, 10), (648, 10), (959, 10), (960, 9), (2000, 8), (3 * 960, 7)):
            found, _ = passed(Copy().begin().add(numbered(10), last=True, trimmed=trimmed))
            self.assertEqual(packets(found), numbered(10)[:left])
            self.assertEqual(positions(found)[-1], (left - 1) * FRAME_SAMPLES - PRE_SKIP)

    def test_a_hole_in_the_source_moves_the_position(self) -> None:
        copy = Copy().begin().add(numbered(5))
        copy.granule += 3 * SAMPLE_RATE
        found, passing = passed(copy.add(numbered(5, first=5)))
        self.assertEqual(packets(found), numbered(10))
        self.assertEqual(positions(found)[5] - positions(found)[4], 3 * SAMPLE_RATE + FRAME_SAMPLES)
        self.assertEqual(passing.reached, positions(found)[-1] + FRAME_SAMPLES)

    def test_where_no_position_is_stated_packets_are_counted(self) -> None:
        copy = Copy().begin().add(numbered(5)).add(numbered(70, first=5), stated=False)
        found, _ = passed(copy)
        self.assertEqual(packets(found), numbered(75))
        self.assertEqual({b - a for a, b in pairwise(positions(found))}, {FRAME_SAMPLES})

    def test_without_any_position_stated_it_is_the_beginning(self) -> None:
        found, passing = passed(Copy().begin().add(numbered(60), stated=False))
        self.assertEqual(positions(found)[0], -PRE_SKIP)
        self.assertEqual(passing.reached, 60 * FRAME_SAMPLES - PRE_SKIP)

    def test_packets_wait_for_their_position_a_second_at_most(self) -> None:
        passing = Passing(0)
        copy = Copy(together=1).begin()
        self.assertEqual(passing.feed(copy.written), [])
        copy.written = b""
        self.assertEqual(passing.feed(copy.add(numbered(49), stated=False).written), [])
        copy.written = b""
        self.assertEqual(packets(passing.feed(copy.add(numbered(1, first=49), stated=False).written)), numbered(50))


class RepackingTests(SynchronousTestCase):
    def test_several_frames_of_20_ms_become_several_packets(self) -> None:
        sent = numbered(12)
        frames = [packet[1:] for packet in sent]
        threes = [join(CELT_20, frames[i : i + 3]) for i in range(0, 12, 3)]
        found, _ = passed(Copy().begin().add(threes))
        self.assertEqual(packets(found), sent)
        self.assertEqual(positions(found), [i * FRAME_SAMPLES - PRE_SKIP for i in range(12)])

    def test_shorter_frames_become_one_packet(self) -> None:
        for toc, together in ((CELT_10, 2), (CELT_5, 4), (CELT_2, 8), (SILK_20 - 8 - 4, 2)):
            sent = numbered(together * 3, toc)
            found, _ = passed(Copy().begin().add(sent))
            self.assertEqual([split(packet).samples * together for packet in packets(found)], [FRAME_SAMPLES] * 3)
            frames = [frame for packet in packets(found) for frame in split(packet).frames]
            self.assertEqual(frames, [packet[1:] for packet in sent])
            self.assertEqual(positions(found), [i * FRAME_SAMPLES - PRE_SKIP for i in range(3)])

    def test_a_last_packet_that_is_short_is_filled_with_frames_not_sent(self) -> None:
        found, passing = passed(Copy().begin().add(numbered(5, CELT_5), last=True))
        self.assertEqual(split(packets(found)[-1]).frames, [numbered(5)[4][1:], b"", b"", b""])
        self.assertEqual(passing.reached, 2 * FRAME_SAMPLES - PRE_SKIP)

    def test_it_is_not_filled_before_the_end(self) -> None:
        passing = Passing(0)
        found = passing.feed(Copy().begin().add(numbered(5, CELT_5)).written)
        self.assertEqual((len(found), passing.reached), (1, FRAME_SAMPLES - PRE_SKIP))

    def test_a_packet_alone_keeps_its_padding(self) -> None:
        padded = b"\xff\x41\x03ab" + bytes(3)
        self.assertEqual(packets(passed(Copy().begin().add([padded]))[0]), [padded])

    def test_but_not_too_much_of_it(self) -> None:
        padded = b"\xff\x41" + b"\xff" * 9 + b"\x00ab" + bytes(9 * 254)
        self.assertEqual(packets(passed(Copy().begin().add([padded]))[0]), [b"\xfcab"])

    def test_mono_is_passed(self) -> None:
        found, _ = passed(Copy().begin(head(channels=1)).add(numbered(5, SILK_20)))
        self.assertEqual(packets(found), numbered(5, SILK_20))

    def test_a_damaged_packet_is_left_out_and_counted(self) -> None:
        copy = Copy().begin().add(numbered(5))
        copy.page([b"\xff\x00"], 0, copy.granule + FRAME_SAMPLES)
        copy.granule += FRAME_SAMPLES
        found, passing = passed(copy.add(numbered(5, first=5)))
        self.assertEqual(packets(found), numbered(10))
        self.assertEqual(positions(found)[5] - positions(found)[4], 2 * FRAME_SAMPLES)
        self.assertEqual(passing.lost, 1)


class ChainTests(SynchronousTestCase):
    def chained(self, second: bytes, granule: int = 0) -> tuple[list[Passed], Passing]:
        copy = Copy().begin().add(numbered(7), last=True)
        copy.written += Copy(serial=8).begin(second).at(granule).add(numbered(7, first=7), last=True).written
        return passed(copy)

    def test_another_stream_goes_on_where_the_first_ended(self) -> None:
        for granule in (0, 7 * FRAME_SAMPLES, 10**9):
            found, passing = self.chained(head(), granule)
            self.assertEqual(packets(found), numbered(14))
            self.assertEqual(positions(found)[:8], [i * FRAME_SAMPLES - PRE_SKIP for i in range(7)] + [END - PRE_SKIP])
            self.assertIsNone(passing.unpassable)

    def test_its_pre_skip_is_left_out_too(self) -> None:
        found, _ = self.chained(head(pre_skip=PRE_SKIP + 2 * FRAME_SAMPLES))
        self.assertEqual(packets(found), numbered(7) + numbered(5, first=9))
        self.assertEqual(positions(found)[7], END - PRE_SKIP)

    def test_it_may_have_another_number_of_channels(self) -> None:
        found, passing = self.chained(head(channels=1))
        self.assertEqual((len(found), passing.unpassable), (14, None))

    def test_one_that_cannot_be_passed_ends_it_at_the_seam(self) -> None:
        found, passing = self.chained(head(gain=256))
        self.assertEqual(packets(found), numbered(7))
        assert passing.unpassable is not None
        self.assertEqual(passing.unpassable.position, 7 * FRAME_SAMPLES - PRE_SKIP)

    def test_a_short_packet_before_it_is_filled(self) -> None:
        copy = Copy().begin().add(numbered(3, CELT_10), last=True)
        copy.written += Copy(serial=8).begin().add(numbered(2), last=True).written
        found, _ = passed(copy)
        self.assertEqual([len(split(packet).frames) for packet in packets(found)], [2, 2, 1, 1])
        self.assertEqual(positions(found)[2], 3 * FRAME_SAMPLES // 2 - 2 * PRE_SKIP)

    def test_its_sound_begins_where_that_of_the_first_is_said_to_end(self) -> None:
        for trimmed, ends in ((700, END - 700), (10**9, 5 * FRAME_SAMPLES - PRE_SKIP), (-5000, END)):
            copy = Copy().begin().add(numbered(7), last=True, trimmed=trimmed)
            copy.written += Copy(serial=8).begin().add(numbered(2, first=7), last=True).written
            self.assertEqual(positions(passed(copy)[0])[-2:], [ends - PRE_SKIP, ends - PRE_SKIP + FRAME_SAMPLES])

    def test_a_position_in_the_second_can_be_counted_to(self) -> None:
        copy = Copy().begin().add(numbered(70), last=True)
        copy.written += Copy(serial=8).begin().add(numbered(70, first=70), last=True).written
        sound = 70 * FRAME_SAMPLES - PRE_SKIP
        for at, first in ((0, 0), (sound - FRAME_SAMPLES, 69), (sound, 70), (sound + 10 * FRAME_SAMPLES, 80)):
            passing = Passing(at, counted=True)
            found = passing.feed(copy.written)
            self.assertEqual(packets(found), numbered(140)[first:])
            self.assertLess(abs(found[0].position - (at - PRE_SKIP)), FRAME_SAMPLES // 2)

    def test_streams_side_by_side_are_not_mixed(self) -> None:
        copy, other = Copy().begin(), Copy(serial=9)
        other.add(numbered(5, first=90))
        copy.written += other.written
        self.assertEqual(packets(passed(copy.add(numbered(5)))[0]), numbered(5))


class UnpassableTests(SynchronousTestCase):
    def refused(self, copy: Copy, at: int = 0) -> Unpassable:
        found, passing = passed(copy, at)
        self.assertEqual(found, [])
        assert passing.unpassable is not None
        self.assertEqual(passing.feed(Copy(serial=9).begin().add(numbered(5)).written), [])
        self.assertEqual(passing.unpassable.position, at - PRE_SKIP)
        return passing.unpassable

    def test_what_is_not_opus(self) -> None:
        for first in (b"\x01vorbis" + bytes(23), b"OpusHead", b"", head(version=16)):
            self.assertEqual(self.refused(Copy().begin(first).add(numbered(3))).reason, "the source is not Opus")

    def test_more_than_two_channels(self) -> None:
        for first in (head(channels=6, mapping=1), head(mapping=255), head(channels=0), head(channels=3)):
            self.assertIn("channels", self.refused(Copy().begin(first).add(numbered(3))).reason)

    def test_a_gain_that_players_are_to_apply(self) -> None:
        self.assertIn("louder or softer", self.refused(Copy().begin(head(gain=-256)).add(numbered(3)), 5).reason)

    def test_a_stream_without_its_beginning(self) -> None:
        self.assertIn("beginning", self.refused(Copy().add(numbered(3))).reason)

    def test_frames_longer_than_a_packet(self) -> None:
        self.assertIn("longer", self.refused(Copy().begin().add(numbered(3, SILK_60))).reason)

    def test_in_mid_track_it_says_where(self) -> None:
        copy = Copy().begin().add(numbered(7)).add(numbered(2, SILK_60)).add(numbered(5))
        found, passing = passed(copy)
        self.assertEqual(packets(found), numbered(7))
        self.assertEqual(passing.unpassable, ("the source's frames last longer than a packet", 7 * 960 - PRE_SKIP))

    def test_a_change_of_mode_within_a_packet_goes_back_to_its_beginning(self) -> None:
        copy = Copy().begin().add([*numbered(5, CELT_10), *numbered(5, SWB_10)])
        found, passing = passed(copy)
        self.assertEqual(len(found), 2)
        assert passing.unpassable is not None
        self.assertEqual(passing.unpassable.position, 2 * FRAME_SAMPLES - PRE_SKIP)

    def test_between_packets_the_mode_may_change(self) -> None:
        found, passing = passed(Copy().begin().add([*numbered(4, CELT_10), *numbered(4, SWB_10), *numbered(2)]))
        self.assertEqual((len(found), passing.unpassable), (6, None))

    def test_the_first_reason_is_the_one_told(self) -> None:
        copy = Copy().begin().add(numbered(2, SILK_60), stated=False)
        copy.written += Copy(serial=8).begin(head(gain=1)).written
        self.assertIn("longer", self.refused(copy).reason)

    def test_frames_that_together_are_too_large(self) -> None:
        large = [bytes((CELT_10,)) + bytes(1000)] * 2
        self.assertGreater(2000, OPUS_PACKET_MOST)
        self.assertIn("larger", self.refused(Copy().begin().add(large)).reason)

    def test_what_lies_before_the_position_does_not_matter(self) -> None:
        copy = Copy().begin().at(-5 * 2880).add(numbered(5, SILK_60)).add(numbered(30))
        found, passing = passed(copy, SAMPLE_RATE)
        self.assertEqual((packets(found), passing.unpassable), (numbered(30)[13:], None))


class AnythingTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(st.tuples(st.sampled_from([CELT_20, CELT_10, CELT_5, SILK_20]), st.integers(1, 9)), max_size=8),
        st.integers(1, 9),
        st.lists(st.integers(0, 10**6), max_size=12),
    )
    def test_how_the_bytes_are_split_changes_nothing(
        self, runs: list[tuple[int, int]], together: int, cuts: list[int]
    ) -> None:
        copy = Copy(together=together).begin()
        for toc, count in runs:
            copy.add(numbered(count, toc))
        whole, once = passed(copy)
        passing, found = Passing(0), []
        edges = [0, *sorted(cut % (len(copy.written) + 1) for cut in cuts), len(copy.written)]
        for start, end in pairwise(edges):
            found += passing.feed(copy.written[start:end])
        self.assertEqual(found + passing.end(), whole)
        self.assertEqual((passing.unpassable, passing.reached), (once.unpassable, once.reached))

    @settings(deadline=None, max_examples=150)
    @given(
        st.lists(
            st.one_of(
                st.binary(max_size=300),
                st.builds(
                    lambda body, flags, granule, serial, lacing: (body, flags, granule, serial, lacing),
                    st.lists(
                        st.one_of(
                            st.binary(max_size=40),
                            st.sampled_from([head(), head(65_535), TAGS, b"OpusHead"]),
                            st.sampled_from(numbered(3) + numbered(3, CELT_2) + numbered(2, SILK_60)),
                        ),
                        max_size=6,
                    ),
                    st.integers(0, 7),
                    st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-5000, 50_000)),
                    st.integers(0, 2),
                    st.integers(0, 3),
                ),
            ),
            max_size=12,
        )
    )
    def test_no_bytes_make_it_fail_or_give_anything_but_packets_of_20_ms(self, parts: list[object]) -> None:
        passing = Passing(SAMPLE_RATE)
        found: list[Passed] = []
        for part in parts:
            if isinstance(part, bytes):
                found += passing.feed(part)
            else:
                body, flags, granule, serial, sequence = part  # type: ignore[misc]
                copy = Copy(serial)
                copy._sequence = sequence
                copy.page(body, flags, granule)
                found += passing.feed(copy.written)
        found += passing.end()
        for packet, _ in found:
            parts_of = split(packet)
            self.assertEqual(parts_of.samples * len(parts_of.frames), FRAME_SAMPLES)
            self.assertLessEqual(len(packet), OPUS_PACKET_MOST)

    def test_it_holds_no_more_than_a_second(self) -> None:
        passing = Passing(10 * SAMPLE_RATE)
        copy = Copy(together=200).begin().add(numbered(8000, CELT_2), stated=False)
        passing.feed(copy.written)
        self.assertLess(passing._held_samples, 1.5 * SAMPLE_RATE)
