"""What is said on the Unix socket: frozen messages, split by direction. Layouts are in docs/wire-protocol.rst.

Optional fields are left out of the JSON when they are None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union

import msgspec

from audiosvc.ids import SESSION_ID_PATTERN

PROTOCOL = 1
FEATURES = ("subscribe", "credit", "resume")

CREDIT_MOST = 500
"""Packets of credit one session may have outstanding on one connection: 10 s."""

SessionId = Annotated[str, msgspec.Meta(pattern=SESSION_ID_PATTERN)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Status = Literal["idle", "extracting", "streaming", "paused", "stopped", "error"]
StopReason = Literal["stop", "replaced", "idle_timeout", "consumer_timeout", "shutdown"]


class Message(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag=str.lower):
    """Base: `type` is the class's name in lower case."""


# --- daemon to client: packets and events --------------------------------------------------------------------


class Packet(msgspec.Struct, frozen=True):
    """One payload of one session: a 20 ms Opus packet, an Ogg page or a frame of PCM, by the play's format."""

    session_id: str
    payload: bytes


class Hello(Message, frozen=True):
    """First line of every connection."""

    protocol: int
    features: tuple[str, ...]
    server: str


class Refused(Message, frozen=True):
    """The answer to a line from the client that could not be taken; nothing else was changed by it."""

    code: str
    message: str


class SessionEvent(Message, frozen=True):
    """An event of one session's track."""

    session_id: SessionId
    track_id: str


class Ready(SessionEvent, frozen=True):
    """The first packet follows. `position` and `duration` are seconds of the source.

    `live`: it goes on by itself, listened to or not, and cannot be sought in.
    """

    url: str
    format: str
    position: float
    title: str | None = None
    duration: float | None = None
    thumbnail: str | None = None
    uploader: str | None = None
    live: bool | None = None


class Paused(SessionEvent, frozen=True):
    position: float


class Resumed(SessionEvent, frozen=True):
    position: float


class Seeked(SessionEvent, frozen=True):
    """Packets sent before this are stale; those after it start at `position`. `previous` was the position before."""

    position: float
    previous: float


class Recovered(SessionEvent, frozen=True):
    position: float


class Metadata(SessionEvent, frozen=True):
    title: str


class Attached(SessionEvent, frozen=True):
    """This connection now gets the session, which is already playing: the next packet is number `packets` + 1."""

    status: Status
    position: float
    packets: int


class Detached(SessionEvent, frozen=True):
    """Another connection gets the session from here on."""


class Finished(SessionEvent, frozen=True):
    """Terminal: the track ended by itself after `played` seconds of sound sent."""

    played: float


class Stopped(SessionEvent, frozen=True):
    """Terminal: somebody or something ended the track."""

    reason: StopReason
    played: float


class Error(SessionEvent, frozen=True):
    """Terminal: the track could not be played, or not to its end."""

    code: str
    message: str
    played: float
    duration: float | None = None


TERMINAL = (Finished, Stopped, Error)
Event = Union[
    Hello, Refused, Ready, Paused, Resumed, Seeked, Recovered, Metadata, Attached, Detached, Finished, Stopped, Error
]


class UnknownEvent(msgspec.Struct, frozen=True):
    """An event of a type that this client does not know, from a newer daemon; `fields` is the rest of it."""

    type: str
    fields: Mapping[str, Any]


# --- client to daemon ---------------------------------------------------------------------------------------


class Held(msgspec.Struct, frozen=True):
    """What a returning client holds of a session: the first `packets` packets of the track `track_id`."""

    packets: Count
    track_id: str


class Greeting(Message, frozen=True, tag="hello"):
    """Who the client is, and what it already holds of each session's track (a bare count means: the current one)."""

    client: Annotated[str, msgspec.Meta(max_length=200)] = ""
    resume: Mapping[SessionId, Union[Count, Held]] = {}


class Subscribe(Message, frozen=True):
    """From now on this connection hears only what it names."""

    session_id: SessionId


class Unsubscribe(Message, frozen=True):
    session_id: SessionId


class Credit(Message, frozen=True):
    """Up to `packets` more packets of the session may be sent; the first such line replaces real-time pacing."""

    session_id: SessionId
    packets: Annotated[int, msgspec.Meta(ge=0, le=CREDIT_MOST)]


Line = Union[Greeting, Subscribe, Unsubscribe, Credit]
