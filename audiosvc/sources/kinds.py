"""What a URL leads to, told from the first bytes of the answer: media, a playlist, or a page.

The bytes have the first word, since content types and suffixes are often wrong; those are asked where the bytes say
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from audiosvc.sources import playlists

FIRST_BYTES = 64 * 1024
"""Bytes of a source that are looked at, at most."""

AUDIO_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in (
        *("aac", "ac3", "aif", "aiff", "amr", "ape", "au", "caf", "dts", "eac3", "flac", "m4a", "m4b", "mka", "mp1"),
        *("mp2", "mp3", "mpc", "oga", "ogg", "opus", "tak", "tta", "w64", "wav", "weba", "wma", "wv"),
    )
)
"""Names that a playlist of a folder takes for audio. Played by itself, a file may have any name."""

LAST_BYTES = 65_307
"""The longest that a page of Ogg can be."""

SUFFIXES = AUDIO_SUFFIXES | {
    f".{suffix}"
    for suffix in ("3gp", "avi", "flv", "m3u8", "m4v", "mkv", "mov", "mp4", "mpd", "mpeg", "mpg", "ogv", "ts", "webm")
}
"""Names of media, sound or with sound in them."""

_SCANNED = 4096
"""Bytes in which a beginning is looked for: a station is entered in mid-frame, XML may begin with remarks."""

_HEADS = (
    (b"fLaC", "flac"),
    (b"\x1aE\xdf\xa3", "matroska"),
    (b"OggS", "ogg"),
    (b"caff", "caf"),
    (b".snd", "au"),
    (b"MAC ", "ape"),
    (b"wvpk", "wv"),
    (b"TTA1", "tta"),
    (b"tBaK", "tak"),
    (b"MPCK", "mpc8"),
    (b"MP+", "mpc"),
    (b"#!AMR", "amr"),
    (b"FLV\x01", "flv"),
    (b"0&\xb2u\x8ef\xcf\x11", "asf"),
    (b"riff.\x91\xcf\x11", "w64"),
    (b"\x00\x00\x01\xba", "mpeg"),
    (b"\x7f\xfe\x80\x01", "dts"),
    (b"\x0bw", "ac3"),
)
_RIFFS = {b"WAVE": "wav", b"AVI ": "avi", b"AIFF": "aiff", b"AIFC": "aiff"}
_ATOMS = frozenset({b"ftyp", b"moov", b"moof", b"styp", b"sidx", b"mdat", b"free", b"skip", b"wide", b"pnot"})
_NOT_MEDIA = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"%PDF", b"PK\x03\x04", b"\x1f\x8b", b"\x7fELF", b"BZh", b"MZ")

_TEXT_MOST = 1024
"""Bytes that are asked whether they are text."""
_WORD = 16
"""Bytes that have to be UTF-8; further on a page may be written in anything."""
_CONTROLS = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_DASH = re.compile(rb"<(?:\w{1,32}:)?MPD[\s>]")
_DYNAMIC = re.compile(rb"""\stype\s{0,8}=\s{0,8}["']dynamic""")

_MEDIA_TYPES = ("audio/", "video/", "application/ogg", "application/mp4", "application/x-flac")
_PLAYLIST_TYPES = frozenset({"audio/mpegurl", "audio/x-mpegurl", "application/mpegurl", "application/x-mpegurl"})
_NOT_MEDIA_TYPES = ("text/", "image/", "font/", "model/", "application/json", "application/pdf", "application/xml")


class Leads(Enum):
    """Where a URL leads."""

    TO_MEDIA = auto()
    TO_PLAYLIST = auto()
    TO_PAGE = auto()


@dataclass(frozen=True)
class Kind:
    leads: Leads
    container: str | None = None
    """FFmpeg's name for it, where the bytes tell."""
    opus: bool = False
    """Whether the sound is Opus in Ogg or Matroska."""
    live: bool = False
    station: bool = False
    """Whether it is a station that announces its titles (ICY)."""
    vbr: bool = False
    """Whether it is MPEG audio that says of itself that its bit rate varies."""
    entry: str | None = None
    """What a playlist leads to, to be joined to its URL; None where it is to be played as it is, or names nothing."""


PAGE = Kind(Leads.TO_PAGE)


def tell(first: bytes, headers: Mapping[str, str], url: str, *, whole: bool = False) -> Kind:
    """The kind of what begins with `first`, sent with `headers` (lower-case names) in answer to `url`; never raises.

    `whole` says that there is no more of it.
    """
    first = first[:FIRST_BYTES]
    text = _is_text(first)
    station = first.startswith(b"ICY 200") or (not text and any(name.startswith("icy-") for name in headers))
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    suffix = suffix_of(url)
    if station:
        container = _container(first)
        # What a station's server keeps on its disk has a length.
        live = "content-length" not in headers
        return Kind(Leads.TO_MEDIA, container, _is_opus(container, first), live=live, station=True)
    if text:
        return _tell_text(first, content_type, suffix, whole)
    container = _container(first)
    if container is not None:
        return Kind(Leads.TO_MEDIA, container, _is_opus(container, first), vbr=_is_vbr(container, first))
    if first.startswith(_NOT_MEDIA) or content_type.startswith(_NOT_MEDIA_TYPES):
        return PAGE
    named = content_type.startswith(_MEDIA_TYPES) or suffix in SUFFIXES
    return Kind(Leads.TO_MEDIA) if named or first else PAGE


