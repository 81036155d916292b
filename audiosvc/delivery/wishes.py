"""What one connection wants to hear, and how strong its claim to a session is."""

from __future__ import annotations


class Wishes:
    """Everything, until the connection names something; `order` is larger for a newer connection."""

    def __init__(self, order: int) -> None:
        self.hears_all = True
        self._order = order
        self._named: dict[str, int] = {}
        self._declined: set[str] = set()

    def subscribe(self, session_id: str, turn: int) -> None:
        """Hear `session_id`, and from now on only what was named; `turn` grows with every subscription of anybody."""
        self.hears_all = False
        self._declined.clear()
        self._named[session_id] = turn

    def unsubscribe(self, session_id: str) -> None:
        self._named.pop(session_id, None)
        if self.hears_all:
            self._declined.add(session_id)

    def claim(self, session_id: str) -> tuple[int, int] | None:
        """The largest claim hears the session: a subscription before hearing all, the later before the earlier."""
        if session_id in self._named:
            return 1, self._named[session_id]
        if self.hears_all and session_id not in self._declined:
            return 0, self._order
        return None

    def __contains__(self, session_id: str) -> bool:
        """Whether `session_id` is remembered."""
        return session_id in self._named or session_id in self._declined

    def __len__(self) -> int:
        """Session ids remembered."""
        return len(self._named) + len(self._declined)
