"""Opus out of WebM and Matroska, without I/O (EBML: RFC 8794; Matroska: RFC 9559).

One track is taken, the file's first with sound. What is of no use is skipped and never held. What is not understood, or
cannot be handed on as it is, is `odd`, and left to FFmpeg.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from typing import NamedTuple

from audiosvc.audio import SAMPLE_RATE
from audiosvc.codec.ebml import (
    NUMBER_MOST,
    UNSTATED,
    UNSTATED_SIZES,
    Odd,
    children_of,
    float_of,
    header_of,
    number_at,
    sint,
    text_of,
    uint,
)

HELD_MOST = 256 * 1024
"""Bytes of an element that are held together: a block of the track taken, a track's entry, a point of the Cues."""

CUES_MOST = 32_768
"""Points of the Cues, 16 bytes each: 4.5 hours of one each half second, which is as many as RFC 9559 would have of
sound. What has more is odd."""

VAIN_MOST = 256
"""Elements between two packets, points of the Cues aside, that the smallest are not read for ever. There may be as
many of a video's, so seconds of it; sound that begins later is odd."""

PRE_ROLL = SAMPLE_RATE * 80 // 1000
"""Samples a decoder needs before it sounds right, where the track does not say (RFC 7845, 4.6)."""

_DELAY_MOST = SAMPLE_RATE
"""Samples that a decoder's delay and its pre-roll may last at most; both are below 0.1 s in Opus."""

_READ_VERSION = 4
"""The version of Matroska that RFC 9559 describes."""

_NANOSECONDS = 1_000_000_000
_FAR = 1 << 62
"""More than any position or time that is meant. What has no stated end ends here."""

# --- ids of elements, by the names of RFC 8794 and RFC 9559 -----------------------------------------------------------

_EBML, _VOID, _CRC_32 = 0x1A45DFA3, 0xEC, 0xBF
_EBML_MAX_ID_LENGTH, _EBML_MAX_SIZE_LENGTH, _DOC_TYPE, _DOC_TYPE_READ_VERSION = 0x42F2, 0x42F3, 0x4282, 0x4285
_SEGMENT = 0x18538067
_SEEK_HEAD, _SEEK, _SEEK_ID, _SEEK_POSITION = 0x114D9B74, 0x4DBB, 0x53AB, 0x53AC
_INFO, _TIMESTAMP_SCALE, _DURATION, _TITLE = 0x1549A966, 0x2AD7B1, 0x4489, 0x7BA9
_TRACKS, _TRACK_ENTRY, _TRACK_NUMBER, _TRACK_TYPE, _CODEC_ID = 0x1654AE6B, 0xAE, 0xD7, 0x83, 0x86
_CODEC_PRIVATE, _CODEC_DELAY, _SEEK_PRE_ROLL = 0x63A2, 0x56AA, 0x56BB
_TRACK_TIMESTAMP_SCALE, _CONTENT_ENCODINGS = 0x23314F, 0x6D80
_CUES, _CUE_POINT, _CUE_TIME, _CUE_TRACK_POSITIONS = 0x1C53BB6B, 0xBB, 0xB3, 0xB7
_CUE_TRACK, _CUE_CLUSTER_POSITION = 0xF7, 0xF1
_CLUSTER, _TIMESTAMP, _POSITION, _PREV_SIZE, _SILENT_TRACKS = 0x1F43B675, 0xE7, 0xA7, 0xAB, 0x5854
_SIMPLE_BLOCK, _BLOCK_GROUP, _BLOCK, _DISCARD_PADDING = 0xA3, 0xA0, 0xA1, 0x75A2
_TAGS, _TAG, _TARGETS, _SIMPLE_TAG, _TAG_NAME, _TAG_STRING = 0x1254C367, 0x7373, 0x63C0, 0x67C8, 0x45A3, 0x4487
_TARGET_UIDS = (_TAG_EDITION_UID, _TAG_CHAPTER_UID, _TAG_ATTACHMENT_UID) = (0x63C9, 0x63C4, 0x63C6)
_CHAPTERS, _ATTACHMENTS = 0x1043A770, 0x1941A469

