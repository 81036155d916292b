"""Opus that is sent as it is: FFmpeg's copy in Ogg in, packets of 20 ms out, each with its position in the source.

Packets of several frames are taken apart and short frames put together, as far as that goes without decoding. Where it
does not go any further, `unpassable` says from where on the sound has to be encoded anew.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from audiosvc.audio import CHANNELS, FRAME_SAMPLES, OPUS_PACKET_MOST, SAMPLE_RATE
from audiosvc.codec.ogg import PRE_SKIP, MalformedPacket, OggDemuxer, OggPacket
from audiosvc.codec.packets import join, split

HELD_MOST = SAMPLE_RATE
"""Samples kept until it is known where they lie. FFmpeg says so on every page, and makes pages of a tenth of it."""

LEAD_SECONDS = 0.25
"""How much earlier the copy is to begin: FFmpeg's seeking may end up to 20 ms late, before each cluster of a WebM."""

_HEAD = struct.Struct("<8sBBHIhB")
"""OpusHead, RFC 7845, 5.1: version, channels, pre-skip, rate of the original, gain, channel mapping."""

_VERSIONS = 16
"""Those below are read alike."""


class Passed(NamedTuple):
    """A packet of 20 ms to be sent as it is."""

    packet: bytes
    position: int
    """The source's sample, at 48 kHz, that is the first to come out of a decoder which is given it."""


class Unpassable(NamedTuple):
    """Why, and from which of the source's samples on, there is nothing more that can be passed."""

    reason: str
    position: int


class _Frame(NamedTuple):
    toc: int
    samples: int
    data: bytes
    whole: bytes | None
    """The packet it came in, if it was alone there."""


class Passing:
    """What FFmpeg copies so that the source can be heard from sample `at` (of 48,000 a second) on.

    It begins `LEAD_SECONDS` earlier, or with the source itself where positions have to be `counted` from there. Our
    encoder's first packet would begin `PRE_SKIP` samples before `at`; the first one passed is that which is nearest to
    it, at most half a frame off.
    """

    def __init__(self, at: int, counted: bool = False) -> None:
        self.unpassable: Unpassable | None = None
        self.reached = at - PRE_SKIP
        """The source's sample at which the next packet is to begin: what is asked for, then the end of the last one."""
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
        self._begun = False
        """Whether any of the stream is passed."""
        self._least = self.reached
        """Where the first packet of the stream should begin."""
        self._held: list[_Frame] = []
        self._held_samples = 0
        self._group: list[_Frame] = []
        self._passed: list[Passed] = []

    @property
    def lost(self) -> int:
        """Packets that were damaged, in Ogg or in themselves, and are left out."""
        return self._malformed + self._demuxer.dropped_packets

    def feed(self, data: bytes) -> list[Passed]:
        """The packets that `data` completes. Never raises; nothing comes any more once it is `unpassable`."""
        for packet in self._demuxer.feed(data):
            if self.unpassable is not None:
                break
            self._read(packet)
        return self._out()

    def end(self) -> list[Passed]:
        """The rest, once FFmpeg has come to the source's end. A last packet that is short is filled with frames that
        were not sent."""
        if self.unpassable is None:
            self._place(None, False)
            self._fill_up()
        return self._out()

    def _out(self) -> list[Passed]:
        passed, self._passed = self._passed, []
        return passed

    # --- Ogg --------------------------------------------------------------------------------------------------------

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
        self._fill_up()
        head = packet.data
        if len(head) < _HEAD.size or not head.startswith(b"OpusHead") or head[8] >= _VERSIONS:
            self._stop("the source is not Opus")
            return
        _, _, channels, self._pre_skip, _, gain, mapping = _HEAD.unpack_from(head)
        if mapping != 0 or not 1 <= channels <= CHANNELS:
            self._stop("the source has more than two channels")
        elif gain != 0:
            self._stop("the source is to be played louder or softer than it is coded")
        self._follows, self._serial = self._serial is not None, packet.serial
        self._tagged = self._begun = False
        self._offset = None
        self._least = max(self._least, self._next - PRE_SKIP)
        self._next -= self._pre_skip

    # --- frames -----------------------------------------------------------------------------------------------------

    def _take(self, packet: bytes) -> None:
        try:
            toc, samples, frames = split(packet)
        except MalformedPacket:
            self._malformed += 1
            return
        whole = packet if len(frames) == 1 else None
        self._held += [_Frame(toc, samples, frame, whole) for frame in frames]
        self._held_samples += samples * len(frames)

    def _place(self, granule: int | None, last: bool) -> None:
        """What was held lies before `granule`, or goes on where the last ended if that is not said.

        The `last` granule of a stream says where its sound ends, which may be before its frames do.
        """
        frames, self._held = self._held, []
        length, self._held_samples = self._held_samples, 0
        start = at = self._next
        end = None
        if granule is not None:
            stated = granule - self._pre_skip
            first = self._offset is None
            if self._offset is None:
                self._offset = at - (stated - length) if self._follows else self._zero
            if first or not last:
                start = at = self._offset + stated - length
            if last:
                end = self._offset + stated
        for frame in frames:
            if self.unpassable is None and (end is None or at < end):
                self._add(frame, at)
            at += frame.samples
        self._next = at if end is None else max(start, min(end, at))

    def _add(self, frame: _Frame, at: int) -> None:
        """`frame`, which lies at `at`, comes next."""
        if not self._begun and at + frame.samples // 2 <= self._least:
            return
        group = self._group
        if not group:
            self.reached = at
        self._begun = True
        if frame.samples > FRAME_SAMPLES:
            self._stop("the source's frames last longer than a packet")
        elif group and frame.toc != group[0].toc:
            self._stop("the source changes its mode within a packet")
        else:
            group.append(frame)
            if len(group) * frame.samples == FRAME_SAMPLES:
                self._pass()

    def _fill_up(self) -> None:
        """End a packet that is short with frames that were not sent."""
        if self._group and self.unpassable is None:
            first = self._group[0]
            missing = FRAME_SAMPLES // first.samples - len(self._group)
            self._group += [first._replace(data=b"")] * missing
            self._pass()

    def _pass(self) -> None:
        group, self._group = self._group, []
        first = group[0]
        packet = first.whole if len(group) == 1 else None
        if packet is None or len(packet) > OPUS_PACKET_MOST:
            packet = join(first.toc, [frame.data for frame in group])
        if len(packet) > OPUS_PACKET_MOST:
            self._stop("the source's packets are larger than one of 20 ms may be")
            return
        self._passed.append(Passed(packet, self.reached))
        self.reached += FRAME_SAMPLES

    def _stop(self, reason: str) -> None:
        if self.unpassable is None:
            self.unpassable = Unpassable(reason, self.reached)
        self._held, self._group = [], []
