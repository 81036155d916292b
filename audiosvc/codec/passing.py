"""Opus that is sent as it is: a source's packets in, packets of 20 ms out, each with its position in the source.

Packets of several frames are taken apart and short frames put together, as far as that goes without decoding. Where it
does not go any further, `unpassable` says from where on the sound has to be encoded anew.

`Packer` does that for whoever knows where packets lie: `Passing` by FFmpeg's copy in Ogg, `ogg_passing` and
`webm_passing` by the source itself.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from audiosvc.audio import CHANNELS, FRAME_SAMPLES, OPUS_PACKET_MOST, SAMPLE_RATE
from audiosvc.codec.ogg import PRE_SKIP, MalformedPacket, OggDemuxer, OggPacket, packet_samples
from audiosvc.codec.packets import FRAME_MOST, join, split

HELD_MOST = SAMPLE_RATE
"""Samples kept until it is known where they lie. FFmpeg says so on every page, and makes pages of a tenth of it."""

LEAD_SECONDS = 0.25
"""How much earlier the copy is to begin: FFmpeg's seeking may end up to 20 ms late, before each cluster of a WebM."""

_HEAD = struct.Struct("<8sBBHIhB")
"""OpusHead, RFC 7845, 5.1: version, channels, pre-skip, rate of the original, gain, channel mapping."""

_VERSIONS = 16
"""Those below are read alike."""


class Passed(msgspec.Struct, frozen=True, gc=False):
    """A packet of 20 ms to be sent as it is.

    There are a hundred of them a session, ahead of what is played; a collection of garbage that had to look at them
    all would stop the beat of a thousand sessions for 0.1 s.
    """

    packet: bytes
    position: int
    """The source's sample, at 48 kHz, that is the first to come out of a decoder which is given it."""


class Unpassable(NamedTuple):
    """Why, and from which of the source's samples on, there is nothing more that can be passed."""

    reason: str
    position: int


class OpusHead(NamedTuple):
    """A stream's first packet, read (RFC 7845, 5.1)."""

    pre_skip: int
    refusal: str | None
    """Why its packets cannot be passed; None if they can."""


class Parts(NamedTuple):
    """A packet of the source, taken apart if it has to be."""

    packet: bytes
    samples: int
    """How long each of its frames lasts, at 48 kHz."""
    frames: list[bytes] | None
    """None where the packet is one frame and nothing else."""

    @property
    def length(self) -> int:
        """How long all of it lasts, at 48 kHz."""
        return self.samples if self.frames is None else self.samples * len(self.frames)


class _Frame(NamedTuple):
    toc: int
    samples: int
    data: bytes
    whole: bytes | None
    """The packet it came in, if it was alone there."""


_ALONE = tuple(packet_samples(bytes((toc,))) if toc & 3 == 0 else 0 for toc in range(256))
"""Samples of a packet by its first byte, 0 where that does not say that there is one frame and nothing else."""


def read_head(packet: bytes) -> OpusHead | None:
    """`packet` as the head of a stream; None if it is none."""
    if len(packet) < _HEAD.size or not packet.startswith(b"OpusHead") or packet[8] >= _VERSIONS:
        return None
    _, _, channels, pre_skip, _, gain, mapping = _HEAD.unpack_from(packet)
    refusal = None
    if mapping != 0 or not 1 <= channels <= CHANNELS:
        refusal = "the source has more than two channels"
    elif gain != 0:
        refusal = "the source is to be played louder or softer than it is coded"
    return OpusHead(pre_skip, refusal)


def parted(packet: bytes) -> Parts:
    """What `packet` holds. Raises `MalformedPacket`."""
    if packet and (samples := _ALONE[packet[0]]) and len(packet) <= FRAME_MOST + 1:
        return Parts(packet, samples, None)
    _, samples, frames = split(packet)
    return Parts(packet, samples, frames)


class Packer:
    """A source's packets in, in their order, each with the sample at which it begins; packets of 20 ms out.

    It is to be heard from sample `at` (of 48,000 a second) on. Our encoder's first packet would begin `PRE_SKIP`
    samples before that; the first one passed is the nearest to it, at most half a frame off.
    """

    def __init__(self, at: int) -> None:
        self.unpassable: Unpassable | None = None
        self.reached = at - PRE_SKIP
        """The source's sample at which the next packet is to begin: what is asked for, then the end of the last one."""
        self.least = self.reached
        """Where the first packet of the stream should begin."""
        self._begun = False
        """Whether any of the stream is passed."""
        self._group: list[_Frame] = []
        self._passed: list[Passed] = []

    def begin(self, least: int) -> None:
        """Another stream follows, the first packet of which should not begin before `least`."""
        self.least = max(self.least, least)
        self._begun = False

    def place(self, packets: Sequence[Parts], at: int, end: int | None = None) -> int:
        """`packets` lie at `at` and behind one another; what begins at `end` or later is left out. Where they end."""
        plain = self._begun and end is None and not self._group and self.unpassable is None
        for each in packets:
            packet, samples, frames = each
            if plain and samples == FRAME_SAMPLES and frames is None:
                self._passed.append(Passed(packet, at))
                at += FRAME_SAMPLES
                self.reached = at
                continue
            toc = packet[0] & ~3
            for frame in frames if frames is not None else [packet[1:]]:
                if self.unpassable is None and (end is None or at < end):
                    self._add(_Frame(toc, samples, frame, packet if frames is None or len(frames) == 1 else None), at)
                at += samples
            plain = self._begun and end is None and not self._group and self.unpassable is None
        return at

    def fill_up(self) -> None:
        """End a packet that is short with frames that were not sent."""
        if self._group and self.unpassable is None:
            first = self._group[0]
            missing = FRAME_SAMPLES // first.samples - len(self._group)
            self._group += [first._replace(data=b"")] * missing
            self._pass()

    def stop(self, reason: str) -> None:
        """Nothing more can be passed."""
        if self.unpassable is None:
            self.unpassable = Unpassable(reason, self.reached)
        self._group = []

    def out(self) -> list[Passed]:
        """What is to be sent by now."""
        passed, self._passed = self._passed, []
        return passed

    def _add(self, frame: _Frame, at: int) -> None:
        """`frame`, which lies at `at`, comes next."""
        if not self._begun and at + frame.samples // 2 <= self.least:
            return
        group = self._group
        if not group:
            self.reached = at
        self._begun = True
        if frame.samples > FRAME_SAMPLES:
            self.stop("the source's frames last longer than a packet")
        elif group and frame.toc != group[0].toc:
            self.stop("the source changes its mode within a packet")
        else:
            group.append(frame)
            if len(group) * frame.samples == FRAME_SAMPLES:
                self._pass()

    def _pass(self) -> None:
        group, self._group = self._group, []
        first = group[0]
        packet = first.whole if len(group) == 1 else None
        if packet is None or len(packet) > OPUS_PACKET_MOST:
            packet = join(first.toc, [frame.data for frame in group])
        if len(packet) > OPUS_PACKET_MOST:
            self.stop("the source's packets are larger than one of 20 ms may be")
            return
        self._passed.append(Passed(packet, self.reached))
        self.reached += FRAME_SAMPLES