def tell_file(first: bytes) -> bool:
    """Whether the file that begins with `first` holds Opus in Ogg or Matroska."""
    first = first[:FIRST_BYTES]
    return _is_opus(_container(first), first)


def is_chained(first: bytes, last: bytes) -> bool:
    """Whether what begins with `first` and ends with `last` is Ogg that ends in another stream than it begins with.

    `last` holds the last page if it is of `LAST_BYTES`. Streams that follow one another must differ in their serial
    numbers (RFC 3533, 4).
    """
    begun = {_serial(first, at) for at, _ in _ogg_beginnings(first)}
    at = last.rfind(_OGG_PAGE, 0, max(0, len(last) - 22))
    return bool(begun) and at >= 0 and _serial(last, at) not in begun


def suffix_of(url: str) -> str:
    """The suffix of the name in the path of `url`, in lower case with its dot; "" if there is none."""
    try:
        return PurePosixPath(unquote(urlsplit(url).path)).suffix.lower()
    except ValueError:
        return ""


def _is_text(first: bytes) -> bool:
    start = first[:_TEXT_MOST]
    if not start or _CONTROLS.search(start) or start.startswith((b"%PDF", b"#!AMR")):
        return False
    try:
        start[:_WORD].decode()
    except UnicodeDecodeError as error:
        # A character may have been cut in two.
        return error.start > 0 and error.start > _WORD - 4
    return True


def _tell_text(first: bytes, content_type: str, suffix: str, whole: bool) -> Kind:
    text = first.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith(b"#EXTM3U") and b"#EXT-X-" in text:
        live, entry = playlists.read_hls(text, whole=whole)
        return Kind(Leads.TO_PLAYLIST, "hls", live=live, entry=entry)
    if text.startswith(b"<") and (manifest := _DASH.search(text[:_SCANNED])):
        start, _, _ = text[manifest.start() : manifest.start() + _SCANNED].partition(b">")
        return Kind(Leads.TO_PLAYLIST, "dash", live=_DYNAMIC.search(start) is not None)
    if text[:10].lower() == b"[playlist]":
        return Kind(Leads.TO_PLAYLIST, entry=playlists.read_pls(text))
    named = content_type in _PLAYLIST_TYPES or suffix in (".m3u", ".m3u8")
    if text.startswith(b"#EXTM3U") or (named and not text.startswith(b"<")):
        return Kind(Leads.TO_PLAYLIST, entry=playlists.read_m3u(text))
    # Some containers begin with nothing but what could be text.
    container = _container(first)
    return Kind(Leads.TO_MEDIA, container) if container else PAGE


def _container(first: bytes) -> str | None:
    """FFmpeg's name for the container that begins with `first`, None if it does not show."""
    for head, container in _HEADS:
        if first.startswith(head):
            return container
    if first[:4] in (b"RIFF", b"RF64", b"FORM"):
        return _RIFFS.get(first[8:12])
    if first[4:8] in _ATOMS:
        return "mov"
    if first[:3] == b"ID3":
        return _behind_tag(first)
    if len(first) > 188 and all(byte == 0x47 for byte in first[: 188 * 8 : 188]):
        return "mpegts"
    frame = _first_frame(first)
    return frame[1] if frame is not None else None


def _behind_tag(first: bytes) -> str:
    """What follows an ID3 tag; where that lies further on it is taken for MP3, which it nearly always is."""
    rest = first[_tag_bytes(first) :]
    if rest.startswith(b"fLaC"):
        return "flac"
    frame = _first_frame(rest)
    return frame[1] if frame is not None else "mp3"


def _tag_bytes(first: bytes) -> int:
    """Bytes of the ID3v2 tag at the beginning of `first`, which may be more than there are."""
    if first[:3] != b"ID3" or len(first) < 10:
        return 0
    size = 0
    for byte in first[6:10]:
        size = size << 7 | byte & 0x7F
    return size + 10


# --- MPEG audio -------------------------------------------------------------------------------------------------

