"""What was asked of the site, and how much it gave."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from twisted.web.server import Request

from audiosvc.interfaces import IReactor


@dataclass
class Hit:
    """One request: `host` is the listener it came to, `path` holds the query, `headers` have lower-case names."""

    host: str
    method: str
    path: str
    headers: dict[str, str]
    at: float = field(default_factory=time.monotonic)
    sent: int = 0
    """Bytes of the body that were given to its connection so far."""

    @property
    def range(self) -> str:
        return self.headers.get("range", "")


class SiteRequest(Request):
    """Writes itself down where its factory keeps what was asked; `reactor` is its factory's."""

    hit: Hit

    def process(self) -> None:
        names = self.requestHeaders.getAllRawHeaders()
        headers = {name.decode("latin-1").lower(): b", ".join(values).decode("latin-1") for name, values in names}
        self.hit = Hit(self._factory.host, self.method.decode(), self.uri.decode("latin-1"), headers)
        self._factory.hits.append(self.hit)
        # A client that goes away in the middle of an answer is nothing special.
        self.notifyFinish().addErrback(lambda _: None)
        super().process()

    def write(self, data: bytes) -> None:
        self.hit.sent += len(data)
        super().write(data)

    @property
    def _factory(self) -> Any:
        return self.channel.site

    @property
    def reactor(self) -> IReactor:
        return self._factory.reactor  # type: ignore[no-any-return]

    @property
    def here(self) -> str:
        """The scheme, host and port that were asked, as a URL without a path."""
        host = self.getHeader("host") or "127.0.0.1"
        return f"{'https' if self.isSecure() else 'http'}://{host}"

    def option(self, name: str, default: float) -> float:
        """A number out of the query."""
        values = self.args.get(name.encode())
        return float(values[0]) if values else default

    def word(self, name: str, default: str = "") -> str:
        """A word out of the query."""
        values = self.args.get(name.encode())
        return values[0].decode() if values else default

    def raw(self, data: bytes) -> None:
        """Bytes that go out as they are, before or instead of an answer."""
        self.channel.transport.write(data)

    def tear(self) -> None:
        """As `break_off`, but of TLS close the connection below, so that nobody says that this is the end."""
        if not self.finished and not self._disconnected:
            transport = self.channel.transport
            getattr(transport, "transport", transport).loseConnection()

    def break_off(self) -> None:
        """Close the connection once what was written is sent, whatever the headers promised."""
        if not self.finished and not self._disconnected:
            self.channel.loseConnection()