class Passing:
    """What FFmpeg copies so that the source can be heard from sample `at` on.

    It begins `LEAD_SECONDS` earlier, or with the source itself where positions have to be `counted` from there.
    """

    def __init__(self, at: int, counted: bool = False) -> None:
        self._packer = Packer(at)
        self._zero = 0 if counted else max(0, at - round(LEAD_SECONDS * SAMPLE_RATE))
        self._demuxer = OggDemuxer()
        self._malformed = 0
        self._serial: int | None = None
        self._follows = False
        """Whether the stream comes after another."""
        self._tagged = False
        """Whether the stream's second packet, which holds its tags, has been seen."""
        self._pre_skip = 0
        self._offset: int | None = None
        """The source's position less what the stream states; None until it states the first one."""
        self._next = 0 if counted else at
        """Position of the next frame to come, while nothing else is stated."""
        self._held: list[Parts] = []
        self._held_samples = 0

    @property
    def unpassable(self) -> Unpassable | None:
        """Why, and from where on, there is nothing more that can be passed; None while there may be."""
        return self._packer.unpassable

    @property
    def reached(self) -> int:
        """The source's sample at which the next packet is to begin."""
        return self._packer.reached

    @property
    def lost(self) -> int:
        """Packets that were damaged, in Ogg or in themselves, and are left out."""
        return self._malformed + self._demuxer.dropped_packets

    def feed(self, data: bytes) -> list[Passed]:
        """The packets that `data` completes. Never raises; nothing comes any more once it is `unpassable`."""
        for packet in self._demuxer.feed(data):
            if self._packer.unpassable is not None:
                break
            self._read(packet)
        return self._packer.out()

    def end(self) -> list[Passed]:
        """The rest, once FFmpeg has come to the source's end. A last packet that is short is filled with frames that
        were not sent."""
        self._place(None, False)
        self._packer.fill_up()
        return self._packer.out()

    def _read(self, packet: OggPacket) -> None:
        if packet.bos:
            self._begin(packet)
        elif self._serial is None:
            self._stop("the copy does not begin with its beginning")
        elif packet.serial != self._serial:
            pass
        elif not self._tagged and packet.data.startswith(b"OpusTags"):
            self._tagged = True
        else:
            self._tagged = True
            self._take(packet.data)
            if packet.granule is not None or self._held_samples >= HELD_MOST:
                self._place(packet.granule, packet.eos)

    def _begin(self, packet: OggPacket) -> None:
        """A stream, the first one or one chained to another: its sound begins where that of the other ended."""
        self._place(None, False)
        self._packer.fill_up()
        head = read_head(packet.data)
        if head is None:
            self._stop("the source is not Opus")
            return
        if head.refusal is not None:
            self._stop(head.refusal)
        self._follows, self._serial = self._serial is not None, packet.serial
        self._tagged = False
        self._offset = None
        self._pre_skip = head.pre_skip
        self._packer.begin(self._next - PRE_SKIP)
        self._next -= self._pre_skip

    def _take(self, packet: bytes) -> None:
        try:
            parts = parted(packet)
        except MalformedPacket:
            self._malformed += 1
            return
        self._held.append(parts)
        self._held_samples += parts.length

    def _place(self, granule: int | None, last: bool) -> None:
        """What was held lies before `granule`, or goes on where the last ended if that is not said.

        The `last` granule of a stream says where its sound ends, which may be before its frames do.
        """
        packets, self._held = self._held, []
        length, self._held_samples = self._held_samples, 0
        start = self._next
        end = None
        if granule is not None:
            stated = granule - self._pre_skip
            first = self._offset is None
            if self._offset is None:
                self._offset = start - (stated - length) if self._follows else self._zero
            if first or not last:
                start = self._offset + stated - length
            if last:
                end = self._offset + stated
        at = self._packer.place(packets, start, end)
        self._next = at if end is None else max(start, min(end, at))

    def _stop(self, reason: str) -> None:
        self._packer.stop(reason)
        self._held = []
