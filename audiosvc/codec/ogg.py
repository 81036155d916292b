"""Opus packets to Ogg pages and back, without I/O (RFC 3533; RFC 6716, 3; RFC 7845)."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from audiosvc.audio import CHANNELS, SAMPLE_RATE

PRE_SKIP = 312
"""Samples at 48 kHz that libopus's encoder adds in front (its look-ahead, 6.5 ms); players drop as many."""

PACKET_MOST = 255 * 255 - 1
"""Bytes of a packet that fits one page: 255 lacing values, the last of them below 255."""

AUDIO_PACKET_MOST = 64 * 1024
"""Bytes of an audio packet the demuxer holds together; RFC 6716 allows about 61,300."""

HEADER_PACKET_MOST = 1024 * 1024
"""Bytes of a header packet the demuxer holds together: tags may carry a picture."""

_SAMPLES_MOST = 5760
"""120 ms, the longest packet of RFC 6716, 3.2.5."""

_STREAMS_MOST = 8
"""Streams in one file that are kept apart at a time; the one longest there makes room for a ninth."""

_VAIN_ALLOWED = 1024 * 1024
_VAIN_RATIO = 16
"""Bytes that may be summed for pages that prove to be none: 1 MiB, and 16 for each byte skipped so far."""

_CAPTURE = b"OggS"
_HEADER = struct.Struct("<4sBBqIIIB")
_FIELDS = struct.Struct("<BqII")
_CRC_AT = 22
_CONTINUED, _BOS, _EOS = 1, 2, 4
_NO_GRANULE = -1
_U32 = 0xFFFFFFFF

_SILK, _HYBRID, _CELT = (480, 960, 1920, 2880), (480, 960), (120, 240, 480, 960)
_FRAME_SAMPLES = _SILK * 3 + _HYBRID * 2 + _CELT * 4
"""Samples at 48 kHz of one frame, by the TOC's configuration number (RFC 6716, table 2)."""

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class MalformedPacket(ValueError):
    """The bytes are no Opus packet that fits one Ogg page."""


def packet_samples(packet: bytes) -> int:
    """Samples of one channel at 48 kHz that an Opus packet lasts, from its first one or two bytes.

    Raises `MalformedPacket` for an empty packet, one without frames and one beyond 120 ms.
    """
    if not packet:
        raise MalformedPacket("an Opus packet has at least one byte")
    toc = packet[0]
    code = toc & 3
    if code < 3:
        frames = 1 if code == 0 else 2
    elif len(packet) > 1:
        frames = packet[1] & 0x3F
    else:
        raise MalformedPacket("the Opus packet ends before its frame count")
    samples = _FRAME_SAMPLES[toc >> 3] * frames
    if not 0 < samples <= _SAMPLES_MOST:
        raise MalformedPacket(f"an Opus packet lasts up to 120 ms, not {samples / SAMPLE_RATE * 1000:g} ms")
    return samples


def page_checksum(page: bytes) -> bytes:
    """The four bytes of a page's checksum as they stand in it; what stands there now is taken as zero.

    Ogg's CRC has zlib's polynomial with the bits in the other order, and neither inversion: so the bits of each
    byte and of the result are turned round, and zlib does the work.
    """
    crc = zlib.crc32(page[:_CRC_AT].translate(_REVERSED), _U32)
    crc = zlib.crc32(page[_CRC_AT + 4 :].translate(_REVERSED), zlib.crc32(bytes(4), crc))
    return (crc ^ _U32).to_bytes(4, "big").translate(_REVERSED)


def _build(flags: int, granule: int, serial: int, sequence: int, lacing: bytes = b"", body: bytes = b"") -> bytes:
    header = _HEADER.pack(_CAPTURE, 0, flags, granule, serial, sequence & _U32, 0, len(lacing))
    page = header + lacing + body
    return page[:_CRC_AT] + page_checksum(page) + page[_CRC_AT + 4 :]


