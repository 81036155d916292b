"""What the tests of the API share: sessions and sources that keep a record, and a connection without a socket."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.testing import StringTransportWithDisconnection
from twisted.web.server import Site

from audiosvc.errors import AudioServiceError, ExtractionUnavailable, SessionNotFound, UnsupportedUrl
from audiosvc.session.stats import ChildStats, DroppedStats, FirstPacketStats, QueueStats, Stats
from audiosvc.session.track import Play, Snapshot
from audiosvc.sources.files import Listed
from audiosvc.sources.model import Source, Tone
from audiosvc.vitals import (
    CacheVitals,
    ChildrenVitals,
    DeliveryVitals,
    DoorVitals,
    EncoderVitals,
    ExtractorVitals,
    HistogramVitals,
    IsolationVitals,
    LogVitals,
    OverloadVitals,
    PacerVitals,
    ProcessVitals,
    QueueVitals,
    RestartVitals,
    SourceVitals,
    TimingVitals,
    Vitals,
)

TONE = Source("demo:tone", Tone(440, 30), title="Tone, 440 Hz", duration=30.0, uploader="audiosvc")

VITALS = Vitals(
    status="ok",
    reasons=[],
    version="1.2.3",
    uptime=12.5,
    sessions={"streaming": 2, "paused": 0},
    plays=7,
    ends={"finished": 3, "stopped:replaced": 1, "error:not_audio": 2},
    children=2,
    spawns=9,
    spawn_failures=2,
    log=LogVitals(format="json", level="info", sessions={"a": "debug"}, written=31, dropped=3),
    ffmpeg=ChildrenVitals(cpu_seconds=4.5, rss_bytes=60_000_000, largest_rss_bytes=35_000_000),
    process=ProcessVitals(delayed_calls=18, memory_blocks=250_000),
    encoder=EncoderVitals(threads=2, load=0.25, waiting=1, frames=5_000),
    overload=OverloadVitals(
        mode="lower", cores=1.5, load=0.625, complexity=5, reduced=True, refusing=False, refused=17
    ),
    pacer=PacerVitals(
        ticks=600, largest_gap_ms=21.5, skipped_ticks=4, lateness=HistogramVitals(600, 1.5, {"0.02": 590, "+Inf": 600})
    ),
    delivery=DeliveryVitals(
        connections=1,
        packets=500,
        bytes=80_000,
        underruns=3,
        late=22,
        missed=23,
        largest_gap_ms=41.5,
        events_dropped=5,
        lines_refused=6,
        resent=8,
    ),
    queues=QueueVitals(
        ready_packets=50,
        largest_ready_packets=26,
        waiting_packets=7,
        largest_waiting_packets=6,
        unsent_bytes=3_000,
        largest_unsent_bytes=2_000,
    ),
    timings=TimingVitals(
        plays={"cached": HistogramVitals(3, 0.06, {"0.01": 2, "+Inf": 3})},
        seeks={"transcode": HistogramVitals(1, 0.07, {"0.01": 0, "+Inf": 1})},
    ),
    sources=SourceVitals(recoveries=11, dropped=12, broadcasts=13, listeners=14),
    door=DoorVitals(permits=1, connections=2, requests=30, bytes=4_000, refused={"blocked_address": 5}),
    isolation=IsolationVitals("auto", active=True, hardened=False, why="setpriv is not installed"),
    extractors=ExtractorVitals(available=True, workers=2, busy=1, waiting=3, calls=14, restarts=1, cached=4),
    cache=CacheVitals(
        tracks=3,
        bytes=9_000_000,
        recording=500_000,
        hits=20,
        misses=21,
        kept=6,
        dropped=7,
        disk=True,
        disk_tracks=13,
        disk_bytes=40_000_000,
        disk_errors=1,
    ),
    restart=RestartVitals(taken_up=20, left_out=1),
)


class FakeSessions:
    """Sessions as a dictionary; `fails` is raised by whatever is asked next."""

    def __init__(self) -> None:
        self.playing: dict[str, Snapshot] = {}
        self.asked: list[tuple[Any, ...]] = []
        self.fails: Exception | None = None

    def play(self, session_id: str, request: Play) -> str:
        self._note("play", session_id, request)
        self.playing[session_id] = snapshot(session_id, request)
        return "t1"

    def stop(self, session_id: str) -> None:
        self._note("stop", session_id)
        self.playing.pop(session_id, None)

    def pause(self, session_id: str) -> None:
        self._change("pause", session_id, status="paused")

    def resume(self, session_id: str) -> None:
        self._change("resume", session_id, status="streaming")

    def seek(self, session_id: str, position: float) -> None:
        self._change("seek", session_id, position=position)

    def set_volume(self, session_id: str, volume: float) -> None:
        self._change("set_volume", session_id, volume=volume)

    def snapshot(self, session_id: str) -> Snapshot:
        if self.fails is not None:
            raise self.fails
        if session_id not in self.playing:
            raise SessionNotFound()
        return self.playing[session_id]

    def snapshots(self) -> list[Snapshot]:
        return list(self.playing.values())

    def stats(self, session_id: str) -> Stats:
        return stats(self.snapshot(session_id))

    def _note(self, *call: Any) -> None:
        if self.fails is not None:
            raise self.fails
        self.asked.append(call)

    def _change(self, what: str, session_id: str, **values: Any) -> None:
        now = self.snapshot(session_id)
        self._note(what, session_id, *(value for name, value in values.items() if name != "status"))
        fields = {name: getattr(now, name) for name in now.__struct_fields__}
        self.playing[session_id] = Snapshot(**{**fields, **values})


class FakeSources:
    """Knows `demo:tone`; `fails` is what a look at anything ends in, `pending` is never answered."""

    def __init__(self) -> None:
        self.fails: AudioServiceError | None = None
        self.pending: Deferred[Any] | None = None
        self.searched: list[tuple[str, int]] = []
        self.described: list[str] = []

    def check(self, url: str) -> None:
        """The API asks the sessions to play and the sources to look; neither needs it to ask this first."""
        raise NotImplementedError

    def resolve(self, url: str) -> Deferred[Source]:
        return self.describe(url)

    def describe(self, url: str) -> Deferred[Source]:
        if not url.startswith(("demo:", "http:", "https:")):
            return fail(UnsupportedUrl())
        self.described.append(url)
        return self._answer(replace(TONE, url=url))

    def search(self, query: str, limit: int) -> Deferred[list[Source]]:
        self.searched.append((query, limit))
        return self._answer([TONE])

    def playlist(self, url: str) -> Deferred[list[Source]]:
        return self._answer([TONE, TONE]) if url.startswith("demo:") else fail(ExtractionUnavailable())

    def files(self, path: str) -> list[Listed]:
        if self.fails is not None:
            raise self.fails
        return [Listed("album", "album", "folder"), Listed("a.ogg", "a.ogg", "file", 7)]

    def _answer(self, value: Any) -> Deferred[Any]:
        if self.fails is not None:
            return fail(self.fails)
        return succeed(value) if self.pending is None else self.pending


def snapshot(session_id: str, request: Play) -> Snapshot:
    return Snapshot(
        session_id=session_id,
        track_id="t1",
        status="streaming",
        url=request.url,
        format=request.format,
        position=request.start_at,
        duration=request.duration,
        title=None,
        uploader=None,
        live=False,
        thumbnail=None,
        volume=request.volume,
        bitrate=request.bitrate or 128_000,
        bytes_sent=0,
        packets_sent=0,
        buffered=0.0,
        underruns=0,
        recoveries=0,
        dropped=0,
        passthrough=False,
        cached=False,
        held=False,
    )


def stats(snapshot: Snapshot) -> Stats:
    return Stats(
        session_id=snapshot.session_id,
        track_id=snapshot.track_id,
        status=snapshot.status,
        mode="transcode",
        first_packet=FirstPacketStats(0.5, 3.0, 38.0, 40.0, 40.5),
        seeks=0,
        seek_ms=None,
        bytes_sent=snapshot.bytes_sent,
        packets_sent=snapshot.packets_sent,
        late_packets=0,
        deficit_packets=None,
        largest_gap_ms=20.5,
        underruns=0,
        recoveries=0,
        dropped_packets=DroppedStats(0),
        queue=QueueStats(24, 0, 0),
        credit_packets=100,
        held=False,
        child=ChildStats(0.03, 50_000_000),
        encoder_share=0.5,
        source_bytes=None,
        listeners=1,
    )


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Ask:
    """A request as bytes can be made of it, right or wrong."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = (("Host", "127.0.0.1:8180"),)
    body: bytes = b""
    version: str = "HTTP/1.1"

    def but(self, **changes: Any) -> Ask:
        return replace(self, **changes)

    def without(self, name: str) -> Ask:
        return self.but(headers=tuple(pair for pair in self.headers if pair[0] != name))

    def plus(self, name: str, value: str) -> Ask:
        return self.but(headers=(*self.headers, (name, value)))

    def raw(self) -> bytes:
        """`Content-Length` is added where there is a body and nothing tells its length."""
        headers = self.headers
        if self.body and not {"Content-Length", "Transfer-Encoding"} & {name for name, _ in headers}:
            headers = (*headers, ("Content-Length", str(len(self.body))))
        head = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return f"{self.method} {self.target} {self.version}\r\n{head}\r\n".encode("latin-1") + self.body


