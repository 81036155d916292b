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
    pacer: PacerVitals
    delivery: DeliveryVitals
