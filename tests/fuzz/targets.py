"""Every reader of bytes that somebody else wrote: what it may raise, and what must come out of it however it is fed.

A target takes the pieces that bytes come in and returns what it made of them, which must be the same for any split
of the same bytes; where there is no such promise it joins them. Only its `raises` may be raised.
"""

from __future__ import annotations

import hashlib
import itertools
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast

import msgspec
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from audiosvc.api.bodies import SearchQuery, Seek, SetVolume, UrlQuery, decode_body, decode_no_body, decode_query
from audiosvc.cache.track import DIGEST_BYTES, MalformedTrack, from_file, to_pieces
from audiosvc.codec import packets
from audiosvc.codec.ogg import MalformedPacket, OggDemuxer, packet_samples
from audiosvc.codec.ogg_passing import OggPassing, length, pages, read_tags
from audiosvc.codec.passing import Passing, read_head
from audiosvc.codec.webm import HELD_MOST, WebmDemuxer
from audiosvc.codec.webm_passing import WebmPassing
from audiosvc.errors import AudioServiceError, BadRequest, ExtractionFailed, SourceRefused, UnsupportedUrl
from audiosvc.extract import calls, results
from audiosvc.ffmpeg.report import Report
from audiosvc.ids import is_session_id
from audiosvc.net.addresses import is_public, parse_host, unwrap
from audiosvc.net.exchange import Exchange, Head
from audiosvc.net.extent import Extent
from audiosvc.net.heads import AnswerHead, credentials, find_head, onward, parse_target, readable
from audiosvc.session.memory import NoMemory, unpack
from audiosvc.session.track import Play
from audiosvc.sources import http, kinds, playlists
from audiosvc.wire.codec import (
    LINE_MOST,
    PACKET_MOST,
    BadLine,
    Decoder,
    LineDecoder,
    WireError,
    encode_event,
    encode_packet,
)
from audiosvc.wire.messages import Packet, UnknownEvent
from tests.cache.support import NAME
from tests.fuzz import corpus
from tests.session.test_memory import NOW

Read = Callable[[list[bytes]], object]


@dataclass(frozen=True)
class Target:
    read: Read
    corpus: Callable[[], list[bytes]]
    raises: tuple[type[Exception], ...] = ()


def wire(pieces: list[bytes]) -> object:
    decoder, out, code = Decoder(), [], None
    try:
        for piece in pieces:
            out += decoder.feed(piece)
            assert len(decoder._rest) <= PACKET_MOST + 4
    except WireError as error:
        out += error.decoded
        code = error.code
        try:
            decoder.feed(b"{}\n")
        except WireError as again:
            assert again.code == "closed"
    for message in out:
        if isinstance(message, Packet):
            assert is_session_id(message.session_id)
            encode_packet(message.session_id, message.payload)
        elif not isinstance(message, UnknownEvent):
            encode_event(message)
    return out, code


def uplink(pieces: list[bytes]) -> object:
    decoder, out = LineDecoder(), []
    for piece in pieces:
        out += decoder.feed(piece)
        assert len(decoder._rest) <= LINE_MOST
    assert not any(isinstance(line, BadLine) and line.fatal for line in out[:-1])
    return out


def ogg(pieces: list[bytes]) -> object:
    demuxer = OggDemuxer()
    out = [packet for piece in pieces for packet in demuxer.feed(piece)]
    assert len(demuxer._buffer) <= 65_307 and demuxer.skipped_bytes <= sum(map(len, pieces))
    return out, demuxer.skipped_bytes, demuxer.dropped_packets


def ogg_passing(pieces: list[bytes]) -> object:
    made: list[object] = []
    for reader in (OggPassing(0), OggPassing(48_000), Passing(0), Passing(24_000, counted=True)):
        passed = [each for piece in pieces for each in reader.feed(piece)] + reader.end()
        if isinstance(reader, OggPassing):
            assert all(a.position <= b.position for a, b in itertools.pairwise(passed))
        # What came in one piece with the damage, behind it, is passed as well.
        odd = isinstance(reader, OggPassing) and reader.odd is not None
        made.append(None if odd else (passed, reader.unpassable))
    return made


