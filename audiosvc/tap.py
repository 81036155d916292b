"""`twistd audiosvc`: the one place where the parts are joined."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet import endpoints
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from twisted.web.server import Site

from audiosvc import __version__
from audiosvc.api.routes import Routes
from audiosvc.api.site import make_site
from audiosvc.cache.cache import Cache
from audiosvc.cache.disk import Disk, Store
from audiosvc.delivery.hub import Hub
from audiosvc.delivery.protocol import DeliveryFactory
from audiosvc.delivery.socket import SocketPlace, SocketPlaceError
from audiosvc.extract.extractors import Extractors
from audiosvc.ffmpeg.command import NO_WAY_OUT, child_environment
from audiosvc.ffmpeg.process import STARTING_MOST, Spawner
from audiosvc.flow.encoders import EncoderPool
from audiosvc.flow.overload import Overload, usable_cores
from audiosvc.flow.workshop import Tally, Workshop
from audiosvc.handed import listen_handed
from audiosvc.hardening import find_hardening
from audiosvc.health import Lately, counts, judged
from audiosvc.interfaces import IReactor
from audiosvc.log.journal import Journal
from audiosvc.log.levels import Levels
from audiosvc.net.agent import Fetcher
from audiosvc.net.dialer import Dialer
from audiosvc.net.door import Door
from audiosvc.net.jail import Jail, JailError, isolate
from audiosvc.net.names import Names
from audiosvc.net.vetter import Vetter
from audiosvc.notify import Notifier
from audiosvc.options import Options as Options
from audiosvc.session.registry import Registry
from audiosvc.session.session import House
from audiosvc.slice import shorten_slice
from audiosvc.sources.look import Look
from audiosvc.sources.resolver import Resolver
from audiosvc.state import StateFile
from audiosvc.timings import Timings
from audiosvc.vitals import IsolationVitals, ProcessVitals, QueueVitals, RestartVitals, Vitals
from audiosvc.wire.messages import Status

_STATUS_WORDS: tuple[tuple[Status, str], ...] = (
    ("streaming", "playing"),
    ("paused", "paused"),
    ("extracting", "to come"),
)

LOOK_SECONDS = 10.0
"""Between two looks at what is counted, for who asks seldom."""

SHUTDOWN_SECONDS = 4.0
"""How long children and clients have at the end; an operator's 5 s are not used up by it."""


