"""What every row of the fault table is held to, and how a row is written.

A test takes a daemon from the fixture `start`, and does all that the row does inside one `Round`::

    async def test_row_2_a_child_that_hangs_is_replaced(start: Start) -> None:
        daemon = await start()
        async with Round(daemon, bystanders=3) as round:
            client = await daemon.connect(Subscribe("hit"))
            await daemon.play("hit", tone(500, 20))
            await client.holds("hit", 100)
            os.kill(daemon.child_playing(500), signal.SIGSTOP)               # inject
            await client.hears("hit", "finished")
            await round.as_alone(client, "hit", tone(500, 20))               # expect
            round.report(2, "SIGSTOP of a child", f"silent for {gap:.1f} s", "12 s")
        # Here the invariants have been checked.

The bystanders play all the while to a client of their own: nothing of theirs may be lost, doubled, out of order or of
another track, which is seen by playing the same alone afterwards. `round.gap` is the largest time between two of their
packets (G), printed and not judged: the machine may have been busy. When the block ends without an exception, the
sessions that were played in it are stopped, the clients that were connected in it are closed, and then, within
`SETTLE_SECONDS`: no zombies; as many children as bystanders; descriptors, threads, delayed calls and memory as before;
`/health` answers; no answer was a 500; no traceback is in the log; each accepted play has had one terminal event, by
the daemon's own count and on the socket; and on no connection was a packet outside its track. What a fault may leave (a
thread pool that was first used, say) is allowed by naming it: `Round(daemon, threads=8)`. `warm` is played once before
all that is measured, so that what a first use brings (a TLS library, or memory that malloc does not give back) is not
taken for a leak. Where the fault is one of the whole daemon, `everyone=True` allows underruns and prints no G;
`underruns=True` allows them where so much is asked of the machine that it may come late.

A row whose daemon dies uses `Round` on the one that follows, or `Invariants` by itself: `await Invariants(d).take()`
and later `await invariants.check(children=n)`. `round.report` may be called for several rows; all lines are printed at
the end of the run, in the order of the rows. A row that takes long is marked `@pytest.mark.slow`, and is run by
`tox -e faults` alone. Who talks to the API by other means than the daemon's own `request` tells it what the answers
were, with `daemon.book`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, ensureDeferred

from audiosvc.wire.messages import (
    CREDIT_MOST,
    TERMINAL,
    Attached,
    Credit,
    Detached,
    Packet,
    Ready,
    SessionEvent,
    Subscribe,
)
from tests.integration.harness import Client, Daemon, sleep, tone, until

MIB = 1024 * 1024

SETTLE_SECONDS = 5.0
"""Within which all is as it was before."""

LINGER_SECONDS = 5
"""Unless a row says otherwise with `--consumer-timeout`, which is then how long its memory and timers stay."""

PATIENCE = 30.0
"""What a slow machine is given for that; how long it took is printed."""

DESCRIPTORS = 2
"""More than before that are none that leaked: the API's connections come and go."""

CALLS = 6
"""Likewise timers: each of the API's connections has one or two, as has a session that has just begun to wait."""

MEMORY = 24 * MIB
"""More than before that is no leak: what a client could come back for takes 2.3 MB a session as PCM, and malloc keeps
some of what is freed between what is not. 5 MB are aimed at and mostly seen; what grows is found by `tox -e soak`."""

LONG_SECONDS = 7200
"""What bystanders play lasts so long."""


class Line(NamedTuple):
    """A row's result, as it is printed."""

    row: int
    injected: str
    seen: str
    bound: str
    gap: float | None
    """G in seconds; None where nobody else played."""

    def __str__(self) -> str:
        gap = "-" if self.gap is None else f"{self.gap * 1000:.0f} ms"
        return f"row {self.row:2}: {self.injected} | seen: {self.seen} | bound: {self.bound} | G {gap}"


LINES: list[Line] = []
"""Of all rounds of this run; `conftest.py` prints them in the end."""