def ogg_pages(pieces: list[bytes]) -> object:
    data = b"".join(pieces)
    found = list(pages(data, 0, 30))
    heads = filter(None, (read_head(data[i:]) for i in range(0, 64, 4)))
    passing = OggPassing(0)
    passing.feed(data)
    return found, list(heads), read_tags(data), passing.head is not None and length(data, passing.head)


def webm(pieces: list[bytes]) -> object:
    demuxer = WebmDemuxer()
    out = [packet for piece in pieces for packet in demuxer.feed(piece)]
    assert len(demuxer._held) <= HELD_MOST + 12
    resumed: object = None
    if demuxer.head is not None:
        data = b"".join(pieces)
        again = WebmDemuxer.resume(demuxer.head, demuxer.head.clusters)
        resumed = len(again.feed(data[demuxer.head.clusters :])), again.odd
        if demuxer.cues is not None:
            resumed = resumed, demuxer.head.start(demuxer.cues, 48_000)
    cues = None if demuxer.cues is None else (demuxer.cues.times, demuxer.cues.offsets)
    return out, demuxer.odd, demuxer.head, cues, demuxer.whole, resumed


def webm_passing(pieces: list[bytes]) -> object:
    reader = WebmPassing(0)
    passed = [each for piece in pieces for each in reader.feed(piece)] + reader.end()
    assert all(a.position <= b.position for a, b in itertools.pairwise(passed))
    return passed, reader.odd, reader.unpassable


def opus(pieces: list[bytes]) -> object:
    data = b"".join(pieces)
    parted = packets.split(data)
    assert parted.frames and packet_samples(data) > 0
    return packets.split(packets.join(parted.toc, parted.frames)) if sum(map(len, parted.frames)) < 60_000 else None


def m3u8(pieces: list[bytes]) -> object:
    data = b"".join(pieces)
    found = [playlists.read_hls(data, whole=whole)[1] for whole in (False, True)]
    found += [playlists.read_m3u(data), playlists.read_pls(data)]
    for uri in filter(None, found):
        with suppress(UnsupportedUrl):
            http.parse(http.join(corpus.SONG, uri))
    return found


def kind(pieces: list[bytes]) -> object:
    data = b"".join(pieces)
    first, _, rest = data.partition(b"\n")
    headers = {"content-type": first.decode("latin-1"), "icy-name": "x"}
    urls = (corpus.SONG, first.decode("utf-8", "replace"))
    kinds.tell_file(data)
    kinds.is_chained(data[:8192], data)
    return [kinds.tell(rest if h else data, h, url, whole=True) for h in ({}, headers) for url in urls]


def head(pieces: list[bytes]) -> object:
    reader = AnswerHead()
    out = b"".join([*(reader.feed(piece) for piece in pieces), reader.rest()])
    assert len(reader._held) <= 2 * 65536
    data = b"".join(pieces)
    end = find_head(data, 0)
    if end is not None:
        extent = Extent(data[:end])
        extent.feed(data[end:])
        with suppress(ValueError):
            strict = readable(data[:end])
            assert strict.startswith(b"HTTP/1.1 ") and strict.endswith(b"\r\n\r\n") and b"\0" not in strict
    return out, reader.short


def request(pieces: list[bytes]) -> object:
    line, *lines = b"".join(pieces).split(b"\r\n")
    method, _, target = line.partition(b" ")
    pairs = [line.partition(b": ") for line in lines]
    headers = [(name, value) for name, _, value in pairs]
    found = parse_target(method, target.rpartition(b" ")[0])
    sent = onward(headers, found.authority)
    assert not any(name.lower().startswith(b"proxy-") for name, _ in sent)
    return credentials(headers), found, sent


class _Answered(Exchange):
    """An answer, and all that came of it."""

    def __init__(self) -> None:
        super().__init__(Clock(), corpus.SONG, {})
        self.heads: list[Head] = []
        self.body = b""
        self.outcome: object = None

    def answered(self, head: Head) -> None:
        self.heads.append(head)

    def came(self, data: bytes) -> None:
        self.body += data

    def ended(self, whole: bool) -> None:
        assert self.outcome is None
        self.outcome = whole

    def failed(self, failure: Failure) -> None:
        assert self.outcome is None
        self.outcome = type(failure.value).__name__
        if not isinstance(failure.value, AudioServiceError):
            failure.raiseException()


