"""Opus in Ogg as it lies in a file, to be passed on: from its beginning or from any of its pages (RFC 3533, RFC 7845).

One stream of Opus is understood. Whatever else there may be is `odd`, and left to FFmpeg.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from audiosvc.audio import FRAME_SAMPLES, SAMPLE_RATE
from audiosvc.codec.ogg import MalformedPacket, OggDemuxer, OggPacket
from audiosvc.codec.passing import Packer, Parts, Passed, Unpassable, parted, read_head

MORE_STREAMS = "the Ogg holds more than a stream of Opus"
"""Why it is odd that holds several, one behind another or side by side."""

PAGE_MOST = 65_307
"""Bytes of the longest page: that many hold the head of one, wherever they begin."""

PAGE_PACKETS_MOST = 255
"""Packets that end on one page."""

NEAR_BYTES = 64 * 1024
"""How far before what is sought one may begin to read: less than another request costs on most ways."""

AHEAD_SECONDS = 1.5
"""How much earlier than where it should be a position is looked for: pages last a second, and bit rates vary."""

STRAIGHT_GUESSES = 4
"""Guesses by the bit rate; one whose bit rate varies so that these are not enough is halved."""

_PAGE = struct.Struct("<4sBBqI")
_HEAD_BYTES = 27
"""Of a page, before its lacing values; the last of them is how many those are."""

_NO_GRANULE = -1
_COMMENTS_MOST = 256
_TEXT_MOST = 4096
_TITLES, _ARTISTS = ("TITLE", "STREAMTITLE"), ("ARTIST", "ALBUMARTIST", "PERFORMER")


class OggHead(NamedTuple):
    """What shows up to the first page of sound. It is all that is needed to go on from any later page."""

    serial: int
    pre_skip: int
    refusal: str | None
    """Why the packets cannot be passed; None if they can."""
    title: str | None
    artist: str | None
    sound: int
    """Offset in the file before which there are only headers."""
    zero: int
    """What its granule positions begin with: a part that was cut out of a stream goes on counting."""


class OggPassing:
    """The packets of a file that is to be heard from sample `at` on: fed from its beginning, or, where its `head` is
    known, from a page that begins before the packet sought."""

    def __init__(self, at: int, head: OggHead | None = None) -> None:
        self.head = head
        """None until it is known."""
        self.odd: str | None = None
        """Why the rest is for FFmpeg to make sense of. What was given before, and with it, is good."""
        self._packer = Packer(at)
        self._demuxer = OggDemuxer()
        self._resumed = head is not None
        self._fed = 0
        self._first: OggPacket | None = None
        self._headers = head
        self._next: int | None = None
        """Where the next packet lies; None before anything is known."""
        self._held: list[Parts] = []
        self._ended = False

    @property
    def unpassable(self) -> Unpassable | None:
        """Why, and from where on, there is nothing more that can be passed; None while there may be."""
        return self._packer.unpassable

    def feed(self, data: bytes) -> list[Passed]:
        """The packets that `data` completes. Never raises."""
        for packet in self._demuxer.feed(data):
            if self.odd is not None or self._packer.unpassable is not None:
                break
            if self._headers is None:
                self._read_headers(packet)
            else:
                self._read(self._headers, packet)
        self._fed += len(data)
        # The first packet of a page in mid-stream may have begun on the page before.
        if self._demuxer.skipped_bytes or self._demuxer.dropped_packets > self._resumed:
            self._give_up("the Ogg is damaged")
        return self._packer.out()

    def end(self) -> list[Passed]:
        """The rest, at the source's end. A last packet that is short is filled with frames that were not sent."""
        if self.odd is None:
            self._packer.fill_up()
        return self._packer.out()

    def _read_headers(self, packet: OggPacket) -> None:
        first = self._first
        if first is None:
            self._first = packet
            if not packet.bos or read_head(packet.data) is None:
                self._give_up("the Ogg does not begin with a stream of Opus")
            return
        head = read_head(first.data)
        if head is None or packet.serial != first.serial or not packet.data.startswith(b"OpusTags"):
            self._give_up(MORE_STREAMS)
            return
        tags = read_tags(packet.data)
        title, artist = (next((tags[name] for name in names if name in tags), None) for names in (_TITLES, _ARTISTS))
        self._headers = OggHead(first.serial, head.pre_skip, head.refusal, title, artist, self._fed, 0)
        if head.refusal is not None:
            self.head = self._headers
            self._packer.stop(head.refusal)

    def _read(self, head: OggHead, packet: OggPacket) -> None:
        if packet.bos or packet.serial != head.serial or self._ended:
            self._give_up(MORE_STREAMS)
            return
        try:
            self._held.append(parted(packet.data))
        except MalformedPacket:
            self._held.append(_NOTHING)
        if packet.granule is not None:
            self._place(head, packet.granule, packet.eos)
        elif len(self._held) > PAGE_PACKETS_MOST:
            self._give_up("the Ogg does not say when its packets are")

    def _place(self, head: OggHead, granule: int, last: bool) -> None:
        """What was held lies before `granule`. At the `last` one the sound ends, perhaps before the frames do."""
        packets, self._held = self._held, []
        if granule <= 0:
            # Pages of headers; one that goes on from there has to know them already.
            if not self._resumed:
                self._give_up("the Ogg does not say when its packets are")
            return
        if _NOTHING in packets:
            self._give_up("the Opus is damaged")
            return
        length = sum([each.length for each in packets])
        if self.head is None:
            zero = 0 if last else granule - length
            if zero < 0:
                self._give_up("the Ogg begins before its beginning")
                return
            self.head = self._headers = head = head._replace(zero=zero)
            self._next = -head.pre_skip
        end = granule - head.pre_skip - head.zero
        start, before = end - length, self._next
        if before is None:
            if start > max(self._packer.least, -head.pre_skip):
                self._give_up("the Ogg lacks what was sought")
                return
        elif last and start < before:
            start = before
        elif start < before - FRAME_SAMPLES:
            self._give_up("the Ogg goes back in time")
            return
        self._ended = last
        self._next = self._packer.place(packets, start, end if last else None)

    def _give_up(self, reason: str) -> None:
        if self.odd is None:
            self.odd = reason
        self._held = []


