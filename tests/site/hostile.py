"""What an attacker's server answers to keep the daemon busy or to fill its memory: floods of playlists, and bombs."""

from __future__ import annotations

import struct
import wave
import zlib
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from tests.site import media
from tests.site.attacks import HTML, M3U8, MP3, MPD, Answer, disguises, ways_in
from tests.site.body import Body, extent, of
from tests.site.hits import SiteRequest

VARIANTS = 3000
PAGE_BYTES = 1_500_000_000
GZIP_BYTES = 1_000_000_000
SIDE = 16_000
"""Of the cover picture, in pixels."""

WAV = "audio/wav"


def floods() -> dict[str, Answer]:
    """Playlists without end."""

    def nested(request: SiteRequest) -> tuple[str, bytes]:
        n = int(request.option("n", 0)) + 1
        lines = "".join(f"#EXT-X-STREAM-INF:BANDWIDTH={k}000\nnested.m3u8?n={n}{k}\n" for k in (1, 2, 3))
        return M3U8, f"#EXTM3U\n{lines}".encode()

    def self_named(_: SiteRequest) -> tuple[str, bytes]:
        return M3U8, b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=64000\nself.m3u8\n"

    def variants(_: SiteRequest) -> tuple[str, bytes]:
        lines = "".join(f"#EXT-X-STREAM-INF:BANDWIDTH={n + 64}000\nvariant.m3u8?n={n}\n" for n in range(VARIANTS))
        return M3U8, f"#EXTM3U\n{lines}".encode()

    def variant(_: SiteRequest) -> tuple[str, bytes]:
        text = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n../media/hls/index0.ts\n#EXT-X-ENDLIST\n"
        return M3U8, text.encode()

    def segments(_: SiteRequest) -> tuple[str, bytes]:
        return M3U8, b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n" + b"#EXTINF:2,\n../media/hls/index0.ts\n" * 1_000_000

    def missing(_: SiteRequest) -> tuple[str, bytes]:
        parts = "".join(f"#EXTINF:2,\nnothing{n}.ts\n" for n in range(VARIANTS))
        return M3U8, f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n{parts}#EXT-X-ENDLIST\n".encode()

    def representations(_: SiteRequest) -> tuple[str, bytes]:
        text = media.content("dash/index.mpd").decode()
        head, mark, rest = text.partition("<Representation ")
        one, end, tail = rest.replace("$RepresentationID$", "0").partition("</Representation>")
        base = head.replace("<Period", "<BaseURL>../media/dash/</BaseURL><Period", 1)
        return MPD, (
            base + "".join(mark + one.replace('id="0"', f'id="{n}"') + end for n in range(VARIANTS)) + tail
        ).encode()

    return {
        "missing.m3u8": missing,
        "representations.mpd": representations,
        "nested.m3u8": nested,
        "self.m3u8": self_named,
        "variants.m3u8": variants,
        "variant.m3u8": variant,
        "segments.m3u8": segments,
    }


def bombs() -> dict[str, Answer]:
    """Small or endless things that grow in memory."""
    return {
        "cover.mp3": lambda _: (MP3, cover_mp3()),
        "one-hertz.wav": lambda _: (WAV, _wav(rate=1, channels=2, data=bytes(1_000_000))),
        "channels.wav": lambda _: (WAV, _wav(rate=48_000, channels=65_535, data=bytes(1_000_000))),
    }


class Given(Resource):
    isLeaf = True

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    def render_GET(self, request: Any) -> int:
        kind, data = self._answer(request)
        request.setHeader("Content-Type", kind)
        Body(request, of(data), *extent(request, len(data))).begin()
        return NOT_DONE_YET