class AudioService(Service):
    """Everything between its sockets, in the order it must start and stop."""

    log = Logger()
    name = "audiosvc"

    def __init__(self, options: Options, reactor: IReactor) -> None:
        # The wall clock may be set back; by the time anything is scheduled the reactor must not look at it.
        reactor.seconds = time.monotonic  # type: ignore[method-assign]
        self._reactor = reactor
        self._began = time.monotonic()
        self._handed = options.handed
        self._place = None if "packets" in self._handed else SocketPlace(options["socket"])
        self._api_endpoint = options["api"]
        self._isolation_mode = options["isolation"]
        self._hardening = find_hardening()
        self._isolation = IsolationVitals(self._isolation_mode, False, self._hardening.missing is None, "not yet tried")
        self._jail: Jail | None = None
        environment = child_environment(os.environ)
        cores = usable_cores()
        starting = max(STARTING_MOST, int(2 * cores))
        self._spawner = Spawner(reactor, {**environment, **NO_WAY_OUT}, self._hardening.prefix, starting)
        self._tally = Tally()
        self._encoders = EncoderPool(reactor, options["encoder-threads"])
        self._hub = Hub(reactor, options["consumer-timeout"], self._encoders.beat)
        self._delivery = DeliveryFactory(reactor, self._hub)
        dialer = Dialer(Vetter(Names(reactor).resolve, options.policy, reactor), reactor)
        self._door = Door(reactor, dialer)
        self._extractors: Extractors | None = None
        if options["extractors"]:
            self._extractors = Extractors(reactor, self._door, environment, options["extractors"], options.cookies)
        fetcher = Fetcher(reactor, dialer)
        resolver = Resolver(
            options["media-root"],
            options["ffmpeg"],
            self._spawner,
            reactor,
            list_files=bool(options["list-files"]),
            door=self._door,
            look=Look(reactor, fetcher.fetch),
            extractors=self._extractors,
            policy=options.policy.check,
        )
        self._cache = _make_cache(options, reactor)
        workshop = Workshop(
            reactor,
            self._spawner,
            self._encoders,
            options["ffmpeg"],
            complexity=options["opus-complexity"],
            door=self._door,
            tally=self._tally,
            cache=self._cache,
            streams=fetcher,
        )
        self._timings = Timings()
        house = House(
            workshop,
            resolver,
            self._hub,
            bitrate=options["bitrate"],
            idle_timeout=options["idle-timeout"],
            timings=self._timings,
        )
        self._overload = Overload(workshop, self._encoders, self._hub.pacer, options["overload"], cores)
        self._registry = Registry(house, options["max-sessions"], self._overload)
        self._state = StateFile(options["state-file"]) if options["state-file"] is not None else None
        levels = Levels(options["log-level"])
        self._journal = Journal(options["log-format"], levels)
        self._twistd: Mapping[str, Any] = getattr(options, "parent", None) or {}
        self._lately = Lately()
        self._looks = LoopingCall(self.vitals)
        self._looks.clock = reactor
        routes = Routes(self._registry, resolver, self.vitals, levels)
        self._site: Site = make_site(reactor, routes, options["allowed-host"], options.token)
        self._ports: list[IListeningPort] = []
        self._notifier = Notifier(os.environ, reactor, self._status)

    def setServiceParent(self, parent: Any) -> None:
        """Where that is an application, it logs as the options say; twistd begins to log only after this."""
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        if isinstance(parent, Componentized):
            self._journal.install(parent, self._twistd)

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._journal.start()
        try:
            if self._place is not None:
                self._place.claim()
        except SocketPlaceError as error:
            raise SystemExit(f"audiosvc: {error}") from error
        self._encoders.start()
        self._overload.start(self._registry.pending)
        if self._cache is not None:
            self._cache.start()
        self._open_door()
        self._looks.start(LOOK_SECONDS, now=False)
        # The API first: if its port is taken, no socket is left behind.
        if "api" in self._handed:
            self._listens(listen_handed(self._reactor, self._handed["api"], self._site))
        else:
            self._listen(self._api_endpoint, self._site)
        if self._place is None:
            self._listens(listen_handed(self._reactor, self._handed["packets"], self._delivery))
        else:
            path = endpoints.quoteStringArgument(str(self._place.path))
            self._listen(f"unix:address={path}:mode=600:lockfile=0", self._delivery)
        if self._state is not None:
            # Before any client is served, and with the reactor ready for children.
            self._reactor.callWhenRunning(self._take_up, self._state)
        self._reactor.callWhenRunning(shorten_slice)
        self._reactor.callWhenRunning(self._run)
        # What is here by now stays; a collection that looked at all of it would stop the beat for 70 ms.
        gc.collect()
        gc.freeze()

    def stopService(self) -> Deferred[None]:
        """Tell every session, let every client read that, reap every child, and give the socket's place back."""
        super().stopService()  # type: ignore[no-untyped-call]
        self._notifier.stopping()
        stopped = [maybeDeferred(port.stopListening) for port in self._ports]
        if self._state is not None:
            # Nobody is told of the end of what will go on: to its client this is a connection that is lost.
            self._registry.close(self._state.save(self._registry.memories()), self._state.forget)
            self._hub.let_go()
        self._registry.shut_down()
        self._overload.stop()
        if self._looks.running:
            self._looks.stop()
        self._hub.stop()
        waits: list[Deferred[Any]] = [*stopped, self._spawner.stop(), self._delivery.close(), self._door.stop()]
        if self._extractors is not None:
            waits.append(self._extractors.stop())
        gone: Deferred[Any] = DeferredList(waits)

        def late(result: object, seconds: float) -> None:
            self.log.warn("some children or clients did not go within {seconds:g} s", seconds=seconds)

        gone.addTimeout(SHUTDOWN_SECONDS, self._reactor, late)

        def finish(result: object) -> None:
            self._hub.stop()
            self._encoders.stop()
            if self._cache is not None:
                self._cache.stop()
            if self._place is not None:
                self._place.release()
            if self._jail is not None:
                self._jail.close()

        return gone.addBoth(finish)

    def vitals(self) -> Vitals:
        """As of now. It is called every few seconds anyway, so that it is known what happened lately."""
        vitals, now = self._measured(), time.monotonic()
        self._lately.look(counts(vitals), now)
        return judged(vitals, self._registry.refusals(), self._lately.grown(now))

    def _measured(self) -> Vitals:
        statuses: tuple[Status, ...] = ("extracting", "streaming", "paused")
        by_status = self._registry.by_status()
        return Vitals(
            status="ok",
            reasons=[],
            version=__version__,
            uptime=round(time.monotonic() - self._began, 3),
            sessions={status: by_status[status] for status in statuses},
            plays=self._registry.plays,
            ends=dict(self._registry.ends),
            children=self._spawner.children,
            spawns=self._spawner.spawns,
            ffmpeg=self._spawner.vitals(),
            spawn_failures=self._spawner.failures,
            log=self._journal.vitals(),
            process=ProcessVitals(len(self._reactor.getDelayedCalls()), sys.getallocatedblocks()),
            encoder=self._encoders.vitals(),
            overload=self._overload.vitals(),
            pacer=self._hub.pacer.vitals(),
            delivery=self._hub.vitals(),
            queues=_queues(self._registry.ready(), self._hub.waiting(), self._hub.unsent_bytes()),
            timings=self._timings.vitals(),
            sources=self._tally.vitals(),
            door=self._door.vitals(),
            isolation=self._isolation,
            extractors=self._extractors.vitals() if self._extractors is not None else None,
            cache=self._cache.vitals() if self._cache is not None else None,
            restart=self._restart_vitals(self._state) if self._state is not None else None,
        )

    def _restart_vitals(self, state: StateFile) -> RestartVitals:
        return RestartVitals(self._registry.taken_up, self._registry.left_out + state.ignored)

    def _take_up(self, state: StateFile) -> None:
        self._registry.take_up(state.take())

    def _open_door(self) -> None:
        """Only here, since twistd may have forked and changed its user since the options were read."""
        try:
            self._jail, self._isolation = isolate(self._isolation_mode, self._hardening)
        except JailError as error:
            raise SystemExit(f"audiosvc: --isolation require: {error}") from error
        if self._isolation.why is not None and self._isolation_mode != "off":
            self.log.warn("children that fetch are not isolated: {why}", why=self._isolation.why)
        try:
            if self._jail is None:
                self._door.listen()
            else:
                self._door.listen(self._jail.door, self._jail.prefix)
        except (OSError, CannotListenError) as error:
            raise SystemExit(f"audiosvc: the way to the network cannot be opened: {error}") from error

    def _status(self) -> str:
        """One line for `systemctl status`."""
        sessions = self._registry.by_status()
        return ", ".join(f"{sessions[status]} {word}" for status, word in _STATUS_WORDS)

    def _run(self) -> None:
        self._take_signals()
        self._notifier.ready()

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
            self._listens(port)

    def _listens(self, port: IListeningPort) -> None:
        self._ports.append(port)
        self.log.info("listening on {address}", address=port.getHost())


def _queues(*queues: list[int]) -> QueueVitals:
    """The sum of each, and the most of it."""
    return QueueVitals(*(number for queue in queues for number in (sum(queue), max(queue, default=0))))


def _make_cache(options: Options, reactor: IReactor) -> Cache | None:
    """What is kept of the web is good for those who may fetch what these options say, and for nobody else."""
    if not options["cache-size"]:
        return None
    disk = None
    if options["cache-dir"] is not None and options["cache-dir-size"]:
        disk = Disk(reactor, Store(options["cache-dir"], options["cache-dir-size"]))
    rules = repr((options["allow-host"], options["allow-net"], bool(options["extractors"]), options.cookies))
    return Cache(options["cache-size"], disk, rules)


def makeService(options: Options) -> AudioService:
    """What the plugin names: a service made from parsed options, on the reactor that twistd has installed."""
    from twisted.internet import reactor

    return AudioService(options, cast(IReactor, reactor))