def exchange(pieces: list[bytes]) -> object:
    answered = _Answered()
    answered.makeConnection(cast(Any, StringTransport()))  # type: ignore[no-untyped-call]
    for piece in pieces:
        answered.dataReceived(piece)
    answered.connectionLost(Failure(connectionDone.value))
    assert answered.outcome is not None and len(answered.heads) <= 1
    # What came before a fault is given as it comes.
    return answered.outcome, answered.heads, None if answered.outcome == SourceRefused.__name__ else answered.body


def answer(pieces: list[bytes]) -> object:
    line, made = b"".join(pieces), list[object]()
    with suppress(calls.Garbage):
        made.append(calls.decode_ready(line))
    for op in ("resolve", "playlist"):
        call = calls.Call(1, op, corpus.SONG, 10, "", None)
        with suppress(calls.Garbage):
            found, _ = calls.decode(line, call)
            if isinstance(found, calls.Track):
                with suppress(ExtractionFailed):
                    made.append(results.source(found, corpus.SONG))
            elif isinstance(found, calls.Listing):
                made.append(results.sources(found, 10))
            else:
                made.append(results.error(found).message)
    return made


def report(pieces: list[bytes]) -> object:
    titles: list[str] = []
    said = Report()
    said.on_title = titles.append
    for piece in pieces:
        said.feed(piece)
    error = said.error()
    assert isinstance(error, AudioServiceError) and len(error.message) < 10_000
    facts = (said.title, said.artist, said.duration, said.live, said.status, said.codec, said.container)
    return facts, said.last_trouble, titles, error.message


def track(pieces: list[bytes]) -> object:
    """With its checksum made right, or nothing behind it would ever be looked at."""
    data = b"".join(pieces)[:-DIGEST_BYTES]
    read = from_file(BytesIO(data + hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()), NAME)
    assert from_file(BytesIO(b"".join(to_pieces(read))), NAME) == read
    return read


def memory(pieces: list[bytes]) -> object:
    """As `track`."""
    head, newline, body = b"".join(pieces).partition(b"\n")
    with suppress(NoMemory):
        unpack(head + newline + body, NOW)
    header = {"audiosvc": "sessions", "version": 1, "written": NOW, "bytes": len(body), "crc32": zlib.crc32(body)}
    return unpack(msgspec.json.encode(header) + b"\n" + body, NOW)


def body(pieces: list[bytes]) -> object:
    data, made = b"".join(pieces), []
    for into in (Play, Seek, SetVolume):
        with suppress(AudioServiceError):
            made.append(decode_body(data, into))
    for query in (UrlQuery, SearchQuery):
        with suppress(AudioServiceError):
            made.append(decode_query(data, query))
    with suppress(AudioServiceError):
        decode_no_body(data)
    return made


def url(pieces: list[bytes]) -> object:
    text = b"".join(pieces).decode("utf-8", "surrogateescape")
    with suppress(ValueError):
        host = parse_host(text)
        if not isinstance(host, str):
            is_public(unwrap(host))
    return http.parse(http.join(corpus.SONG, text)) if len(text) % 2 else http.parse(text)


TARGETS = {
    "wire": Target(wire, corpus.wire),
    "uplink": Target(uplink, corpus.lines),
    "ogg": Target(ogg, corpus.ogg),
    "ogg_passing": Target(ogg_passing, corpus.ogg),
    "ogg_pages": Target(ogg_pages, corpus.ogg),
    "webm": Target(webm, corpus.webm),
    "webm_passing": Target(webm_passing, corpus.webm),
    "opus": Target(opus, corpus.opus, (MalformedPacket,)),
    "playlists": Target(m3u8, corpus.playlists),
    "kinds": Target(kind, corpus.first_bytes),
    "heads": Target(head, corpus.heads),
    "requests": Target(request, corpus.requests, (BadRequest, UnsupportedUrl)),
    "exchange": Target(exchange, corpus.heads),
    "answers": Target(answer, corpus.answers),
    "report": Target(report, corpus.reports),
    "track": Target(track, corpus.tracks, (MalformedTrack,)),
    "memory": Target(memory, corpus.memories, (NoMemory,)),
    "bodies": Target(body, corpus.bodies),
    "urls": Target(url, corpus.urls, (UnsupportedUrl,)),
}