_DOCUMENT = 0
"""Stands for the file itself among the elements that are open."""

_OPENED = {
    _DOCUMENT: {_SEGMENT},
    _SEGMENT: {_TRACKS, _CUES, _CLUSTER, _TAGS},
    _CLUSTER: {_BLOCK_GROUP},
}
"""Elements that are read one child at a time, by what they are in."""

_TAKEN = {
    _DOCUMENT: {_EBML},
    _SEGMENT: {_SEEK_HEAD, _INFO},
    _TRACKS: {_TRACK_ENTRY},
    _CUES: {_CUE_POINT},
    _TAGS: {_TAG},
    _CLUSTER: {_TIMESTAMP, _SIMPLE_BLOCK},
    _BLOCK_GROUP: {_BLOCK, _DISCARD_PADDING},
}
"""Elements that are read once they are whole, by what they are in. All others are skipped."""

_OF_DOCUMENT = {_EBML, _SEGMENT}
_OF_SEGMENT = {_SEEK_HEAD, _INFO, _TRACKS, _CUES, _CLUSTER, _TAGS, _CHAPTERS, _ATTACHMENTS}
_ANYWHERE = {_VOID, _CRC_32}
_ENDLESS = {
    _SEGMENT: _OF_SEGMENT | _ANYWHERE,
    _CLUSTER: {_TIMESTAMP, _SIMPLE_BLOCK, _BLOCK_GROUP, _POSITION, _PREV_SIZE, _SILENT_TRACKS} | _ANYWHERE,
}
"""The elements whose size may be unstated, and what may then be in them."""

_EBML_BYTES, _CUES_BYTES = _EBML.to_bytes(4, "big"), _CUES.to_bytes(4, "big")
_AUDIO = 2
_OPUS_HEAD_LEAST, _OPUS_HEAD_MOST = 19, 21 + 255
_XIPH, _FIXED, _LACED = 0x02, 0x04, 0x06
"""How a block's flags say that several packets are in it, and in which way their sizes are coded; both bits: EBML."""


class WebmPacket(NamedTuple):
    """An Opus packet as it was found."""

    data: bytes
    time: int | None
    """The block's time in samples at 48 kHz, as stated: rounded to the file's clock, mostly a millisecond, and the
    head's `codec_delay` later than the position in the sound. None for the second and later packets of a block that
    holds several: each begins where the one before it ends."""
    discard: int
    """Samples at its end that are to be dropped (below 0: at its beginning); nearly always 0, but in a last packet."""


class WebmHead(NamedTuple):
    """What stands before the first cluster. It is all `WebmDemuxer.resume` needs to know of a file."""

    opus_head: bytes
    """The track's OpusHead, at least 19 bytes (RFC 7845, 5.1)."""
    channels: int
    """As OpusHead has them."""
    codec_delay: int
    """Samples at 48 kHz to take from a packet's `time` for its position in the sound; 0 if the file does not say."""
    seek_pre_roll: int
    """Samples at 48 kHz that have to be decoded before those that are to be heard after a seek."""
    duration: int | None
    """Samples at 48 kHz; None where the file does not say (live)."""
    title: str | None
    """As it was written, like the artist: up to `TEXT_MOST` bytes, line breaks and all."""
    artist: str | None
    track: int
    """Number of the track taken."""
    timestamp_scale: int
    """Nanoseconds of a tick of the file's clock."""
    segment: int
    """Offset in the file of the Segment's first element: the file's own positions count from there."""
    segment_end: int | None
    """Offset in the file of the Segment's end; None where its size is not stated (live)."""
    clusters: int
    """Offset in the file of the first cluster."""
    cues: int | None
    """Offset in the file of the Cues, to be fetched from there if they lie behind the clusters; None if there are
    none that are known of."""

    def start(self, cues: Cues, position: int) -> int:
        """Offset in the file of the cluster to `resume` from, so that a decoder sounds right at `position`, a sample
        of the sound at 48 kHz.

        The first packet found there lies at least `seek_pre_roll` before it. If the Cues are not the track's own, it
        may lie later, and an earlier position has to be tried.
        """
        offset = cues.before(position - self.seek_pre_roll)
        return self.clusters if offset is None else offset


