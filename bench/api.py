"""What a soak asks of the daemon's HTTP API."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.web.client import ResponseFailed

from audiosvc.remote import Control, Refused


class Unanswered(Refused):
    """A request that no answer came to."""


class Api(Control):
    """All raise `audiosvc.remote.Refused`, or `Unanswered`."""

    async def begin(self, session_id: str, url: str, **wishes: Any) -> str:
        """Play; gives the track's id."""
        answer = await self.ask(session_id, "play", url=url, **wishes)
        return str(answer["track_id"])

    async def ask(self, session_id: str, verb: str, **body: Any) -> dict[str, Any]:
        return await self._ask("POST", f"/session/{session_id}/{verb}", cast(Any, body))

    async def end(self, session_id: str, note: Callable[[str], None]) -> None:
        """Stop, and once more where no answer comes; `note` is told of that."""
        try:
            await self.stop(session_id)
        except Unanswered as error:
            note(str(error))
            await self.stop(session_id)

    async def _ask(self, method: str, path: str, body: dict[str, str] | None = None) -> dict[str, Any]:
        began = time.monotonic()
        try:
            return await super()._ask(method, path, body)
        except (ConnectError, ConnectionClosed, ResponseFailed) as error:
            why = f"{type(error).__name__} {error} after {time.monotonic() - began:.3f} s"
            raise Unanswered(f"{method} {path} was not answered: {why}") from error

    async def vitals(self) -> dict[str, Any]:
        return await self._ask("GET", "/health")

    async def sessions(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self._ask("GET", "/sessions"))["sessions"]
        return found