class SegmentAt(Resource):
    """`/hostile/segment-at.m3u8?base=URL`: a playlist whose segments are on another host."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        request.setHeader("Content-Type", M3U8)
        parts = "".join(f"#EXTINF:2,\n{request.word('base')}/media/hls/index{n}.ts\n" for n in range(8))
        return f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n{parts}#EXT-X-ENDLIST\n".encode()


class GzipPage(Resource):
    """A megabyte that unpacks to a thousand."""

    isLeaf = True

    def render_GET(self, request: Any) -> int:
        data = gzip_bomb()
        request.setHeader("Content-Type", HTML)
        request.setHeader("Content-Encoding", "gzip")
        request.setHeader("Content-Length", str(len(data)))
        Body(request, of(data), 0, len(data)).begin()
        return NOT_DONE_YET


class HugePage(Resource):
    """1.5 GB of markup."""

    isLeaf = True

    def render_GET(self, request: Any) -> int:
        request.setHeader("Content-Type", HTML)
        head, filler = b"<!DOCTYPE html><html><head><title>Long</title></head><body>", b"<p>word</p>" * 4096

        def read(start: int, most: int) -> bytes:
            return head if start == 0 else filler[:most]

        Body(request, read, 0, PAGE_BYTES).begin()
        return NOT_DONE_YET


class Redirect(Resource):
    """`/redirect?to=URL&code=302`; with `times` so often by way of itself, and without `to` for ever."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        times = int(request.option("times", 0))
        if not (to := request.word("to")):
            to = f"{request.here}/redirect?n={int(request.option('n', 0)) + 1}"
        elif times > 0:
            path = request.uri.decode().replace(f"times={times}", f"times={times - 1}")
            to = f"{request.here}{path}"
        request.setResponseCode(int(request.option("code", 302)))
        request.setHeader("Location", to)
        request.setHeader("Content-Type", HTML)
        return b"<!DOCTYPE html><p>Over there.</p>"


class Status(Resource):
    """`/status/CODE`."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        request.setResponseCode(int(request.postpath[0]))
        request.setHeader("Content-Type", HTML)
        return b"<!DOCTYPE html><p>Nothing to hear.</p>"


def tree(internal: str, canary: Path) -> Resource:
    root = Resource()
    for answers in (ways_in(internal), disguises(canary), floods(), bombs()):
        for name, answer in answers.items():
            root.putChild(name.encode(), Given(answer))
    root.putChild(b"segment-at.m3u8", SegmentAt())
    root.putChild(b"page-gzip", GzipPage())
    root.putChild(b"page-huge", HugePage())
    return root


# --- how the bombs are made ------------------------------------------------------------------------------------------


def _repeated(block: bytes, times: int, wbits: int) -> Iterator[bytes]:
    """`block` compressed so that its repetitions are the same bytes; raw deflate for a negative `wbits`."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    start = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    again = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    yield start
    yield again * (times - 1)
    yield b"\x03\x00"  # the last block, empty


@cache
def gzip_bomb() -> bytes:
    block = b"<!DOCTYPE html><html><head><title>Deep</title></head><body>".ljust(1_000_000)
    times, crc = GZIP_BYTES // len(block), 0
    for _ in range(times):
        crc = zlib.crc32(block, crc)
    trailer = struct.pack("<II", crc, GZIP_BYTES & 0xFFFFFFFF)
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + b"".join(_repeated(block, times, -15)) + trailer


@cache
def _bomb_png() -> bytes:
    """Black, `SIDE` pixels square, of 24 bits each."""
    rows = 100
    size = SIDE * (1 + 3 * SIDE)
    packed = b"".join(_repeated(bytes(rows * (1 + 3 * SIDE)), SIDE // rows, 15))
    packed += struct.pack(">HH", size % 65521, 1)  # Adler-32 of nothing but zeros

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@cache
def cover_mp3() -> bytes:
    """Playable: the picture in front, and the signal of `mp3.mp3` behind it."""
    frame = b"\0image/png\0\x03\0" + _bomb_png()
    tag = b"APIC" + struct.pack(">IH", len(frame), 0) + frame
    size = bytes(len(tag) >> shift & 0x7F for shift in (21, 14, 7, 0))
    music = media.content("mp3.mp3")
    old = sum(byte << shift for byte, shift in zip(music[6:10], (21, 14, 7, 0), strict=True)) + 10
    return b"ID3\x03\0\0" + size + tag + music[old:]


@cache
def _wav(rate: int, channels: int, data: bytes) -> bytes:
    file = BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(min(channels, 2))
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(data)
    made = bytearray(file.getvalue())
    struct.pack_into("<HIIH", made, 22, channels, rate, rate * channels * 2 & 0xFFFFFFFF, channels * 2 & 0xFFFF)
    return bytes(made)