class Cues:
    """Where the clusters lie: times in samples at 48 kHz, ascending, and offsets in the file."""

    __slots__ = ("offsets", "times")

    def __init__(self, times: array[int], offsets: array[int]) -> None:
        points = sorted(zip(times, offsets, strict=True))
        self.times = array("q", [time for time, _ in points])
        self.offsets = array("q", [offset for _, offset in points])

    def __len__(self) -> int:
        return len(self.times)

    def before(self, time: int) -> int | None:
        """Offset of the last cluster listed that begins at `time` or before it; None if none does."""
        index = bisect_right(self.times, time)
        return self.offsets[index - 1] if index else None


class _Track(NamedTuple):
    """What the head takes from the track's entry."""

    opus_head: bytes
    delay: int
    pre_roll: int


class WebmDemuxer:
    """The packets of one Opus track out of WebM or Matroska that comes in any split, a file or live.

    Never raises. It holds at most `HELD_MOST` bytes and a header (12 bytes) of an element that is not yet whole, the
    packets of one block (up to 256, `HELD_MOST` bytes) until its group ends, and `CUES_MOST` points of the Cues: 1.1
    MiB in all, and in practice one packet. Beside them there is what `feed` was given and what it gives. The time it
    takes grows with the bytes fed, not with how they are split.

    Read after each `feed`:

    - `odd`: why the rest has to be left to FFmpeg, or None. Packets given before, and with that same `feed`, are good;
      nothing comes after.
    - `head`: a `WebmHead` as soon as the first cluster begins, so before the first packet; None till then.
    - `cues`: `Cues` as soon as they have been read whole, before the clusters or behind them; None till then.
    - `whole`: whether what was fed may be all there is: it ends where the segment does, or, where its size is not
      stated, between two elements. If it is False when the source ends, the source was cut short.
    """

    def __init__(self) -> None:
        self.odd: str | None = None
        self.head: WebmHead | None = None
        self.cues: Cues | None = None
        self._held = bytearray()
        """What was fed and is not read yet: the beginning of an element."""
        self._need = 0
        """How long it has to be to be worth another look."""
        self._skip = 0
        """Bytes to come that are of no use."""
        self._base = 0
        """Offset in the file of what is held, or else of the first byte that is neither read nor skipped."""
        self._open = [(_DOCUMENT, _FAR, False)]
        """The elements that are being read, outermost first; where in the file each ends, and whether that is only
        where the one around it does, as its own size is not stated."""
        self._resumed = False
        """Whether it is still to be seen that there is something at the place resumed from."""
        self._ended = self._over = False
        """Whether the segment has ended, and whether what came then is of no use."""

        self._known = False
        """Whether the EBML header has been read."""
        self._segment = 0
        self._segment_end: int | None = None
        self._scale = 0
        """Nanoseconds of a tick; 0 until they are known."""
        self._duration: int | None = None
        self._texts: dict[str, str] = {}
        self._track: _Track | None = None
        self._number = 0
        """The track's; 0 until it is known."""
        self._cues_at: int | None = None

        self._time: int | None = None
        """The cluster's, in ticks."""
        self._group: list[WebmPacket] = []
        self._discard = 0

        self._vain = 0
        """Elements since the last packet."""
        self._cue_points = 0
        self._times, self._offsets = array("q"), array("q")
        self._own_points = False
        """Whether the Cues' points are the track's own; as long as it has none, those of others stand in."""

    @classmethod
    def resume(cls, head: WebmHead, offset: int) -> WebmDemuxer:
        """A demuxer that is fed a file whose `head` is known from `offset` on, where a cluster begins (`head.start`,
        `head.clusters`) or the Cues do (`head.cues`; `cues` is set once they are whole). Odd if neither does."""
        demuxer = cls()
        demuxer._base, demuxer._resumed = offset, True
        demuxer._segment, demuxer._segment_end = head.segment, head.segment_end
        end = _FAR if head.segment_end is None else head.segment_end
        demuxer._open.append((_SEGMENT, end, head.segment_end is None))
        demuxer.head, demuxer._number, demuxer._scale = head, head.track, head.timestamp_scale
        return demuxer

    @property
    def whole(self) -> bool:
        """Whether what was fed may be all there is."""
        if self._skip:
            return False
        endless = self.head is not None and not self._held and self._open[-1][1] == _FAR
        return self._ended or (endless and self.odd is None)

    def feed(self, data: bytes) -> list[WebmPacket]:
        """The packets that `data` completes, in order."""
        packets: list[WebmPacket] = []
        if self.odd is not None or self._over:
            return packets
        if self._skip:
            data, self._skip = data[self._skip :], max(0, self._skip - len(data))
        if not data:
            return packets
        held = self._held
        if held:
            held += data
            if len(held) < self._need:
                return packets
            data = bytes(held)
            held.clear()
        try:
            read = self._behind(data, 0) if self._ended else self._read(data, packets)
        except Odd as odd:
            self.odd = str(odd)
            return packets
        self._base += read
        self._skip = max(0, read - len(data))
        held += data[read:]
        return packets

    # --- the tree of elements ---------------------------------------------------------------------------------------

    def _read(self, data: bytes, packets: list[WebmPacket]) -> int:
        """How far `data` is done with. That may be beyond its end: what comes up to there is of no use."""
        base, size = self._base, len(data)
        level, level_end, _ = self._open[-1]
        at = 0
        while True:
            while base + at >= level_end:
                level, level_end = self._close(packets)
                if self._ended:
                    return self._behind(data, at)
            if level == _CLUSTER:
                at = self._run(data, at, min(size, level_end - base), packets)
                if base + at >= level_end:
                    continue
            header = header_of(data, at)
            if header is None:
                self._need = size - at + 1
                return at
            identity, body, length = header
            end = body + length
            level, level_end = self._place(identity, length, packets)
            if length == UNSTATED:
                end = level_end - base
            elif base + end > level_end:
                raise Odd("an element is larger than the one it is in")
            if identity in _OPENED.get(level, ()):
                if self._enter(identity, base + at, base + body, length):
                    level, level_end = identity, base + end
                    self._open.append((level, level_end, length == UNSTATED))
                    end = body
            elif identity in _TAKEN[level] and not (level == _SEGMENT and self.head):
                wanted = self._wanted(identity, data, body, end)
                if wanted > size:
                    self._need = wanted - at
                    return at
                if wanted == end:
                    self._take(identity, data[body:end], packets)
            at = end
            if identity != _CUE_POINT:
                self._vain += 1
            if self._vain > VAIN_MOST:
                raise Odd("there is too much in it that is of no use")

    def _place(self, identity: int, length: int, packets: list[WebmPacket]) -> tuple[int, int]:
        """What the element that comes is in, and where that ends: a cluster of no stated size ends before it, if it
        cannot be in one."""
        level, end, endless = self._open[-1]
        if length == UNSTATED and identity not in _ENDLESS:
            raise Odd("the size of an element is not stated")
        if self._resumed and identity not in (_CLUSTER, _CUES):
            raise Odd("there is no cluster at the place the Cues point at")
        self._resumed = False
        if level == _CLUSTER and endless and identity in _OF_SEGMENT:
            self._close(packets)
            level, end, endless = self._open[-1]
        if level == _DOCUMENT:
            if identity != (_SEGMENT if self._known else _EBML) and not (self._known and identity in _ANYWHERE):
                raise Odd("it is neither WebM nor Matroska")
        elif identity in _OF_DOCUMENT or (identity in _OF_SEGMENT and level != _SEGMENT):
            raise Odd("an element is where it cannot be")
        elif endless and identity not in _ENDLESS[level]:
            raise Odd("an element is unknown where what it is in has no stated size")
        return level, end

    def _enter(self, identity: int, at: int, body: int, length: int) -> bool:
        """Begin to read an element at `at` of the file, whose children begin at `body`. False if it is of no use."""
        if identity == _CLUSTER:
            if self.head is None:
                self._begin(at)
            self._time = None
        elif identity == _BLOCK_GROUP:
            self._group, self._discard = [], 0
        elif identity == _SEGMENT:
            self._segment, self._segment_end = body, None if length == UNSTATED else body + length
        elif identity == _CUES:
            if self.head is None:
                self._cues_at = at
            return bool(self._number and self._scale) and self.cues is None
        else:
            return self.head is None
        return True

    def _close(self, packets: list[WebmPacket]) -> tuple[int, int]:
        """End the innermost element. What it is in, and where that ends."""
        closed, _, _ = self._open.pop()
        if closed == _BLOCK_GROUP:
            self._end_group(packets)
        elif closed == _CUES:
            self.cues = Cues(self._times, self._offsets)
            self._times, self._offsets = array("q"), array("q")
        elif closed == _SEGMENT:
            self._ended = True
        level, end, _ = self._open[-1]
        return level, end

    def _behind(self, data: bytes, at: int) -> int:
        """Look at what comes behind the segment: another file, or what is of no use."""
        if len(data) - at < len(_EBML_BYTES):
            self._need = len(_EBML_BYTES)
            return at
        if data.startswith(_EBML_BYTES, at):
            raise Odd("another file follows")
        self._over = True
        return len(data)

    def _wanted(self, identity: int, data: bytes, body: int, end: int) -> int:
        """Up to where `data` has to reach: `end`, or less if that tells whether the element is of use; 0 if not."""
        if identity in (_SIMPLE_BLOCK, _BLOCK):
            known = min(end, body + NUMBER_MOST)
            if known > len(data):
                return known
            if number_at(data, body, end)[0] != self._number:
                return 0
        if end - body <= HELD_MOST:
            return end
        if identity == _TAG:
            return 0
        raise Odd("an element is too large")

    def _take(self, identity: int, body: bytes, packets: list[WebmPacket]) -> None:
        """Read an element that is whole."""
        if identity == _SIMPLE_BLOCK:
            self._block(body, packets)
        elif identity == _BLOCK:
            if self._group:
                raise Odd("there are two blocks in one group")
            self._block(body, self._group)
        elif identity == _DISCARD_PADDING:
            self._discard = _samples(sint(body), 1)
        elif identity == _TIMESTAMP:
            self._time = uint(body)
            if _samples(self._time, self._scale) >= _FAR:
                raise Odd("a time is beyond all sense")
        elif identity == _CUE_POINT:
            self._read_cue_point(body)
        elif identity == _EBML:
            _check_header(body)
            self._known = True
        elif identity == _SEEK_HEAD:
            self._read_seek_head(body)
        elif identity == _INFO:
            self._read_info(body)
        elif identity == _TRACK_ENTRY:
            self._read_track(body)
        else:
            self._read_tag(body)

    # --- what stands before the clusters ----------------------------------------------------------------------------

    def _read_seek_head(self, data: bytes) -> None:
        for identity, body in children_of(data):
            seek = dict(children_of(body)) if identity == _SEEK else {}
            if seek.get(_SEEK_ID) == _CUES_BYTES and self._cues_at is None:
                self._cues_at = self._offset(uint(seek.get(_SEEK_POSITION)))

    def _offset(self, position: int) -> int | None:
        """Where in the file a position in the segment lies, if it does."""
        end = _FAR if self._segment_end is None else self._segment_end
        return self._segment + position if self._segment + position < end else None

    def _read_info(self, data: bytes) -> None:
        if self._scale:
            return
        info = dict(children_of(data))
        self._scale = uint(info.get(_TIMESTAMP_SCALE), 1_000_000)
        if not 0 < self._scale <= _NANOSECONDS:
            raise Odd("its clock does not tick, or too seldom")
        samples = float_of(info.get(_DURATION), math.nan) * self._scale * SAMPLE_RATE / _NANOSECONDS
        self._duration = round(samples) if 0 < samples < _FAR else None
        if _TITLE in info:
            self._texts["TITLE"] = text_of(info[_TITLE])

    def _read_track(self, data: bytes) -> None:
        """The first one with sound is taken, as FFmpeg is told to."""
        entry = dict(children_of(data))
        if self._track is not None or uint(entry.get(_TRACK_TYPE)) != _AUDIO:
            return
        if entry.get(_CODEC_ID, b"").rstrip(b"\0") != b"A_OPUS":
            raise Odd("the sound is not Opus")
        opus_head = entry.get(_CODEC_PRIVATE, b"")
        if not opus_head.startswith(b"OpusHead") or not _OPUS_HEAD_LEAST <= len(opus_head) <= _OPUS_HEAD_MOST:
            raise Odd("there is no OpusHead")
        if _CONTENT_ENCODINGS in entry:
            raise Odd("the track is compressed or encrypted")
        number, scale = uint(entry.get(_TRACK_NUMBER)), float_of(entry.get(_TRACK_TIMESTAMP_SCALE), 1.0)
        delay, pre_roll = (_samples(uint(entry.get(each)), 1) for each in (_CODEC_DELAY, _SEEK_PRE_ROLL))
        if not number or scale != 1.0 or max(delay, pre_roll) > _DELAY_MOST:
            raise Odd("the track's number or times make no sense")
        self._number = number
        self._track = _Track(opus_head, delay, pre_roll or PRE_ROLL)

    def _read_tag(self, data: bytes) -> None:
        """What is said of a chapter, an attachment or an edition is not said of the file."""
        parts = list(children_of(data))
        targets = [dict(children_of(body)) for identity, body in parts if identity == _TARGETS]
        if any(uint(each.get(uid)) for each in targets for uid in _TARGET_UIDS):
            return
        for identity, body in parts:
            tag = dict(children_of(body)) if identity == _SIMPLE_TAG else {}
            name = text_of(tag.get(_TAG_NAME, b"")).upper()
            if name in ("TITLE", "ARTIST"):
                self._texts.setdefault(name, text_of(tag.get(_TAG_STRING, b"")))

    def _begin(self, at: int) -> None:
        """The first cluster begins at `at` of the file, so the head is complete."""
        track = self._track
        if track is None or not self._scale:
            raise Odd("there is no sound in it")
        title, artist = (self._texts.get(name) or None for name in ("TITLE", "ARTIST"))
        self.head = WebmHead(
            opus_head=track.opus_head,
            channels=track.opus_head[9],
            codec_delay=track.delay,
            seek_pre_roll=track.pre_roll,
            duration=self._duration,
            title=title,
            artist=artist,
            track=self._number,
            timestamp_scale=self._scale,
            segment=self._segment,
            segment_end=self._segment_end,
            clusters=at,
            cues=self._cues_at,
        )

    # --- Cues -------------------------------------------------------------------------------------------------------

    def _read_cue_point(self, data: bytes) -> None:
        time = 0
        own: int | None = None
        other: int | None = None
        for identity, body in children_of(data):
            if identity == _CUE_TIME:
                time = _samples(uint(body), self._scale)
            elif identity == _CUE_TRACK_POSITIONS:
                place = dict(children_of(body))
                offset = self._offset(uint(place.get(_CUE_CLUSTER_POSITION)))
                if uint(place.get(_CUE_TRACK)) == self._number:
                    own = offset
                else:
                    other = offset
        if own is not None and not self._own_points:
            self._own_points = True
            del self._times[:], self._offsets[:]
        offset = own if self._own_points else other
        self._cue_points += 1
        if self._cue_points > CUES_MOST:
            raise Odd("there are too many Cues")
        if offset is not None and time < _FAR:
            self._times.append(time)
            self._offsets.append(offset)

    # --- blocks -----------------------------------------------------------------------------------------------------

    def _run(self, data: bytes, at: int, end: int, packets: list[WebmPacket]) -> int:
        """Read simple blocks that follow on each other, as long as they hold one packet of the track and fit before
        `end`: most of any file is read here. Where something else begins."""
        if self._time is None or self._number > 126:
            return at
        number, cluster, scale = 0x80 | self._number, self._time - 0x8000, self._scale * 48
        while at + 3 <= end and data[at] == _SIMPLE_BLOCK:
            length, body = data[at + 1], at + 2
            if 0x80 <= length < 0xFF:
                length -= 0x80
            elif 0x40 <= length < 0x7F:
                length, body = (length & 0x3F) << 8 | data[body], at + 3
            else:
                break
            upto = body + length
            if upto > end or length < 4 or data[body] != number or data[body + 3] & _LACED:
                break
            ticks = cluster + ((data[body + 1] << 8 | data[body + 2]) ^ 0x8000)
            packets.append(WebmPacket(data[body + 4 : upto], (ticks * scale + 500_000) // 1_000_000, 0))
            at = upto
            self._vain = 0
        return at

    def _block(self, data: bytes, packets: list[WebmPacket]) -> None:
        """Add what is in a block of the track (RFC 9559, 10)."""
        _, at = number_at(data, 0, len(data))
        if len(data) - at < 3 or self._time is None:
            raise Odd("a block has no time")
        ticks = (data[at] << 8 | data[at + 1]) ^ 0x8000
        time: int | None = _samples(self._time + ticks - 0x8000, self._scale)
        lacing = data[at + 2] & _LACED
        self._vain = 0
        for packet in _laced(data, at + 3, lacing) if lacing else [data[at + 3 :]]:
            packets.append(WebmPacket(packet, time, 0))
            time = None

    def _end_group(self, packets: list[WebmPacket]) -> None:
        """Add what is in the group, and what is to be dropped of it to its last packet or its first."""
        group, self._group = self._group, []
        if group and self._discard:
            index = -1 if self._discard > 0 else 0
            group[index] = group[index]._replace(discard=self._discard)
        packets += group


def _samples(ticks: int, nanoseconds: int) -> int:
    """Samples at 48 kHz in `ticks` of so many nanoseconds, rounded."""
    return (ticks * nanoseconds * 48 + 500_000) // 1_000_000


def _check_header(data: bytes) -> None:
    """The EBML header says what is to be understood to read the rest."""
    header = dict(children_of(data))
    if header.get(_DOC_TYPE, b"").rstrip(b"\0") not in (b"webm", b"matroska"):
        raise Odd("it is neither WebM nor Matroska")
    for identity, most in (
        (_DOC_TYPE_READ_VERSION, _READ_VERSION),
        (_EBML_MAX_ID_LENGTH, 4),
        (_EBML_MAX_SIZE_LENGTH, 8),
    ):
        if uint(header.get(identity)) > most:
            raise Odd("it is of a version that is not known")


def _laced(data: bytes, at: int, lacing: int) -> list[bytes]:
    """The packets of a block that holds several (RFC 9559, 10.3); `at` is where their number stands."""
    end = len(data)
    if at == end:
        raise Odd("a block's packets cannot be parted")
    rest = data[at]
    at += 1
    sizes: list[int] = []
    if lacing == _FIXED:
        sizes = [(end - at) // (rest + 1)] * rest
    elif lacing == _XIPH:
        for _ in range(rest):
            size = 0
            while at < end and data[at] == 255:
                size += 255
                at += 1
            if at < end:
                size += data[at]
            at += 1
            sizes.append(size)
    elif rest:
        size, at = number_at(data, at, end)
        sizes.append(size)
        for _ in range(rest - 1):
            more, upto = number_at(data, at, end)
            size += more - UNSTATED_SIZES[upto - at] // 2
            at = upto
            sizes.append(size)
    last = end - at - sum(sizes)
    if last < 0 or min(sizes, default=0) < 0 or (lacing == _FIXED and rest and last != sizes[0]):
        raise Odd("a block's packets cannot be parted")
    packets = []
    for size in (*sizes, last):
        packets.append(data[at : at + size])
        at += size
    return packets
