"""Whether the daemon is well, and whether it takes plays: told from its vitals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from audiosvc.errors import AudioServiceError, NoFds, Overloaded, ShuttingDown, TooManySessions
from audiosvc.vitals import Reason, Vitals

LATELY_SECONDS = 300.0
"""How long a failure that is only counted is spoken of."""

REFUSALS = (ShuttingDown, TooManySessions, NoFds, Overloaded)
"""What a play on a new id can be refused with whatever its source is. The reason has the error's code."""

COUNTED = {
    "spawn_failures": "times FFmpeg could not be started",
    "cache_disk_errors": "tracks could not be written to disk or read from it, or were damaged",
    "log_dropped": "lines of the log could not be written",
    "pacer_stalled": "ticks were given up, since the daemon stood still for more than half a second",
}
"""Reasons that a count has grown lately, with the words behind that count."""

CODES = (
    *(error.code for error in REFUSALS),
    "effort_reduced",
    "extractors_unavailable",
    "not_isolated",
    "not_hardened",
    "cache_disk_unusable",
    *COUNTED,
)
"""Of every reason there is."""


class Lately:
    """Which of several counts have grown in the last `LATELY_SECONDS`, as far as they were looked at."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._grew: dict[str, float] = {}

    def look(self, counts: Mapping[str, int], now: float) -> None:
        for code, count in counts.items():
            if count > self._counts.get(code, 0):
                self._counts[code], self._grew[code] = count, now

    def grown(self, now: float) -> dict[str, int]:
        """Their counts since start."""
        return {code: self._counts[code] for code, when in self._grew.items() if now - when < LATELY_SECONDS}


def counts(vitals: Vitals) -> dict[str, int]:
    """What `COUNTED` speaks of, since start."""
    return {
        "spawn_failures": vitals.spawn_failures,
        "cache_disk_errors": vitals.cache.disk_errors if vitals.cache is not None else 0,
        "log_dropped": vitals.log.dropped,
        "pacer_stalled": vitals.pacer.skipped_ticks,
    }


def judged(vitals: Vitals, refusals: Iterable[AudioServiceError], grown: Mapping[str, int]) -> Vitals:
    """`vitals` with the `status` and the `reasons` that follow from them, from `refusals` and from `Lately.grown`."""
    reasons = [Reason(error.code, error.message, refuses=True) for error in refusals]
    reasons += [Reason(code, words, refuses=False) for code, words in _lacks(vitals).items()]
    reasons += [Reason(code, f"{count} {COUNTED[code]}", refuses=False) for code, count in grown.items()]
    stopping = any(reason.code == ShuttingDown.code for reason in reasons)
    return replace(vitals, status="stopping" if stopping else "degraded" if reasons else "ok", reasons=reasons)


def _lacks(vitals: Vitals) -> dict[str, str]:
    """What does not work, or less well than was asked for, by codes."""
    lacks: dict[str, str] = {}
    if vitals.overload.reduced:
        lacks["effort_reduced"] = f"the machine is full: encoders work at complexity {vitals.overload.complexity}"
    if vitals.extractors is not None and not vitals.extractors.available:
        lacks["extractors_unavailable"] = "yt-dlp does not start: web pages, their playlists and searches are not read"
    isolation = vitals.isolation
    if isolation.mode != "off":
        if not isolation.active:
            lacks["not_isolated"] = f"children that fetch have no network of their own: {isolation.why}"
        if not isolation.hardened:
            lacks["not_hardened"] = "children may outlive the daemon, or gain privileges: setpriv does not work here"
    if vitals.cache is not None and not vitals.cache.disk and vitals.cache.disk_errors:
        lacks["cache_disk_unusable"] = "the folder of tracks cannot be used: tracks are kept in memory alone"
    return lacks
