"""`twistd audiosvc`: its options, and the one place where the parts are joined."""

from __future__ import annotations

import gc
import ipaddress
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from twisted.application.service import Service
from twisted.internet import endpoints
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure
from twisted.web.server import Site

from audiosvc import __version__
from audiosvc.api.guard import Guard
from audiosvc.api.routes import Routes
from audiosvc.api.site import make_site
from audiosvc.codec.opus import COMPLEXITY_MOST
from audiosvc.delivery.hub import Hub
from audiosvc.delivery.protocol import DeliveryFactory
from audiosvc.delivery.socket import SocketPlace, SocketPlaceError
from audiosvc.ffmpeg.binary import find_ffmpeg
from audiosvc.ffmpeg.command import child_environment
from audiosvc.ffmpeg.process import Spawner
from audiosvc.flow.encoders import EncoderPool
from audiosvc.flow.pipeline import Workshop
from audiosvc.interfaces import IReactor
from audiosvc.paths import default_socket
from audiosvc.session.registry import Registry
from audiosvc.session.session import House
from audiosvc.session.track import BITRATE_LEAST, BITRATE_MOST
from audiosvc.sources.resolver import Resolver
from audiosvc.vitals import Vitals
from audiosvc.wire.messages import Status

TOKEN_BYTES_LEAST = 32
"""A token shorter than this can be guessed by somebody patient."""

SHUTDOWN_SECONDS = 4.0
"""How long children and clients have at the end; an operator's 5 s are not used up by it."""

ENVIRONMENT_PREFIX = "AUDIOSVC_"

_T = TypeVar("_T", int, float)


def _number(option: str, kind: Callable[[str], _T], least: _T, most: _T) -> Callable[[str], _T]:
    """A coercion for `optParameters`: a number from `least` to `most`, or a ValueError that names the option."""

    def coerce(text: str) -> _T:
        try:
            number = kind(text)
        except ValueError:
            raise ValueError(f"--{option}: {text!r} is not a {'whole ' if kind is int else ''}number") from None
        if not least <= number <= most:
            raise ValueError(f"--{option}: {text} is not from {least} to {most}")
        return number

    return coerce


class Options(usage.Options):
    """Each option can be given as an environment variable too: `--max-sessions` is `AUDIOSVC_MAX_SESSIONS`."""

    synopsis = "[options]"
    longdesc = "Plays audio for many listeners at once and hands it to local clients as tagged 20 ms Opus packets."

    optParameters: list[list[Any]] = [
        ["api", "a", "tcp:8180:interface=127.0.0.1", "Where the HTTP API listens, as an endpoint."],
        ["socket", "s", None, "The Unix socket that packets and events go out on."],
        ["media-root", "m", None, "Allow files below this folder to be played."],
        ["max-sessions", None, 200, "Sessions at once.", _number("max-sessions", int, 1, 10_000)],
        ["consumer-timeout", None, 60.0, "Seconds a session waits for a client.",
         _number("consumer-timeout", float, 1, 86_400)],
        ["idle-timeout", None, 1800.0, "Seconds a session may stand still.",
         _number("idle-timeout", float, 1, 86_400 * 7)],
        ["bitrate", "b", 128_000, "Bits per second of plays that name none.",
         _number("bitrate", int, BITRATE_LEAST, BITRATE_MOST)],
        ["opus-complexity", None, COMPLEXITY_MOST, "Effort of the encoder, 0 to 10.",
         _number("opus-complexity", int, 0, COMPLEXITY_MOST)],
        ["encoder-threads", None, os.cpu_count() or 1, "Threads that encode.", _number("encoder-threads", int, 1, 256)],
        ["ffmpeg", None, None, "The FFmpeg to run, if not the one that comes with imageio-ffmpeg."],
        ["token-file", None, None, "A file with the token that API callers must send as a bearer token."],
        ["allowed-host", None, "", "Host names, comma-separated, that the API answers to besides localhost."],
    ]  # fmt: skip

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._environ = environ
        self.token: bytes | None = None

    def parseOptions(self, options: list[str] | None = None) -> None:
        """As Twisted's, with the environment under the command line. Raises `usage.UsageError`."""
        given: list[str] = []
        for name, *_ in self.optParameters:
            value = self._environ.get(ENVIRONMENT_PREFIX + name.upper().replace("-", "_"))
            if value:
                given += [f"--{name}", value]
        super().parseOptions(given + list(options or ()))  # type: ignore[no-untyped-call]

    def postOptions(self) -> None:
        self["socket"] = Path(self["socket"] or default_socket(self._environ, os.getuid())).absolute()
        self["allowed-host"] = [host.strip() for host in self["allowed-host"].split(",") if host.strip()]
        try:
            Guard(self["allowed-host"], None)
        except ValueError as error:
            raise usage.UsageError(f"--allowed-host: {error}") from error
        if self["media-root"] is not None:
            root = Path(self["media-root"])
            if not root.is_dir():
                raise usage.UsageError(f"--media-root: {root} is not a folder")
            self["media-root"] = root.resolve()
        try:
            self["ffmpeg"] = find_ffmpeg(self["ffmpeg"])
        except ValueError as error:
            raise usage.UsageError(f"--ffmpeg: {error}") from error
        if self["token-file"] is not None:
            self.token = _read_token(Path(self["token-file"]))
        self._check_api()

    def _check_api(self) -> None:
        from twisted.internet import reactor

        try:
            endpoint = endpoints.serverFromString(reactor, self["api"])
        except Exception as error:
            # Every kind of endpoint has a parser of its own, and each fails in its own way.
            raise usage.UsageError(f"--api: {self['api']!r} is no endpoint: {error}") from error
        if self.token is None and not _is_local(endpoint):
            raise usage.UsageError("--api: to listen beyond this machine, --token-file is required")