_NOTHING = Parts(b"", 0, None)
"""A packet that is damaged."""


class Page(NamedTuple):
    """Where a page lies, and up to where it goes: the samples of its stream up to its last packet's end."""

    offset: int
    granule: int


def pages(data: bytes, at: int, serial: int) -> Iterator[Page]:
    """The pages of a stream that begin in `data`, which lies at offset `at`; but for those on which no packet ends."""
    found = data.find(b"OggS\0")
    while found >= 0 and found + _PAGE.size <= len(data):
        _, _, _, granule, whose = _PAGE.unpack_from(data, found)
        if whose == serial and granule != _NO_GRANULE:
            yield Page(at + found, granule)
        found = data.find(b"OggS\0", found + 5)


def length(last: bytes, head: OggHead) -> int | None:
    """Samples of the stream, with those to be skipped, by the `last` bytes of its file; None if they do not say.

    A page that is cut off does not count.
    """
    found = [page.granule - head.zero for page in pages(last, 0, head.serial) if _is_whole(last, page.offset)]
    return found[-1] if found and found[-1] > 0 else None


def _is_whole(data: bytes, at: int) -> bool:
    """Whether the page that begins at `at` ends in `data`."""
    lacing = at + _HEAD_BYTES
    if lacing > len(data):
        return False
    body = lacing + data[lacing - 1]
    return body <= len(data) and body + sum(data[lacing:body]) <= len(data)


class OggSearch:
    """Looks for the page to begin with, so that sample `at` is heard, in a file of `size` bytes and `samples`.

    By turns: `guess` an offset, read on from there, and tell what that `saw`.
    """

    def __init__(self, head: OggHead, at: int, size: int, samples: int) -> None:
        self._head = head
        self._wanted = at + head.pre_skip + head.zero
        self._low, self._before = head.sound, head.zero
        """What is known to lie before what is sought: an offset, and what of the sound lies before that."""
        self._high, self._behind = size, samples + head.zero
        """The same of what lies behind it."""
        self._guesses = 0

    def guess(self) -> int:
        """The offset to read from: by the bit rate between what is known, or half-way where that is no help."""
        self._guesses += 1
        if self._high - self._low <= NEAR_BYTES:
            return self._low
        share = 0.5
        if self._guesses <= STRAIGHT_GUESSES:
            early = self._wanted - round(AHEAD_SECONDS * SAMPLE_RATE)
            share = min(1.0, max(0.0, (early - self._before) / max(1, self._behind - self._before)))
        return self._low + int((self._high - self._low) * share)

    def saw(self, offset: int, data: bytes) -> int | None:
        """The offset to begin with, of a page in `data`, which lies at `offset`; None if there is a better guess."""
        begin, high = None, self._high
        for page in pages(data, offset, self._head.serial):
            if page.granule > self._wanted:
                if begin is None and offset == self._head.sound:
                    # The very first of the sound.
                    return page.offset
                high, self._behind = page.offset, page.granule
                # What is sought begins before `offset`, if nothing before it began behind that.
                self._high = offset if begin is None else high
                break
            begin, self._low, self._before = page.offset, page.offset, page.granule
        if begin is None:
            return None
        share = (self._wanted - self._before) / max(1, self._behind - self._before)
        return begin if (high - begin) * share <= NEAR_BYTES else None


def read_tags(packet: bytes) -> dict[str, str]:
    """The titles and artists in an OpusTags packet, by name in capitals: of one that comes several times all, as FFmpeg
    joins them, and of a text the first line."""
    tags: dict[str, str] = {}
    at, count = 8, 1
    texts: list[bytes] = []
    while len(texts) < count and at + 4 <= len(packet):
        size = int.from_bytes(packet[at : at + 4], "little")
        texts.append(packet[at + 4 : at + 4 + size])
        at += 4 + size
        if len(texts) == 1:
            count += min(_COMMENTS_MOST, int.from_bytes(packet[at : at + 4], "little"))
            at += 4
    for text in texts[1:]:
        name, _, value = text[:_TEXT_MOST].decode("utf-8", "replace").partition("=")
        name, value = name.upper(), value.partition("\n")[0]
        if value and name in (*_TITLES, *_ARTISTS):
            tags[name] = f"{tags[name]};{value}" if name in tags else value
    return tags
