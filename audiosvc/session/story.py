"""One track's life as the log tells it at level `debug`: a line for each step of it, none for a packet."""

from __future__ import annotations

from twisted.logger import Logger

from audiosvc.log.lines import bare
from audiosvc.session.track import Play, Snapshot
from audiosvc.sources.model import File, Http, Source
from audiosvc.wire.messages import SessionEvent


class Story:
    """Of one session."""

    log = Logger()

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._dry_at = -1
        """Packets that had been sent when one was not there in time."""

    def accepted(self, track_id: str, play: Play) -> None:
        self.log.debug(
            "{session}: {url} is to be played as {kind}, track {track}",
            session=self._session_id,
            url=play.url,
            kind=play.format,
            track=track_id,
        )

    def resolved(self, source: Source) -> None:
        self.log.debug(
            "{session}: it is {kind} at {place}; live: {live}, opus: {opus}, from a page: {extracted}",
            session=self._session_id,
            kind=type(source.media).__name__.lower(),
            place=_place(source),
            live=source.live,
            opus=source.opus,
            extracted=source.extracted,
        )

    def opened(self, at: float) -> None:
        self.log.debug("{session}: it is opened at {at} s", session=self._session_id, at=round(at, 3))

    def sounds(self, mode: str, source: Source) -> None:
        """The first packet is ready. `source` is what is known by now."""
        self.log.debug(
            "{session}: there is sound, {mode}; {duration} s, live: {live}, called {title}",
            session=self._session_id,
            mode=mode,
            duration=source.duration,
            live=source.live,
            title=source.title,
        )

    def sent(self, seconds: float) -> None:
        """The first packet has gone out, so many seconds after it was asked for, by a play or a seek."""
        self.log.debug(
            "{session}: the first packet is sent, {seconds} s after it was asked for",
            session=self._session_id,
            seconds=round(seconds, 4),
        )

    def announced(self, event: SessionEvent, position: float) -> None:
        self.log.debug(
            "{session}: {event} at {position} s",
            session=self._session_id,
            event=type(event).__name__.lower(),
            position=position,
        )

    def underran(self, packets: int, position: float) -> None:
        """A packet is due and not there, after so many. That it is still not a tick later needs no second word."""
        if packets != self._dry_at:
            self._dry_at = packets
            self.log.debug("{session}: no packet for {position} s yet", session=self._session_id, position=position)

    def ended(self, how: str, counts: Snapshot) -> None:
        self.log.debug(
            "{session}: {end} at {position} s; {packets} packets, {bytes} bytes, {underruns} underruns, "
            "{recoveries} recoveries, {dropped} dropped; track {track}",
            session=self._session_id,
            end=how,
            position=counts.position,
            packets=counts.packets_sent,
            bytes=counts.bytes_sent,
            underruns=counts.underruns,
            recoveries=counts.recoveries,
            dropped=counts.dropped,
            track=counts.track_id,
        )


def _place(source: Source) -> str | None:
    """Where its media are, without what may be secret there; None of what is made rather than read."""
    match source.media:
        case File(path):
            return str(path)
        case Http(url):
            return bare(url)
    return None