def _read_token(path: Path) -> bytes:
    try:
        token = path.read_bytes().strip()
    except OSError as error:
        raise usage.UsageError(f"--token-file: {path}: {error.strerror}") from error
    if len(token) < TOKEN_BYTES_LEAST:
        raise usage.UsageError(f"--token-file: a token has at least {TOKEN_BYTES_LEAST} bytes")
    if not token.isascii() or any(byte <= 0x20 or byte == 0x7F for byte in token):
        raise usage.UsageError("--token-file: a token is ASCII without spaces")
    return token


def _is_local(endpoint: IStreamServerEndpoint) -> bool:
    """Whether only this machine can reach it: a Unix socket, or TCP on a loopback address."""
    if isinstance(endpoint, endpoints.UNIXServerEndpoint):
        return True
    interface = getattr(endpoint, "_interface", "")
    if interface == "localhost":
        return True
    try:
        return ipaddress.ip_address(interface).is_loopback
    except ValueError:
        return False


class AudioService(Service):
    """Everything between its sockets, in the order it must start and stop."""

    log = Logger()
    name = "audiosvc"

    def __init__(self, options: Options, reactor: IReactor) -> None:
        # The wall clock may be set back; by the time anything is scheduled the reactor must not look at it.
        reactor.seconds = time.monotonic  # type: ignore[method-assign]
        self._reactor = reactor
        self._began = time.monotonic()
        self._place = SocketPlace(options["socket"])
        self._api_endpoint = options["api"]
        self._spawner = Spawner(reactor, child_environment(os.environ))
        self._encoders = EncoderPool(reactor, options["encoder-threads"])
        self._hub = Hub(reactor, options["consumer-timeout"], self._encoders.beat)
        self._delivery = DeliveryFactory(reactor, self._hub)
        resolver = Resolver(options["media-root"], options["ffmpeg"], self._spawner, reactor)
        workshop = Workshop(
            reactor, self._spawner, self._encoders, options["ffmpeg"], complexity=options["opus-complexity"]
        )
        house = House(workshop, resolver, self._hub, bitrate=options["bitrate"], idle_timeout=options["idle-timeout"])
        self._registry = Registry(house, options["max-sessions"])
        routes = Routes(self._registry, resolver, self.vitals)
        self._site: Site = make_site(reactor, routes, options["allowed-host"], options.token)
        self._ports: list[IListeningPort] = []

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        try:
            self._place.claim()
        except SocketPlaceError as error:
            raise SystemExit(f"audiosvc: {error}") from error
        self._encoders.start()
        # The API first: if its port is taken, no socket is left behind.
        self._listen(self._api_endpoint, self._site)
        path = endpoints.quoteStringArgument(str(self._place.path))
        self._listen(f"unix:address={path}:mode=600:lockfile=0", self._delivery)
        self._reactor.callWhenRunning(self._take_signals)
        # What is here by now stays; a collection that looked at all of it would stop the beat for 70 ms.
        gc.collect()
        gc.freeze()

    def stopService(self) -> Deferred[None]:
        """Tell every session, let every client read that, reap every child, and give the socket's place back."""
        super().stopService()  # type: ignore[no-untyped-call]
        stopped = [maybeDeferred(port.stopListening) for port in self._ports]
        self._registry.shut_down()
        self._hub.stop()
        waits: list[Deferred[Any]] = [*stopped, self._spawner.stop(), self._delivery.close()]
        gone: Deferred[Any] = DeferredList(waits)

        def late(result: object, seconds: float) -> None:
            self.log.warn("some children or clients did not go within {seconds:g} s", seconds=seconds)

        gone.addTimeout(SHUTDOWN_SECONDS, self._reactor, late)

        def finish(result: object) -> None:
            self._hub.stop()
            self._encoders.stop()
            self._place.release()

        return gone.addBoth(finish)

    def vitals(self) -> Vitals:
        statuses: tuple[Status, ...] = ("extracting", "streaming", "paused")
        by_status = self._registry.by_status()
        return Vitals(
            status="ok" if self.running else "stopping",
            version=__version__,
            uptime=round(time.monotonic() - self._began, 3),
            sessions={status: by_status[status] for status in statuses},
            plays=self._registry.plays,
            ends=dict(self._registry.ends),
            children=self._spawner.children,
            spawns=self._spawner.spawns,
            encoder=self._encoders.vitals(),
            pacer=self._hub.pacer.vitals(),
            delivery=self._hub.vitals(),
        )

    def _take_signals(self) -> None:
        """End with status 0 when asked to: Twisted's own handlers end the process by the signal once all is stopped.

        A second signal ends it at once.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        for either in (signal.SIGTERM, signal.SIGINT):
            signal.signal(either, signal.SIG_DFL)
        self.log.info("stopping on {signal}", signal=signal.Signals(number).name)
        self._reactor.callFromThread(self._reactor.stop)

    def _listen(self, description: str, factory: Any) -> None:
        # Twisted makes Unix sockets 0666 and changes that afterwards; nobody gets in between.
        before = os.umask(0o177)
        try:
            listening = endpoints.serverFromString(self._reactor, description).listen(factory)
        finally:
            os.umask(before)
        # Every server endpoint there is listens at once, so that a failure can still end the start.
        outcome: list[IListeningPort | Failure] = []
        listening.addBoth(outcome.append)
        for port in outcome:
            if isinstance(port, Failure):
                raise SystemExit(f"audiosvc: {port.getErrorMessage()}")
            self._ports.append(port)
            self.log.info("listening on {address}", address=port.getHost())


def makeService(options: Options) -> AudioService:
    """What the plugin names: a service made from parsed options, on the reactor that twistd has installed."""
    from twisted.internet import reactor

    return AudioService(options, cast(IReactor, reactor))