def _lacing(size: int) -> bytes:
    return b"\xff" * (size // 255) + bytes((size % 255,))


def is_page(data: bytes) -> bool:
    """Whether `data` looks like an Ogg page; it is not summed."""
    return len(data) >= _HEADER.size and data.startswith(_CAPTURE)


def begins_stream(page: bytes) -> bool:
    """Whether `page` is the first page of an Ogg stream."""
    return bool(page[5] & _BOS)


def end_after(page: bytes) -> bytes:
    """An empty last page for the stream whose latest page is `page`, or nothing if that was its last."""
    flags, granule, serial, sequence = _FIELDS.unpack_from(page, 5)
    return b"" if flags & _EOS else _build(_EOS, granule, serial, sequence + 1)


class OggMuxer:
    """One Ogg Opus stream at 48 kHz stereo: `headers`, then a page for each packet.

    `serial` is 32 bits and tells the streams of one file apart. `title` and `artist` become tags. One that goes on
    with a stream begins behind its first `pages`, which hold `samples`.
    """

    def __init__(
        self,
        serial: int,
        *,
        title: str | None = None,
        artist: str | None = None,
        pre_skip: int = PRE_SKIP,
        pages: int = 0,
        samples: int = 0,
    ) -> None:
        self._serial = serial
        self._tags = [("TITLE", title), ("ARTIST", artist)]
        self._pre_skip = pre_skip
        self._sequence = pages
        self._granule = samples

    def headers(self) -> list[bytes]:
        """The pages that go before the audio: OpusHead, then OpusTags in as many pages as it needs."""
        head = struct.pack("<8sBBHIhB", b"OpusHead", 1, CHANNELS, self._pre_skip, SAMPLE_RATE, 0, 0)
        texts = [f"{name}={value}".encode("utf-8", "replace") for name, value in self._tags if value]
        tags = b"OpusTags" + _counted(b"audiosvc") + struct.pack("<I", len(texts)) + b"".join(map(_counted, texts))
        return [self._page(_BOS, 0, _lacing(len(head)), head), *self._tag_pages(tags)]

    def _tag_pages(self, tags: bytes) -> list[bytes]:
        lacing = _lacing(len(tags))
        pages = []
        for at in range(0, len(lacing), 255):
            laces = lacing[at : at + 255]
            granule = 0 if at + 255 >= len(lacing) else _NO_GRANULE
            body = tags[at * 255 : at * 255 + sum(laces)]
            pages.append(self._page(_CONTINUED if at else 0, granule, laces, body))
        return pages

    def page(self, packet: bytes, last: bool = False) -> bytes:
        """The page that holds `packet`; `last` ends the stream. Raises `MalformedPacket`."""
        if len(packet) > PACKET_MOST:
            raise MalformedPacket(f"a packet of {len(packet)} bytes does not fit one page")
        self._granule += packet_samples(packet)
        return self._page(_EOS if last else 0, self._granule, _lacing(len(packet)), packet)

    def end(self) -> bytes:
        """An empty page that ends a stream cut short."""
        return self._page(_EOS, self._granule, b"", b"")

    def _page(self, flags: int, granule: int, lacing: bytes, body: bytes) -> bytes:
        page = _build(flags, granule, self._serial, self._sequence, lacing, body)
        self._sequence += 1
        return page


def _counted(text: bytes) -> bytes:
    return struct.pack("<I", len(text)) + text


class OggPacket(NamedTuple):
    """A packet as it was found: audio or header, which its first bytes tell (OpusHead, OpusTags)."""

    serial: int
    data: bytes
    granule: int | None
    """Samples of the stream up to the end of this packet; None unless it is the last one that ends on its page."""
    bos: bool
    """Whether it is the first of its stream."""
    eos: bool
    """Whether it is the last of its stream; an empty last page leaves this unsaid."""


class _Stream:
    __slots__ = ("part", "seen", "sequence")

    def __init__(self, sequence: int, seen: int) -> None:
        self.sequence = sequence
        """Number of the page that should come next."""
        self.seen = seen
        self.part: bytearray | None = None
        """A packet that goes on in the next page; it no longer grows once it is too long to be kept."""


class OggDemuxer:
    """Packets out of Ogg pages that come in any split, from one stream or several, chained or side by side.

    Whatever is not a whole page with the right checksum is skipped and counted. Never raises. It holds at most a
    page (65,307 bytes) and, for each of up to 8 streams, one unfinished packet.
    """

    def __init__(self) -> None:
        self.skipped_bytes = 0
        """Bytes that belonged to no page."""
        self.dropped_packets = 0
        """Packets that lacked their beginning or their end, or were too long (64 KiB, the first two of a stream
        1 MiB). One of which only the middle is missing counts twice."""
        self._buffer = bytearray()
        self._streams: dict[int, _Stream] = {}
        self._vain = 0

    def feed(self, data: bytes) -> list[OggPacket]:
        """The packets that `data` completes, in order."""
        buffer = self._buffer
        buffer += data
        packets: list[OggPacket] = []
        at = 0
        while True:
            found = buffer.find(_CAPTURE, at)
            if found < 0:
                found = max(at, len(buffer) - len(_CAPTURE) + 1)
            self.skipped_bytes += found - at
            at = found
            if len(buffer) - at < _HEADER.size:
                break
            body = at + _HEADER.size + buffer[at + _HEADER.size - 1]
            if len(buffer) < body:
                break
            end = body + sum(buffer[at + _HEADER.size : body])
            if len(buffer) < end:
                break
            page = bytes(buffer[at:end])
            if page[4] == 0 and page_checksum(page) == page[_CRC_AT : _CRC_AT + 4]:
                self._read(page, body - at, packets)
                at = end
            else:
                skipped = self._skip(len(page))
                self.skipped_bytes += skipped
                at += skipped
        del buffer[:at]
        return packets

    def _skip(self, size: int) -> int:
        """How far to go on after what looked like a page of `size` bytes and was none.

        Real pages may lie inside it, so only its first bytes are given up. Made-up pages that overlap would so be
        summed thousands of times over: past an allowance each is skipped whole.
        """
        self._vain += size
        affordable = self._vain <= _VAIN_ALLOWED + _VAIN_RATIO * self.skipped_bytes
        return len(_CAPTURE) if affordable else size

    def _read(self, page: bytes, body: int, packets: list[OggPacket]) -> None:
        """Add the packets that end on `page`, whose body starts at `body`."""
        flags, granule, serial, sequence = _FIELDS.unpack_from(page, 5)
        stream = self._streams.get(serial)
        if stream is None or flags & _BOS:
            stream = self._begin(serial, sequence, 0 if flags & _BOS else 2)
        part, stream.part = stream.part, None
        if part is not None and not (flags & _CONTINUED and sequence == stream.sequence):
            self.dropped_packets += 1
            part = None
        stream.sequence = (sequence + 1) & _U32
        headless = bool(flags & _CONTINUED) and part is None

        ended: list[bytes | None] = []
        start = end = body
        for lace in page[_HEADER.size : body]:
            end += lace
            if lace == 255:
                continue
            packet = page[start:end] if part is None else bytes(part + page[start:end])
            start, part = end, None
            most = HEADER_PACKET_MOST if stream.seen < 2 else AUDIO_PACKET_MOST
            ended.append(packet if len(packet) <= most and not headless else None)
            stream.seen += 1
            headless = False
        if start < end and not headless:
            stream.part = part = part or bytearray()
            if len(part) <= HEADER_PACKET_MOST:
                part += page[start:end]
        elif part is not None:
            stream.part = part

        for index, whole in enumerate(ended):
            if whole is None:
                self.dropped_packets += 1
                continue
            first, last = index == 0, index == len(ended) - 1
            upto = granule if last and granule != _NO_GRANULE else None
            packets.append(OggPacket(serial, whole, upto, first and bool(flags & _BOS), last and bool(flags & _EOS)))
        if flags & _EOS:
            self._forget(serial)

    def _begin(self, serial: int, sequence: int, seen: int) -> _Stream:
        if serial in self._streams:
            self._forget(serial)
        elif len(self._streams) == _STREAMS_MOST:
            self._forget(next(iter(self._streams)))
        self._streams[serial] = stream = _Stream(sequence, seen)
        return stream

    def _forget(self, serial: int) -> None:
        if self._streams.pop(serial).part is not None:
            self.dropped_packets += 1