@dataclass
class Connection:
    """One connection to `site`, whose transport closes as soon as it is told to."""

    site: Site
    host: str = "127.0.0.1"
    transport: StringTransportWithDisconnection = field(default_factory=StringTransportWithDisconnection)

    def __post_init__(self) -> None:
        address = IPv4Address("TCP", self.host, 50_000)
        self.transport.peerAddr = address
        self.protocol = self.site.buildProtocol(address)
        self.transport.protocol = self.protocol
        self.protocol.makeConnection(self.transport)

    @property
    def open(self) -> bool:
        return bool(self.transport.connected)

    def send(self, data: bytes) -> list[Answer]:
        """The answers that came back at once; bytes past the connection's end are lost, as they would be."""
        if self.open:
            self.protocol.dataReceived(data)
        raw = self.transport.value()
        self.transport.clear()
        return parse(raw)

    def ask(self, ask: Ask) -> Answer:
        (answer,) = self.send(ask.raw())
        return answer


def parse(raw: bytes) -> list[Answer]:
    """Whole answers, each with a Content-Length; an interim one stands as an answer without a body."""
    answers = []
    while raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers.get("Content-Length", 0))
        answers.append(Answer(int(first.split(" ")[1]), headers, raw[:length]))
        raw = raw[length:]
    return answers
