"""Real inputs of every reader of bytes that somebody else wrote, made here or built in."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path

import msgspec
from msgspec.structs import replace

from audiosvc.codec.ogg import OggMuxer
from audiosvc.session.memory import pack
from audiosvc.wire.codec import encode_event, encode_line, encode_packet
from audiosvc.wire.messages import (
    FEATURES,
    Attached,
    Credit,
    Error,
    Event,
    Finished,
    Greeting,
    Held,
    Hello,
    Ready,
    Seeked,
    Subscribe,
    Unsubscribe,
)
from tests.cache import support as cache_support
from tests.codec import matroska as mk
from tests.ffmpeg import said
from tests.session import test_memory

_PIECES = Path(__file__).parents[2] / "audiosvc" / "sources" / "pieces"

SONG = "http://h.example/song.webm?a=b"


def packet(number: int, toc: int = 0xFC) -> bytes:
    """An Opus packet of 20 ms in stereo, or what else `toc` says; where several frames are in it, two."""
    return bytes([toc, 2, *((number * 7 + i) % 256 for i in range(2 * (number % 30) + 2))])


@cache
def wire() -> list[bytes]:
    events: list[Event] = [
        Hello(1, FEATURES, "audiosvc/1"),
        Ready("guild-a", "t1", SONG, "opus", 0.0, "Title", 12.5, live=True),
        Attached("user:42", "t2", "streaming", 1.5, 75),
        Seeked("guild-a", "t1", 3.0, 1.0),
        Error("guild-a", "t1", "not_audio", "no", 0.0),
        Finished("guild-a", "t1", 3.5),
    ]
    packets = [encode_packet("guild-a", packet(i)) for i in range(20)]
    lines = [encode_event(event) for event in events]
    return [b"".join(lines), b"".join(packets), lines[0] + lines[1] + b"".join(packets) + lines[-1], *lines, packets[0]]


@cache
def lines() -> list[bytes]:
    said = [
        encode_line(Greeting("test/1", {"guild-a": 5, "user:42": Held(3, "t1")})),
        encode_line(Subscribe("guild-a")),
        encode_line(Unsubscribe("user:42")),
        encode_line(Credit("guild-a", 50)),
        b'\r\n{"type": "credit", "session_id": "a", "packets": 1, "more": [1, {"a": "\\u00e9"}]}\r\n',
    ]
    return [*said, b"".join(said), b"".join(said * 5)]


@cache
def ogg() -> list[bytes]:
    def muxed(toc: int, count: int, title: str) -> bytes:
        muxer = OggMuxer(count, title=title, artist="Somebody")
        return b"".join([*muxer.headers(), *(muxer.page(packet(i, toc), i == count - 1) for i in range(count))])

    pieces = [path.read_bytes()[:20_000] for path in sorted(_PIECES.glob("*.ogg"))]
    return [
        muxed(0xFC, 30, "Title"),
        muxed(0xF8, 10, "x" * 500),
        muxed(0x0B, 8, "") + muxed(0xFC, 5, "second"),
        *pieces,
    ]


@cache
def webm() -> list[bytes]:
    blocks = [mk.simple(packet(i), 20 * i) for i in range(25)]
    laced = [
        mk.element(mk.SIMPLE_BLOCK, mk.block([packet(i), packet(i + 1)], i, lacing))
        for i, lacing in enumerate((2, 4, 6))
    ]
    group = mk.element(
        mk.BLOCK_GROUP, mk.element(mk.BLOCK, mk.block([packet(3)], 40)), mk.uint(mk.DISCARD_PADDING, 5000)
    )
    cues = mk.element(mk.CUES, mk.cue(0, 100), mk.cue(500, 900))
    tags = mk.element(mk.TAGS, mk.tag("TITLE", "Title"), mk.tag("ARTIST", "Somebody"))
    info = mk.info(mk.element(mk.DURATION, struct.pack(">d", 500.0)))
    head = mk.seek_head(mk.CUES, 2000) + info + mk.element(mk.TRACKS, mk.track()) + tags
    parts = (mk.cluster(0, *blocks), mk.cluster(500, *laced, group), cues)
    whole = mk.header() + mk.element(mk.SEGMENT, head, *parts)
    live = mk.header() + mk.endless(
        mk.SEGMENT, head, mk.endless(mk.CLUSTER, mk.uint(mk.TIMESTAMP, 0), *blocks), parts[1]
    )
    return [whole, live, mk.movie(*parts)]


@cache
def opus() -> list[bytes]:
    return [packet(i, toc) for i, toc in enumerate((0xFC, 0xFD, 0xFE, 0xFF, 0x0B, 0x1B, 0xE0))] + [
        bytes([0xFF, 0x83, 10, 20]) + bytes(60),
        bytes([0xFB, 0xC2, 255, 3]) + bytes(300),
        b"OpusTags" + struct.pack("<I4sII7s", 4, b"test", 1, 7, b"TITLE=x"),
    ]


@cache
def playlists() -> list[bytes]:
    return [
        b"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:4,\na.ts\n#EXTINF:4,\nb.ts\n#EXT-X-ENDLIST\n",
        b'#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="n",DEFAULT=YES,URI="a.m3u8"\n'
        b'#EXT-X-STREAM-INF:BANDWIDTH=100000,CODECS="mp4a.40.2",AUDIO="a",RESOLUTION=1x1\nv.m3u8\n'
        b'#EXT-X-STREAM-INF:BANDWIDTH=64000,CODECS="opus"\nlow.m3u8\n',
        b"[playlist]\r\nFile1=http://h.example:8000/a\r\nTitle1=A\r\nNumberOfEntries=1\r\n",
        b"#EXTM3U\n#EXTINF:-1,Radio\nhttp://h.example/;\n",
        b'<?xml version="1.0"?><playlist version="1"><trackList><track><location>http://h/</location></track></trackList>',
        b'<asx version="3.0"><entry><ref href="http://h.example/a"/></entry></asx>',
        b"<!DOCTYPE html><title>x</title>",
    ]


@cache
def first_bytes() -> list[bytes]:
    mp3 = b"ID3\x04\0\0\0\0\0\x0aTIT2\0\0\0\0\0\0" + (b"\xff\xfb\x90\x64" + bytes(413)) * 3
    xing = b"\xff\xfb\x90\x64" + bytes(32) + b"Xing\0\0\0\x0f" + bytes(400)
    others = [
        b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0" + bytes(16),
        b"fLaC\0\0\0\x22" + bytes(34),
        b"\0\0\0\x20ftypM4A \0\0\0\0" + bytes(16),
        b"\x47" + bytes(187) + b"\x47" + bytes(187),
        b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(10),
        b"ICY 200 OK\r\nicy-name: x\r\n\r\n" + mp3,
    ]
    return [mp3, xing, *others, *playlists(), *(data[:8192] for data in ogg() + webm())]


@cache
def heads() -> list[bytes]:
    return [
        b"HTTP/1.1 200 OK\r\nContent-Type: audio/ogg\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello",
        b"HTTP/1.1 206 Partial Content\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 302 Found\r\nLocation: http://h/x\r\n\r\n",
        b"ICY 200 OK\r\nicy-name: Radio\r\nicy-metaint: 8192\r\n\r\n" + bytes(100),
        b"HTTP/1.1 200 OK\nServer: x\n folded\nConnection: close, x\n\n" + bytes(50),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 3\r\n\r\n"
        b"A\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
    ]


@cache
def requests() -> list[bytes]:
    return [
        b"GET http://h.example:8000/a?b HTTP/1.1\r\nHost: h\r\nProxy-Authorization: Basic cDE6dG9r\r\nTE: x\r\n\r\n",
        b"CONNECT h.example:443 HTTP/1.1\r\nHost: h\r\nProxy-Authorization: Basic cDE6dG9r\r\n\r\n",
        b"POST http://[::1]/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\nTE: x\r\n\r\n",
        b"GET ftp://h/ HTTP/1.1\r\nProxy-Authorization: Basic !!\r\n\r\n",
    ]


@cache
def answers() -> list[bytes]:
    track: dict[str, object] = {
        "type": "track",
        "url": SONG,
        "headers": {"User-Agent": "x", "Referer": "http://h/"},
        "title": "Title",
    }
    track |= dict.fromkeys(("thumbnail", "uploader", "codec", "ext", "protocol", "playlist"))
    track |= {"duration": 12.5, "live": False, "protocol": "https", "codec": "opus", "ext": "webm"}
    entry = {"url": "https://h.example/watch?v=1#x", "title": "A", "duration": 1.0, "thumbnail": None, "uploader": "B"}
    listing = {"type": "list", "entries": [entry, entry | {"url": "ftp://x", "duration": None}]}
    trouble = {"kind": "refused", "message": "no\u0007thing"}
    return [
        msgspec.json.encode({"id": 1, "last": False, "ok": track}),
        msgspec.json.encode({"id": 1, "last": True, "ok": listing}),
        msgspec.json.encode({"id": 1, "last": False, "error": trouble}),
        b'{"ready": "2026.10.26"}',
    ]


@cache
def reports() -> list[bytes]:
    return [text.encode() for name, text in sorted(vars(said).items()) if name.isupper() and isinstance(text, str)]


@cache
def tracks() -> list[bytes]:
    made = (cache_support.track(), cache_support.track(count=300, passed=True, source=cache_support.WEB))
    return [cache_support.to_bytes(track) for track in made]


@cache
def memories() -> list[bytes]:
    several = [replace(test_memory.SONG, session_id=f"s-{i}", paused=bool(i % 2)) for i in range(5)]
    return [pack(each, test_memory.NOW)[0] for each in ([test_memory.SONG], several, [])]


@cache
def bodies() -> list[bytes]:
    return [
        b'{"url": "demo:tone?hz=440&seconds=3", "format": "opus", "start_at": 1.5, "volume": 0.5, "bitrate": 64000}',
        b'{"position": 12.5}',
        b'{"volume": 2}',
        b"{}",
        b"url=http%3A%2F%2Fh.example%2Fa&x=%C3%A9",
        b"q=a+b&limit=5",
    ]


@cache
def urls() -> list[bytes]:
    return [
        b"http://h.example/a/b.mp3?c=d#e", b"https://[2001:db8::1]:8443/", b"http://127.2:80/x;y", b"demo:tone?hz=1",
        "http://b\u00fccher.example/\u00e9".encode(), b"http://u:p@h/", b"file:///etc/passwd", b"http://0x7f000001/%2e%2e/",
    ]  # fmt: skip
