"""How one session is doing, as `GET /session/:id/stats` shows it to whoever looks into one that sounds wrong."""

from __future__ import annotations

import msgspec

from audiosvc.timings import Mode
from audiosvc.wire.messages import Status


class FirstPacketStats(msgspec.Struct, frozen=True):
    """Milliseconds from the play's being accepted. None where it has not come to that, or needed none of it."""

    resolved_ms: float | None
    """The URL was looked up."""
    opened_ms: float | None
    """FFmpeg was started, or the source opened without it."""
    sound_ms: float | None
    """The first sound came out of the source."""
    ready_ms: float | None
    """The first packet was ready to be sent."""
    sent_ms: float | None
    """The first packet was handed to delivery; as long after `ready_ms` as no client was there to take it."""


class DroppedStats(msgspec.Struct, frozen=True):
    """Packets thrown away unheard, by reason."""

    late_listener: int
    """Of a live source, whose listener came too late for them."""


class QueueStats(msgspec.Struct, frozen=True):
    """What is on its way, from the source to the client."""

    ready_packets: int
    """Made, and not yet asked for."""
    waiting_packets: int
    """Asked for once and still to be sent to whoever listens now, with events that wait among them."""
    unsent_bytes: int | None
    """Written to the client's connection and not taken by its socket, of all sessions there. None without a client."""


class ChildStats(msgspec.Struct, frozen=True):
    """The FFmpeg process of now."""

    cpu_seconds: float
    """Since it was started."""
    rss_bytes: int
    """Resident memory, of which most is the program, which all of them share."""


class DeliveryStats(msgspec.Struct, frozen=True):
    """One session's part that delivery knows of; the fields are those of `Stats`."""

    late_packets: int
    deficit_packets: int | None
    largest_gap_ms: float
    credit_packets: int | None
    held: bool
    waiting_packets: int
    unsent_bytes: int | None


class Stats(msgspec.Struct, frozen=True):
    """Counts are since the play was accepted, seeks included. None is not known, or there is no such thing."""

    session_id: str
    track_id: str
    status: Status
    mode: Mode | None
    """None until the source is known."""
    first_packet: FirstPacketStats
    seeks: int
    seek_ms: float | None
    """From the last seek until its first packet was handed to delivery."""
    bytes_sent: int
    packets_sent: int
    late_packets: int
    """Sent a frame or more after they were due; of a client that gives credit none ever is."""
    deficit_packets: int | None
    """Due by the clock and not sent: the listener is so far behind where he would be. None with credit."""
    largest_gap_ms: float
    """Longest time without a packet while one was due or credit for one was there."""
    underruns: int
    recoveries: int
    dropped_packets: DroppedStats
    queue: QueueStats
    credit_packets: int | None
    """Packets that the client may still be sent; None where it gave no credit and is paced in real time."""
    held: bool
    child: ChildStats | None
    """None where there is none: Opus that the daemon reads itself, what is kept. A shared source's is everybody's."""
    encoder_share: float
    """Share of all frames encoded since the source was last opened, 0 to 1."""
    source_bytes: int | None
    """Read of the source; None of a file that FFmpeg reads."""
    listeners: int
    """Sessions that hear these packets, this one included: more than one of a live source."""
