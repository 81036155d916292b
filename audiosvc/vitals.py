"""What the daemon says of itself, in one shape for `/health` and `/metrics`."""

from __future__ import annotations

from typing import Literal

import msgspec


class HistogramVitals(msgspec.Struct, frozen=True):
    count: int
    seconds: float
    """All of them together."""
    buckets: dict[str, int]
    """How many took no longer than so many seconds, `+Inf` for all."""


class TimingVitals(msgspec.Struct, frozen=True):
    """From what was asked until its first packet went out, by `transcode`, `passthrough`, `cached`, `shared`.

    What then waited for its client, or was paused, is not counted.
    """

    plays: dict[str, HistogramVitals]
    seeks: dict[str, HistogramVitals]


class ChildrenVitals(msgspec.Struct, frozen=True):
    cpu_seconds: float
    """Of all FFmpeg processes since start, as of the last look at each, a quarter of a second ago at most."""
    rss_bytes: int
    """Resident memory of those there are, as of the last look at each: eight are looked at in a second."""
    largest_rss_bytes: int


class QueueVitals(msgspec.Struct, frozen=True):
    """Over all sessions and connections, and the most of one. Of sessions that sound well this tells little."""

    ready_packets: int
    """Made and not yet asked for."""
    largest_ready_packets: int
    waiting_packets: int
    """Asked for once and not sent to whoever listens now, with events that wait among them."""
    largest_waiting_packets: int
    unsent_bytes: int
    """Written to connections and not yet taken by their sockets."""
    largest_unsent_bytes: int


class EncoderVitals(msgspec.Struct, frozen=True):
    threads: int
    load: float
    """Share of the threads' time spent encoding over the last seconds, 0 to 1."""
    waiting: int
    """Jobs that wait for a thread."""
    frames: int
    """Frames encoded since start."""


class OverloadVitals(msgspec.Struct, frozen=True):
    mode: str
    """`lower`, `refuse` or `off`."""
    cores: float
    """That the daemon and its children may use."""
    load: float
    """Share of them that sessions take, those included that have only just been let in."""
    complexity: int
    """Of every encoder, now."""
    reduced: bool
    """Whether that is less than was configured."""
    refusing: bool
    """Whether a play that takes work would be refused now."""
    refused: int
    """Plays refused since start."""


class PacerVitals(msgspec.Struct, frozen=True):
    ticks: int
    largest_gap_ms: float
    """Longest time between two ticks while pacing, since start."""
    skipped_ticks: int
    """Ticks given up after stalls longer than the catch-up limit."""
    lateness: HistogramVitals
    """How long after its time each tick came."""


class DeliveryVitals(msgspec.Struct, frozen=True):
    connections: int
    packets: int
    bytes: int
    underruns: int
    late: int
    """Packets that went out a frame or more after they were due."""
    missed: int
    """Packets that were due and given up: their listeners' sound went on so much later."""
    largest_gap_ms: float
    """Longest time that one of the sessions of now went without a packet that was due to it."""
    events_dropped: int
    """Events that nobody came for, dropped past the bound or the consumer timeout."""
    lines_refused: int
    resent: int
    """Packets sent again to a client that came back with `resume`."""


class IsolationVitals(msgspec.Struct, frozen=True):
    mode: str
    """What was asked for: `auto`, `require` or `off`."""
    active: bool
    """Whether children that fetch are in a network namespace that has been tried."""
    hardened: bool
    """Whether children die with the daemon and can gain no privileges."""
    why: str | None
    """What is lacking, None where nothing is."""


class DoorVitals(msgspec.Struct, frozen=True):
    permits: int
    """Children that may go through the door now."""
    connections: int
    requests: int
    bytes: int
    """Both ways, between children and sources."""
    refused: dict[str, int]
    """Requests refused since start, by the error's code."""


class ExtractorVitals(msgspec.Struct, frozen=True):
    available: bool
    """Whether pages can be read: yt-dlp started the last time it was needed, or was not needed yet."""
    workers: int
    """yt-dlp processes not yet reaped."""
    busy: int
    waiting: int
    """Look-ups that wait for one of them."""
    calls: int
    """Look-ups given to one since start."""
    restarts: int
    """Processes that crashed, hung, talked nonsense or could not start."""
    cached: int
    """Answers that are kept."""


class SourceVitals(msgspec.Struct, frozen=True):
    recoveries: int
    """Times that sound went on after its source had failed and was opened again."""
    dropped: int
    """Packets of live sources thrown away unheard, to come back to the live edge."""
    broadcasts: int
    """Live sources now being fetched for whoever listens, each with its settings."""
    listeners: int
    """Sessions that hear one of them."""


class RestartVitals(msgspec.Struct, frozen=True):
    taken_up: int
    """Sessions of the daemon before this one that were gone on with."""
    left_out: int
    """Those that were not: no longer allowed, too many, or damaged with their file, which counts as one."""


class CacheVitals(msgspec.Struct, frozen=True):
    tracks: int
    """In memory."""
    bytes: int
    """That they take."""
    recording: int
    """Bytes of memory that tracks take which are being played from their beginning, and may be kept."""
    hits: int
    """Plays of what was kept."""
    misses: int
    """Plays of what was not, but might have been."""
    kept: int
    """Tracks recorded to their end since start."""
    dropped: int
    """Recordings given up: stopped, sought in, failed, of no known length, or too large."""
    disk: bool
    """Whether tracks are kept on disk too."""
    disk_tracks: int
    disk_bytes: int
    disk_errors: int
    """What could not be written or read, or was damaged, since start."""


class ProcessVitals(msgspec.Struct, frozen=True):
    delayed_calls: int
    """What the reactor has been asked to do later: timers, a few for each session and connection."""
    memory_blocks: int
    """Blocks that Python has allocated, as `sys.getallocatedblocks` counts them, within microseconds.

    Whatever lives on its heap is one or more. Counting what the garbage collector knows would stop the beat.
    """


class LogVitals(msgspec.Struct, frozen=True):
    format: str
    """`text` or `json`."""
    level: str
    sessions: dict[str, str]
    """Those with a level of their own."""
    written: int
    """Lines since start."""
    dropped: int
    """Lines that could not be written: the disk was full, the reader gone or too slow."""


class Reason(msgspec.Struct, frozen=True):
    """Why the daemon is not all that it should be."""

    code: str
    message: str
    refuses: bool
    """Whether plays are refused for it."""


class Vitals(msgspec.Struct, frozen=True):
    status: Literal["ok", "degraded", "stopping"]
    reasons: list[Reason]
    """Why it is not `ok`."""
    version: str
    uptime: float
    """Seconds since start, monotonic."""
    sessions: dict[str, int]
    """Sessions by status; every status a session can show is there, 0 too."""
    plays: int
    """Plays accepted since start."""
    ends: dict[str, int]
    """Terminal events since start, by `finished`, `stopped:<reason>` and `error:<code>`."""
    children: int
    """FFmpeg processes not yet reaped."""
    spawns: int
    ffmpeg: ChildrenVitals
    spawn_failures: int
    """FFmpeg processes that could not be started, since start."""
    log: LogVitals
    process: ProcessVitals
    encoder: EncoderVitals
    overload: OverloadVitals
    pacer: PacerVitals
    delivery: DeliveryVitals
    queues: QueueVitals
    timings: TimingVitals
    sources: SourceVitals
    door: DoorVitals
    isolation: IsolationVitals
    extractors: ExtractorVitals | None
    """None where web pages are not read."""
    cache: CacheVitals | None
    """None with `--cache-size 0`."""
    restart: RestartVitals | None
    """None where nothing is kept across a restart."""
