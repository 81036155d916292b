"""The site's listeners: its own on 127.0.0.1, with and without TLS, and the internal host that nobody may reach."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from twisted.internet import reactor as _reactor
from twisted.internet.defer import gatherResults
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.web.resource import Resource
from twisted.web.server import Site as WebFactory

from tests.site import faults, hostile, media, pages, streams
from tests.site.hits import Hit, SiteRequest
from tests.site.tls import Authority

reactor: Any = _reactor

PUBLIC, INTERNAL = "127.0.0.1", "127.0.0.2"
"""What a test allows the daemon to reach, and what it does not."""

REACHES = ("--allow-net", f"{PUBLIC}/32")
"""Options of such a daemon."""


class Recorded(WebFactory):
    """A web factory that writes down in `hits` what is asked."""

    requestFactory = SiteRequest

    def __init__(self, root: Resource, host: str, hits: list[Hit]) -> None:
        super().__init__(root)
        self.host = host
        self.hits = hits
        self.displayTracebacks = True


class Counting(Factory):
    """Wraps the internal host's factory: a connection counts, before anything is said on it."""

    noisy = False

    def __init__(self, inner: WebFactory) -> None:
        self._inner = inner
        self.connections = 0

    def buildProtocol(self, addr: Any) -> Protocol | None:
        self.connections += 1
        return self._inner.buildProtocol(addr)

    def doStart(self) -> None:
        super().doStart()
        self._inner.doStart()

    def doStop(self) -> None:
        super().doStop()
        self._inner.doStop()


class Mute(Protocol):
    """Accepts, and says nothing: a TLS handshake that is never answered."""


class Site:
    """`start`, and `stop` in the end. What is where is told by the modules beside; URLs are made by `url` and `tls`.

    `hits` is every request in order, `internal_hits` every one of the internal host, which also counts connections.
    """

    def __init__(self) -> None:
        self.hits: list[Hit] = []
        self.internal_hits: list[Hit] = []
        self.authority = Authority(media.folder())
        self.canary = media.folder() / "canary.mp3"
        self._ports: list[IListeningPort] = []
        self._counting: Counting | None = None
        self._bases: dict[str, str] = {}

    def start(self) -> Site:
        """Listen; at once."""
        self.canary.write_bytes(media.content("mp3.mp3"))
        inside = Recorded(_common(), INTERNAL, self.internal_hits)
        self._counting = Counting(inside)
        self._bases["internal"] = self._listen("http", INTERNAL, self._counting)
        root = _common()
        root.putChild(b"hostile", hostile.tree(self._bases["internal"], self.canary))
        mine = Recorded(root, PUBLIC, self.hits)
        self._bases["http"] = self._listen("http", PUBLIC, mine)
        for name, address, odd in (
            ("https", PUBLIC, {}),
            ("self-signed", PUBLIC, {"trusted": False}),
            ("wrong-host", INTERNAL, {}),
            ("expired", PUBLIC, {"expired": True}),
        ):
            self._bases[name] = self._listen("https", PUBLIC, mine, self.authority.options(address, **odd))
        self._bases["mute"] = self._listen("https", PUBLIC, Factory.forProtocol(Mute))
        return self

    async def stop(self) -> None:
        await gatherResults([port.stopListening() for port in self._ports])

    def url(self, path: str, at: str = "http", **query: object) -> str:
        """The address of `path` at one of the listeners.

        `at`: http, https, internal; and with TLS that is to be refused: self-signed, wrong-host, expired, mute.
        """
        return f"{self._bases[at]}/{path}" + (f"?{urlencode(query)}" if query else "")

    def asked(self, path: str) -> list[Hit]:
        """The requests whose path begins with `path`."""
        return [hit for hit in self.hits if hit.path.startswith(f"/{path}")]

    @property
    def internal_connections(self) -> int:
        assert self._counting is not None
        return self._counting.connections

    @property
    def trust(self) -> dict[str, str]:
        """For the environment of a daemon that is to trust this site's certificates."""
        return {"SSL_CERT_FILE": str(self.authority.path)}

    def _listen(self, scheme: str, address: str, factory: Any, context: Any = None) -> str:
        if context is None:
            port = reactor.listenTCP(0, factory, interface=address)
        else:
            port = reactor.listenSSL(0, factory, context, interface=address)
        self._ports.append(port)
        return f"{scheme}://{address}:{port.getHost().port}"


def _common() -> Resource:
    """What every listener has."""
    root, once = Resource(), faults.Once()
    for name, fault in faults.branches(once).items():
        root.putChild(name.encode(), fault)
    root.putChild(b"page", pages.tree(once))
    root.putChild(b"endless", streams.Endless())
    root.putChild(b"radio", streams.Radio())
    root.putChild(b"live", streams.Live())
    root.putChild(b"redirect", hostile.Redirect())
    root.putChild(b"status", hostile.Status())
    return root
