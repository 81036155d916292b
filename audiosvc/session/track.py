"""What a play asks for, and what can be seen of it while it plays."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from audiosvc.wire.messages import Status

Format = Literal["opus", "ogg", "web", "pcm"]
"""`web` is another name for `ogg`."""

BITRATE_LEAST, BITRATE_MOST = 6_000, 510_000
"""Bits per second that libopus takes for one stream."""

SECONDS_MOST = 86_400.0 * 30
VOLUME_MOST = 2.0
URL_MOST = 8_192

Seconds = Annotated[float, msgspec.Meta(ge=0, le=SECONDS_MOST)]
Volume = Annotated[float, msgspec.Meta(ge=0, le=VOLUME_MOST)]
Bitrate = Annotated[int, msgspec.Meta(ge=BITRATE_LEAST, le=BITRATE_MOST)]


class Play(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request to play. `start_at` and `duration` are seconds of the source; `bitrate` None is the daemon's own."""

    url: Annotated[str, msgspec.Meta(min_length=1, max_length=URL_MOST)]
    format: Format = "opus"
    start_at: Seconds = 0.0
    duration: Annotated[float, msgspec.Meta(gt=0, le=SECONDS_MOST)] | None = None
    volume: Volume = 1.0
    bitrate: Bitrate | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """A session as `GET /session/:id/status` shows it. Times are seconds; None means not known."""

    session_id: str
    track_id: str
    status: Status
    url: str
    format: Format
    position: float
    duration: float | None
    title: str | None
    uploader: str | None
    thumbnail: str | None
    live: bool
    volume: float
    bitrate: int
    bytes_sent: int
    packets_sent: int
    buffered: float
    """Seconds of sound made and not yet sent."""
    underruns: int
    """Times the pacer came and no packet was there."""
    recoveries: int
    """Times the sound went on after its source had failed and was opened again."""
    dropped: int
    """Packets of a live source thrown away unheard, because its listener came too late for them."""
    passthrough: bool
    """Whether the source's own Opus packets are sent as they are."""
    cached: bool
    """Whether the packets are those of an earlier play, which are kept: nothing is fetched, decoded or encoded."""
    held: bool
    """Whether it stands still because no client takes it: none connected, no credit, or a full socket."""
