"""Which events are written: those of a level and above, and for single sessions those of a level of their own."""

from __future__ import annotations

from audiosvc.errors import TooManyLevels

LEVELS = ("debug", "info", "warn", "error")
"""That can be asked for. An event may be `critical` too, and is written whatever was."""

SESSIONS_MOST = 100
"""Sessions with a level of their own at once."""

_RANKS = {name: rank for rank, name in enumerate((*LEVELS, "critical"))}


class Levels:
    """`level` is for all; `sessions` are the ids that have one of their own, whether they play now or not."""

    def __init__(self, level: str) -> None:
        self.level = level
        self.sessions: dict[str, str] = {}

    def set(self, session_id: str, level: str | None) -> None:
        """From now on, for every play of that id; None is back to that of all. Raises `TooManyLevels`."""
        if level is None:
            self.sessions.pop(session_id, None)
        elif session_id not in self.sessions and len(self.sessions) >= SESSIONS_MOST:
            raise TooManyLevels()
        else:
            self.sessions[session_id] = level

    def lets(self, level: str, session: object) -> bool:
        """Whether an event is written. `session` is whose it is, None if nobody's.

        What several share is said to be of `NAME and others`: no id has a space in it.
        """
        least = self.level
        if self.sessions and isinstance(session, str):
            least = self.sessions.get(session.partition(" ")[0], least)
        return _RANKS[level] >= _RANKS[least]
