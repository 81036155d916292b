"""Opus in WebM or Matroska as it lies in a file, to be passed on: from its beginning or from any of its clusters."""

from __future__ import annotations

from audiosvc.audio import FRAME_SAMPLES, SAMPLE_RATE
from audiosvc.codec.ogg import MalformedPacket
from audiosvc.codec.passing import Packer, Passed, Unpassable, parted, read_head
from audiosvc.codec.webm import WebmDemuxer, WebmHead, WebmPacket

ROUNDING = SAMPLE_RATE * 3 // 2000
"""Samples by which a place may be off, between two times that are rounded to milliseconds."""


class WebmPassing:
    """The packets of a file that is to be heard from sample `at` on: fed from its beginning, or, where its `head` is
    known, from `offset` on, where a cluster begins."""

    def __init__(self, at: int, head: WebmHead | None = None, offset: int = 0) -> None:
        self.demuxer = WebmDemuxer() if head is None else WebmDemuxer.resume(head, offset)
        self.odd: str | None = None
        """Why the rest is for FFmpeg to make sense of. What was given before, and with it, is good."""
        self._packer = Packer(at)
        self._resumed = head is not None
        self._next: int | None = None
        """Where the next packet lies; None before the first."""

    @property
    def head(self) -> WebmHead | None:
        """What stands before the sound, as soon as that is known."""
        return self.demuxer.head

    @property
    def unpassable(self) -> Unpassable | None:
        """Why, and from where on, there is nothing more that can be passed; None while there may be."""
        return self._packer.unpassable

    def feed(self, data: bytes) -> list[Passed]:
        """The packets that `data` completes. Never raises."""
        for packet in self.demuxer.feed(data):
            head = self.demuxer.head
            assert head is not None
            if self._next is None:
                self._begin(head, packet)
            if self.odd is not None or self._packer.unpassable is not None:
                break
            self._read(head, packet)
        if self.odd is None:
            self.odd = self.demuxer.odd
        return self._packer.out()

    def end(self) -> list[Passed]:
        """The rest, at the source's end. A last packet that is short is filled with frames that were not sent."""
        if self.odd is None:
            self._packer.fill_up()
        return self._packer.out()

    def _begin(self, head: WebmHead, packet: WebmPacket) -> None:
        opus, time = read_head(head.opus_head), packet.time or 0
        self._next = time - head.codec_delay
        if opus is None:
            self.odd = "the head of the Opus makes no sense"
        elif opus.refusal is not None:
            self._packer.stop(opus.refusal)
        elif self._resumed and self._next > self._packer.least:
            self.odd = "the WebM lacks what was sought"
        elif not self._resumed and abs(time) > ROUNDING:
            self.odd = "the WebM's sound does not begin at 0"

    def _read(self, head: WebmHead, packet: WebmPacket) -> None:
        due = self._next
        assert due is not None
        # Rounded as it is: by these times FFmpeg finds the sample with which decoding has to go on.
        at = due if packet.time is None else packet.time - head.codec_delay
        if at < due - FRAME_SAMPLES:
            self.odd = "the WebM goes back in time"
            return
        try:
            parts = parted(packet.data)
        except MalformedPacket:
            self.odd = "the Opus is damaged"
            return
        end = at + parts.length - packet.discard if packet.discard > 0 else None
        self._next = self._packer.place([parts], at, end)
