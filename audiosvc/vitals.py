"""What the daemon says of itself, in one shape for `/health` and `/metrics`."""

from __future__ import annotations

import msgspec


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


class DeliveryVitals(msgspec.Struct, frozen=True):
    connections: int
    packets: int
    bytes: int
    underruns: int
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


class Vitals(msgspec.Struct, frozen=True):
    status: str
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
    encoder: EncoderVitals
    overload: OverloadVitals
    pacer: PacerVitals
    delivery: DeliveryVitals
    sources: SourceVitals
    door: DoorVitals
    isolation: IsolationVitals
    extractors: ExtractorVitals | None
    """None where web pages are not read."""
    cache: CacheVitals | None
    """None with `--cache-size 0`."""