class WatchedDaemon(Daemon):
    """Keeps a book: every status it answered with, and every play it accepted."""

    def __init__(self, folder: Any) -> None:
        super().__init__(folder)
        self.statuses: Counter[int] = Counter()
        self.accepted: dict[str, str] = {}
        """Session of each track id."""

    async def request(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        status, answer = await super().request(method, path, body, **options)
        self.book(path, status, answer)
        return status, answer

    def book(self, path: str, status: int, answer: Any) -> None:
        """What a test that talks to the API in its own way was answered."""
        self.statuses[status] += 1
        if status == 200 and path.endswith("/play"):
            self.accepted[answer["track_id"]] = path.split("/")[2]

    async def hang_up(self) -> None:
        """Let go of the API's connections that are kept for the next request."""
        await self._pool.closeCachedConnections()


class Measures(NamedTuple):
    fds: int
    workers: int
    threads: int
    calls: int
    rss: int

    def __str__(self) -> str:
        return f"fds {self.fds}, threads {self.threads}, delayed calls {self.calls}, RSS {self.rss / MIB:.1f} MiB"


class Invariants:
    """A daemon as it was, and whether it is so again; there may be so many `threads` more."""

    def __init__(self, daemon: WatchedDaemon, *, threads: int = 0) -> None:
        self._daemon = daemon
        self._threads = threads
        self._before: Measures | None = None

    async def take(self) -> Invariants:
        """Remember how it is now."""
        await self._daemon.hang_up()
        self._before = await self._measured()
        return self

    async def check(self, children: int) -> str:
        """Wait until all is as it was and as many children live as said; returns what to print."""
        assert self._before is not None
        daemon, before, began = self._daemon, self._before, time.monotonic()
        await daemon.hang_up()
        while wrong := self._off(before, now := await self._measured(), children):
            assert time.monotonic() - began < PATIENCE, f"{'; '.join(wrong)}; before: {before}, now: {now}"
            await sleep(0.05)
        took, asked = time.monotonic() - began, time.monotonic()
        health = await daemon.get("/health")
        answered = time.monotonic() - asked
        over, going = sum(health["ends"].values()), sum(health["sessions"].values())
        assert health["plays"] == over + going, f"{health['plays']} plays, {over} ends and {going} that play"
        assert not daemon.statuses[500], daemon.statuses
        assert "Traceback" not in daemon.log, daemon.log
        assert "Unhandled" not in daemon.log, daemon.log
        late = "" if took <= SETTLE_SECONDS else f" (later than the {SETTLE_SECONDS:g} s there are)"
        return f"settled in {took:.2f} s{late}: {before} -> {now}; /health in {answered * 1000:.0f} ms"

    async def _measured(self) -> Measures:
        daemon = self._daemon
        calls = (await daemon.get("/health"))["process"]["delayed_calls"]
        return Measures(daemon.fds(), daemon.workers(), daemon.threads(), calls, daemon.rss())

    def _off(self, before: Measures, now: Measures, children: int) -> list[str]:
        """What is not as it must be. A process that reads pages stays, with three pipes and a timer."""
        daemon, more = self._daemon, now.workers - before.workers
        expected = [
            (now.fds - before.fds - 3 * more <= DESCRIPTORS, "descriptors"),
            (now.threads - before.threads <= self._threads, "threads"),
            (now.calls - before.calls - more <= CALLS, "delayed calls"),
            (now.rss - before.rss <= MEMORY, "memory"),
            (not daemon.zombies(), "zombies"),
            (len(daemon.children()) == children, f"{len(daemon.children())} children of {children}"),
        ]
        return [what for right, what in expected if not right]


UNDERRUNS_MOST = 25
"""Packets that may come late for want of processor time: half a second, on a machine that has other work too."""


class Bystanders:
    """`number` sessions that play while something befalls others. `start`; then `check` and what it found."""

    def __init__(self, daemon: WatchedDaemon, number: int) -> None:
        self.daemon = daemon
        self.client = Client()
        # No frame holds a whole number of their periods, so that no packet is like another.
        self.urls = {f"bystander:{n}": tone(round(311.0271 + 97.0313 * n, 4), LONG_SECONDS) for n in range(number)}
        self.packets = 0
        """That were compared."""

    async def start(self) -> None:
        if self.urls:
            await self.daemon.connect(*map(Subscribe, self.urls), client=self.client)
        for session_id, url in self.urls.items():
            await self.daemon.play(session_id, url)
        for session_id in self.urls:
            await self.client.holds(session_id, 5)

    @property
    def gap(self) -> float | None:
        """Seconds, the largest there were between two packets of one session."""
        return max(map(self.client.largest_gap, self.urls), default=None)

    def late(self, seconds: float) -> int:
        """Packets that came so long after the one before, or later."""
        times = [self.client.packet_times(session_id) for session_id in self.urls]
        return sum(b - a >= seconds for of_one in times for a, b in pairwise(of_one))

    async def check(self, *, underruns: bool = False) -> None:
        """What came is what comes of the same play alone, and in time, unless said so. They are stopped."""
        for session_id in self.urls:
            assert self.client.types(session_id) == ["ready"], (session_id, self.client.events(session_id))
            status = await self.daemon.get(f"/session/{session_id}/status")
            assert underruns or status["underruns"] <= UNDERRUNS_MOST, status
        for session_id in self.urls:
            await self.daemon.post(f"/session/{session_id}/stop")
            await self.client.hears(session_id, "stopped")
        for session_id, url in self.urls.items():
            packets = self.client.packets(session_id)
            assert_same(packets, await alone(self.daemon, url, len(packets)), session_id)
            self.packets += len(packets)


class Round:
    """One or more rows on one daemon: bystanders and invariants around what is done. See the module."""

    def __init__(
        self,
        daemon: Daemon,
        *,
        bystanders: int = 3,
        threads: int = 0,
        everyone: bool = False,
        underruns: bool = False,
        warm: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        assert isinstance(daemon, WatchedDaemon)
        self.daemon = daemon
        self.bystanders = Bystanders(daemon, bystanders)
        self._invariants = Invariants(daemon, threads=threads)
        self._everyone = everyone
        self._underruns = underruns or everyone
        self._warm = warm
        self._lines: list[tuple[int, str, str, str]] = []
        self.resumes = False
        """Whether a client came back for what another had had: what that heard may then be told again."""
        self._clients: list[Client] = []
        self._tracks: set[str] = set()

    async def __aenter__(self) -> Round:
        daemon = self.daemon
        await alone(daemon, tone(440, 10), 100)
        if self._warm is not None:
            before = await self._calls()
            await self._warm()
            began = time.monotonic()
            while await self._calls() > before and time.monotonic() - began < PATIENCE:
                await sleep(0.1)
        await until(lambda: not daemon.children(), "what was played before is gone")
        await self.bystanders.start()
        self._clients, self._tracks = list(daemon.clients), set(daemon.accepted)
        await self._invariants.take()
        return self

    def report(self, row: int, injected: str, seen: str, bound: str) -> None:
        """A row's line for the table."""
        self._lines.append((row, injected, seen, bound))

    async def as_alone(self, client: Client, session_id: str, url: str, **body: Any) -> None:
        """The one track that `client` heard of the session is the same play alone, or its beginning."""
        packets = client.packets(session_id)
        assert_same(packets, await alone(self.daemon, url, len(packets), **body), session_id)

    @property
    def gap(self) -> float | None:
        return self.bystanders.gap

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if error is not None:
            print(self.daemon.log[-4000:])
            return
        gap = None if self._everyone else self.gap
        lines = [Line(*line, gap) for line in self._lines]
        await self._clear()
        settled = await self._invariants.check(len(self.bystanders.urls))
        await self.bystanders.check(underruns=self._underruns)
        LINES.extend(lines)
        print(*lines, f"{settled}; {self.bystanders.packets} packets of bystanders identical", sep="\n")

    async def _calls(self) -> int:
        return int((await self.daemon.get("/health"))["process"]["delayed_calls"])

    async def _clear(self) -> None:
        """End what was begun, and see that each play was told its end once and that nothing was heard out of place."""
        daemon, clients = self.daemon, self.daemon.clients
        mine = [client for client in clients if client not in self._clients]
        begun = {track: s for track, s in daemon.accepted.items() if track not in self._tracks}
        if not begun.keys() <= all_ends(mine).keys():
            # Those whose client is gone are told to this one.
            mine.append(await daemon.connect())
        for session_id in sorted(set(begun.values())):
            await daemon.post(f"/session/{session_id}/stop")
        await until(lambda: begun.keys() <= all_ends(mine).keys(), "every play ends")
        for client in mine:
            in_order(client)
        often = {track: n for track, n in all_ends(mine).items() if track in begun and n != 1}
        assert self.resumes or not often, often
        for client in mine:
            client.close()


def all_ends(clients: Sequence[Client]) -> Counter[str]:
    """Terminal events that any of them heard, by track."""
    return Counter(m.track_id for client in clients for m in client.received if isinstance(m, TERMINAL))


def ends_of(clients: Sequence[Client], track_id: str) -> int:
    """Those of one track."""
    return all_ends(clients)[track_id]


def in_order(client: Client) -> None:
    """Each session's packets lie between the beginning and the end of their track, and no track comes back."""
    current: dict[str, str] = {}
    over: set[str] = set()
    for message in client.received:
        if isinstance(message, SessionEvent):
            track, session_id = message.track_id, message.session_id
            assert track not in over, f"{session_id}: {message} after its track's end"
            assert current.get(session_id, track) == track, f"{session_id}: {message} while {current[session_id]} plays"
            if isinstance(message, (Ready, Attached)):
                current[session_id] = track
            elif isinstance(message, TERMINAL):
                over.add(track)
            if isinstance(message, (*TERMINAL, Detached)):
                current.pop(session_id, None)
        elif isinstance(message, Packet):
            assert message.session_id in current, f"a packet of {message.session_id} outside of a track"


def assert_same(packets: Sequence[bytes], reference: Sequence[bytes], what: str) -> None:
    """Say which packet is not the one that it must be, and whether that is one that was lost or doubled."""
    if list(packets) == list(reference):
        return
    n = next((n for n, (a, b) in enumerate(zip(packets, reference, strict=False)) if a != b), -1)
    place = [m for m, packet in enumerate(reference) if n >= 0 and packet == packets[n]]
    raise AssertionError(
        f"{what}: {len(packets)} packets, {len(reference)} alone; the first that differs is {n}, found there at {place}"
    )


async def alone(daemon: Daemon, url: str, packets: int, **body: Any) -> list[bytes]:
    """The first so many packets of an undisturbed play, drawn with credit; fewer if it ends before."""
    session_id = "alone"
    client = await daemon.connect(Subscribe(session_id), Credit(session_id, min(packets, CREDIT_MOST)))
    await daemon.play(session_id, url, **body)
    given = min(packets, CREDIT_MOST)
    while len(held := client.packets(session_id)) < packets and not client.ends(session_id):
        if (more := min(packets - given, CREDIT_MOST - (given - len(held)))) > 0:
            client.send(Credit(session_id, more))
            given += more
        await sleep(0.01)
    if not client.ends(session_id):
        await daemon.post(f"/session/{session_id}/stop")
        await client.hears(session_id, "stopped")
    await daemon.disconnect(client)
    return client.packets(session_id)


@asynccontextmanager
async def meanwhile(task: Callable[[], Awaitable[object]], seconds: float) -> AsyncIterator[None]:
    """Do `task` again and again, so many seconds apart, while the block runs; a failure of it is the block's."""
    over = False

    async def again() -> None:
        while not over:
            await task()
            await sleep(seconds)

    running: Deferred[None] = ensureDeferred(again())
    try:
        yield
    finally:
        over = True
    await running
