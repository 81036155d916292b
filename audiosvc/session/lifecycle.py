"""The life of one track as a table: `step(state, event) -> (state, effects)`.

Everything that decides what a session does next is in this file, and nothing here does anything: the shell
(`session.session`) carries the effects out and brings back what came of them as events. Packets never pass through
here; that a listener is slow is not a state but a queue that is full.

Each attempt to open the source has an epoch number, which its answers carry. An answer of another epoch than the
state's is an old attempt's and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from audiosvc.errors import AudioServiceError, NotAudio, PositionOutOfRange
from audiosvc.sources.model import Source
from audiosvc.wire.messages import Status, StopReason

# --- states: each carries only what exists in it ----------------------------------------------------------------
#
# `told`: the listeners have heard of the track, in a daemon before this one. There is no `ready` then, and what happens
# to it they are told at once.


@dataclass(frozen=True)
class Resting:
    """Taken up after a restart at `at` seconds, where it stood; the URL is not looked up yet."""

    epoch: int
    at: float
    paused: bool
    told: bool


@dataclass(frozen=True)
class Resolving:
    """The URL is being looked up; playing will begin at `at` seconds."""

    epoch: int
    at: float
    paused: bool = False
    told: bool = False


@dataclass(frozen=True)
class Opening:
    """A pipeline was opened at `at` seconds and has given no packet yet; if not `told`, nobody has heard of it."""

    epoch: int
    source: Source
    at: float
    paused: bool = False
    told: bool = False


@dataclass(frozen=True)
class Playing:
    epoch: int
    source: Source


@dataclass(frozen=True)
class Paused:
    epoch: int
    source: Source


@dataclass(frozen=True)
class Over:
    """The terminal event has been announced."""


State = Resting | Resolving | Opening | Playing | Paused | Over

# --- events: what happened ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resolved:
    epoch: int
    source: Source


@dataclass(frozen=True)
class Flowing:
    """The pipeline has packets."""

    epoch: int


@dataclass(frozen=True)
class Drained:
    """The pipeline (or the look-up) has ended and its last packet is taken; `failure` None: by itself."""

    epoch: int
    failure: AudioServiceError | None


@dataclass(frozen=True)
class Wake:
    """It is the turn of what was taken up after a restart."""


@dataclass(frozen=True)
class Rewind:
    """To `at` seconds, where the listener that came back after a restart really is: nothing was sent since."""

    at: float


@dataclass(frozen=True)
class Pause:
    pass


@dataclass(frozen=True)
class Resume:
    pass


@dataclass(frozen=True)
class Seek:
    """To `at` seconds of the source."""

    at: float


@dataclass(frozen=True)
class Stop:
    reason: StopReason


Event = Resolved | Flowing | Drained | Wake | Rewind | Pause | Resume | Seek | Stop

# --- effects: what to do -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LookUp:
    """Look the URL up."""


@dataclass(frozen=True)
class Open:
    """Close the pipeline there is, and open one of `source` at `at` seconds as attempt `epoch`."""

    epoch: int
    source: Source
    at: float


@dataclass(frozen=True)
class AnnounceReady:
    pass


@dataclass(frozen=True)
class AnnouncePaused:
    pass


@dataclass(frozen=True)
class AnnounceResumed:
    pass


@dataclass(frozen=True)
class AnnounceSeeked:
    at: float
    previous: float | None = None
    """Where it stood; None where the pipeline knows."""


@dataclass(frozen=True)
class End:
    """Announce how it ended, close everything, leave the registry."""

    how: StopReason | AudioServiceError | None
    """Why it was stopped, what went wrong, or None: it finished."""


Effect = LookUp | Open | AnnounceReady | AnnouncePaused | AnnounceResumed | AnnounceSeeked | End


def status_of(state: State) -> Status:
    """The state's name in the API and in `attached`."""
    match state:
        case Paused() | Resting(paused=True) | Resolving(paused=True) | Opening(paused=True):
            return "paused"
        case Resting(told=False) | Resolving(told=False) | Opening(told=False):
            return "extracting"
        case Resting() | Resolving() | Opening() | Playing():
            # Of what was told of already it is a pause in the sound, as while a source that failed is opened again.
            return "streaming"
        case _:
            return "stopped"


def step(state: State, event: Event) -> tuple[State, tuple[Effect, ...]]:
    """What `event` makes of `state`, and what is to be done about it."""
    match state, event:
        case Over(), _:
            return state, ()
        case _, Resolved(epoch) | Flowing(epoch) | Drained(epoch) if epoch != state.epoch:
            return state, ()
        case _, Stop(reason):
            return Over(), (End(reason),)

        case Resting(paused=True, told=True), Wake():
            return state, ()
        case Resting(epoch, at, paused, told), Wake():
            return Resolving(epoch, at, paused, told), (LookUp(),)
        case Resting(epoch, at, True, True), Resume():
            return Resolving(epoch, at, told=True), (AnnounceResumed(), LookUp())
        case ((Resting() | Resolving()), Rewind(at)):
            return replace(state, at=at), ()
        case Opening(epoch, source), Rewind(at):
            return replace(state, epoch=epoch + 1, at=at), (Open(epoch + 1, source, at),)
        case ((Playing(epoch, source) | Paused(epoch, source)), Rewind(at)):
            return replace(state, epoch=epoch + 1), (Open(epoch + 1, source, at),)

        case Resolving(epoch, at, paused, told), Resolved(_, source):
            at = 0.0 if source.live and not told else at
            return Opening(epoch, source, at, paused, told), (Open(epoch, source, at),)
        case ((Opening() | Playing() | Paused()), Resolved(_, source)):
            # Looked up anew: what is opened next is opened there.
            return replace(state, source=source), ()
        case ((Resting() | Resolving()), Seek(at)):
            return replace(state, at=at), (AnnounceSeeked(at, state.at),) if state.told else ()
        case ((Resting(paused=False) | Resolving(paused=False) | Opening(paused=False)), Pause()):
            return replace(state, paused=True), (AnnouncePaused(),) if state.told else ()
        case ((Resting(paused=True) | Resolving(paused=True) | Opening(paused=True)), Resume()):
            return replace(state, paused=False), (AnnounceResumed(),) if state.told else ()

        case Opening(epoch, source), Seek(at):
            opened = Open(epoch + 1, source, at)
            effects = (AnnounceSeeked(at), opened) if state.told else (opened,)
            return replace(state, epoch=epoch + 1, at=at), effects
        case Opening(epoch, source, _, paused, told=True), Flowing():
            return Paused(epoch, source) if paused else Playing(epoch, source), ()
        case Opening(epoch, source, _, paused=False), Flowing():
            return Playing(epoch, source), (AnnounceReady(),)
        case Opening(epoch, source, _, paused=True), Flowing():
            return Paused(epoch, source), (AnnounceReady(), AnnouncePaused())
        case Opening(_, _, at, told=False), Drained(_, None):
            return Over(), (End(PositionOutOfRange() if at > 0 else NotAudio()),)

        case Playing(epoch, source), Pause():
            return Paused(epoch, source), (AnnouncePaused(),)
        case Paused(epoch, source), Resume():
            return Playing(epoch, source), (AnnounceResumed(),)
        case ((Playing(epoch, source) | Paused(epoch, source)), Seek(at)):
            return replace(state, epoch=epoch + 1), (AnnounceSeeked(at), Open(epoch + 1, source, at))

        case _, Drained(_, failure):
            return Over(), (End(failure),)
        case _:
            # Pausing what is paused, resuming what plays, more packets of a pipeline that already flows.
            return state, ()