_RATES = (44100, 48000, 32000)
_BITRATES = {
    (1, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""kbit/s by (MPEG version 1 or 2, layer); ISO 11172-3 and 13818-3."""


def _first_frame(first: bytes) -> tuple[int, str] | None:
    """Where the first frame of MPEG audio or ADTS begins that another one follows, and which of the two it is."""
    at = first.find(b"\xff")
    while 0 <= at < _SCANNED:
        for size, container in ((_mpeg_frame, "mp3"), (_adts_frame, "aac")):
            step = size(first, at)
            if step and size(first, at + step):
                return at, container
        at = first.find(b"\xff", at + 1)
    return None


def _mpeg_frame(data: bytes, at: int) -> int:
    """Bytes of the MPEG audio frame at `at`, 0 if there is none."""
    head = data[at : at + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bitrate, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate == 3:
        return 0
    kbits = _BITRATES[1 if version == 3 else 2, layer][bitrate]
    hz = _RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    if layer == 1:
        return (12_000 * kbits // hz + padding) * 4
    return (72_000 if layer == 3 and version != 3 else 144_000) * kbits // hz + padding


def _adts_frame(data: bytes, at: int) -> int:
    """Bytes of the ADTS frame at `at`, 0 if there is none."""
    head = data[at : at + 7]
    if len(head) < 7 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or head[2] >> 2 & 0xF > 12:
        return 0
    size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return size if size > 7 else 0


def _is_vbr(container: str, first: bytes) -> bool:
    """Whether the first frame is a table of contents, as encoders write one in front of a varying bit rate."""
    if container != "mp3":
        return False
    rest = first[_tag_bytes(first) :]
    frame = _first_frame(rest)
    if frame is None:
        return False
    # Behind the head and the side information, of 9 to 32 bytes, with two of a checksum.
    table = rest[frame[0] + 4 : frame[0] + 48]
    return b"Xing" in table or b"VBRI" in table


# --- Opus -------------------------------------------------------------------------------------------------------

_STREAMS_MOST = 16
"""Streams of an Ogg that are looked at."""

_OGG_PAGE = b"OggS\0"
"""What each of the pages begins with; its head has 27 bytes (RFC 3533, 6)."""

_OGG_SOUND = (b"\x01vorbis", b"\x7fFLAC", b"Speex   ", b"fLaC")

_SEGMENT, _TRACKS, _TRACK, _TRACK_TYPE, _CODEC = 0x18538067, 0x1654AE6B, 0xAE, 0x83, 0x86
_AUDIO = b"\x02"
_ELEMENTS_MOST = 512
"""Elements looked at inside of one."""


def _is_opus(container: str | None, first: bytes) -> bool:
    if container == "ogg":
        return _ogg_is_opus(first)
    return container == "matroska" and _matroska_is_opus(first)


def _ogg_is_opus(first: bytes) -> bool:
    """Whether the first stream of sound is Opus: each stream begins with a page of its own."""
    for _, body in _ogg_beginnings(first):
        if first.startswith(b"OpusHead", body):
            return True
        if first.startswith(_OGG_SOUND, body):
            return False
    return False


def _ogg_beginnings(first: bytes) -> Iterator[tuple[int, int]]:
    """Where the first page of each stream lies that it begins with, of all at once, and where what the page holds."""
    at = 0
    for _ in range(_STREAMS_MOST):
        head = first[at : at + 27]
        if len(head) < 27 or not head.startswith(b"OggS") or not head[5] & 2:
            return
        body = at + 27 + head[26]
        yield at, body
        at = body + sum(first[at + 27 : body])


def _serial(page: bytes, at: int) -> bytes:
    return page[at + 14 : at + 18]


def _matroska_is_opus(first: bytes) -> bool:
    """Whether the first track of sound is Opus."""
    tracks = _inside(first, _inside(first, [(0, len(first))], _SEGMENT)[:1], _TRACKS)[:1]
    for track in _inside(first, tracks, _TRACK):
        said = {number: first[start:end] for number, start, end in _elements(first, *track)}
        if said.get(_TRACK_TYPE) == _AUDIO:
            return said.get(_CODEC, b"").rstrip(b"\0") == b"A_OPUS"
    return False


def _inside(data: bytes, places: list[tuple[int, int]], wanted: int) -> list[tuple[int, int]]:
    """Where the elements `wanted` inside those at `places` hold what they hold."""
    return [(start, end) for place in places for number, start, end in _elements(data, *place) if number == wanted]


def _elements(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The EBML elements between two places: number, and where what they hold begins and ends, as far as it is there."""
    for _ in range(_ELEMENTS_MOST):
        number, at = _number(data, at, end, marked=True)
        size, at = _number(data, at, end, marked=False)
        if number is None or at >= end:
            return
        stop = end if size is None else min(end, at + size)
        yield number, at, stop
        at = stop


def _number(data: bytes, at: int, end: int, *, marked: bool) -> tuple[int | None, int]:
    """An EBML number and where it ends. `marked` keeps the bit that says its length; all ones otherwise is no size."""
    if at >= end or not data[at]:
        return None, end
    length = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + length], "big")
    if at + length > end:
        return None, end
    if marked:
        return value, at + length
    value &= (1 << 7 * length) - 1
    return (None if value == (1 << 7 * length) - 1 else value), at + length
