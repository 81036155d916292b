"""Rows 17 and 18: the daemon is asked to end, or killed, while it plays."""

from __future__ import annotations

import os
import signal
import stat
import time
from collections.abc import Iterable
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol

from audiosvc.wire.messages import Greeting, Subscribe
from tests.faults.calls import pipeline
from tests.faults.harness import LINES, Line, Round, WatchedDaemon
from tests.integration.conftest import Start
from tests.integration.harness import PIECES, Client, reactor, sleep, tone, until
from tests.site.server import REACHES

SESSIONS = 50

PAGE = b"<!doctype html><html><head><title>A page</title></head><body>" + b"<p>text</p>" * 400 + b"</body></html>"


class Stalling(Protocol):
    """Begins `body` and stops after `served` bytes of it; with 0, before its first word."""

    def __init__(self, served: int, kind: str, body: bytes) -> None:
        self._served = served
        self._kind = kind
        self._body = body

    def dataReceived(self, data: bytes) -> None:
        if self._served:
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {self._kind}\r\nContent-Length: {len(self._body)}\r\n\r\n"
            self.transport.write(head.encode() + self._body[: self._served])  # type: ignore[union-attr]


class StallingServer:
    """A web server that serves its connections this many bytes, one after another; and all later ones as the last."""

    def __init__(self, *served: int, page: bool = False) -> None:
        bounds = chain(served, repeat(served[-1]))
        what = ("text/html", PAGE) if page else ("audio/ogg", (PIECES / "nightdrive.ogg").read_bytes())
        self._name = "page.html" if page else "nightdrive.ogg"
        self._factory = Factory.forProtocol(lambda: Stalling(next(bounds), *what))  # type: ignore[arg-type]

    async def __aenter__(self) -> str:
        self._port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self._factory)
        return f"http://127.0.0.1:{self._port.getHost().port}/{self._name}"

    async def __aexit__(self, *_: object) -> None:
        await self._port.stopListening()


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def below(daemon: WatchedDaemon) -> dict[int, str]:
    """Every process that the daemon started, or that these started, with its name."""
    parents, names = dict[int, int](), dict[int, str]()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text()
        except OSError:
            continue
        pid = int(path.parent.name)
        parents[pid], names[pid] = int(text.rpartition(")")[2].split()[1]), text.partition("(")[2].rpartition(")")[0]
    found = {}
    for pid in parents:
        above = pid
        while above in parents and above != daemon.pid:
            above = parents[above]
        if above == daemon.pid != pid:
            found[pid] = names[pid]
    return found


async def ended(daemon: WatchedDaemon) -> float:
    """Seconds until the process is reaped."""
    began = time.monotonic()
    await until(lambda: daemon.process.ended, "the daemon ends", patience=20)
    return time.monotonic() - began


async def gone(pids: Iterable[int]) -> float:
    """Seconds until none of them lives."""
    began = time.monotonic()
    await until(lambda: not any(lives(pid) for pid in pids), "all processes are gone")
    return time.monotonic() - began


async def begins_again(daemon: WatchedDaemon) -> tuple[float, float]:
    """Start it in the same place, and hold it to the invariants; seconds until it listens, and until it is healthy."""
    began = time.monotonic()
    await daemon.start("--consumer-timeout=2", *REACHES)
    listens = time.monotonic() - began
    assert (await daemon.get("/health"))["sessions"] == {"extracting": 0, "streaming": 0, "paused": 0}
    healthy = time.monotonic() - began
    async with Round(daemon, bystanders=2) as round:
        # What a client held is of a past that this daemon knows nothing of.
        client = await daemon.connect(Greeting(resume={"s-0": 100}), Subscribe("s-0"))
        await daemon.play("s-0", tone(440, 1))
        await client.hears("s-0", "finished")
        assert client.types("s-0") == ["ready", "finished"]
        await round.as_alone(client, "s-0", tone(440, 1))
    return listens, healthy


def told(row: int, injected: str, seen: str, bound: str) -> None:
    """A line of the table for what befalls the whole daemon, which has no bystanders."""
    LINES.append(Line(row, injected, seen, bound, None))
    print(f"\n{LINES[-1]}")


async def a_busy_daemon(start: Start, stalled: str) -> tuple[Any, Client]:
    """50 sessions of a client that reads, one of which is still being looked at, and 3 of one that has stopped."""
    daemon: Any = await start(*REACHES)
    reader = await daemon.connect(*[Subscribe(f"s-{n}") for n in range(SESSIONS)])
    stuck = await daemon.connect(*[Subscribe(f"stuck-{n}") for n in range(3)])
    stuck.stop_reading()
    for n in range(3):
        await daemon.play(f"stuck-{n}", tone(300 + n, 60), format="pcm")
    for n in range(SESSIONS - 1):
        await daemon.play(f"s-{n}", tone(400 + n, 60), format=("opus", "ogg")[n % 2])
    await daemon.play(f"s-{SESSIONS - 1}", stalled)
    for n in range(SESSIONS - 1):
        await reader.holds(f"s-{n}", 5)
    for _ in range(500):
        if (await daemon.get("/session/stuck-0/status"))["held"]:
            break
        await sleep(0.02)
    health = await daemon.get("/health")
    assert health["sessions"] == {"streaming": SESSIONS + 2, "extracting": 1, "paused": 0}
    assert (await daemon.get("/session/stuck-0/status"))["held"]
    return daemon, reader


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
@pytest_twisted.ensureDeferred
async def test_row_17_asked_to_end_it_tells_everybody_and_leaves_nothing(start: Start, number: signal.Signals) -> None:
    async with StallingServer(0) as stalled:
        daemon, reader = await a_busy_daemon(start, stalled)
        children = below(daemon)
        assert len(children) >= SESSIONS + 2
        control = await pipeline(daemon)
        daemon.signal(number)
        # While the client that does not read holds up the end.
        await until(lambda: "stopping on" in daemon.log, "it has begun to stop")
        ((status, refused),) = await control.post(("/session/new/play", {"url": "demo:tone"}))
        assert (status, refused["code"]) == (503, "shutting_down")
        took = await ended(daemon)
    assert daemon.process.status == 0, daemon.log[-2000:]
    left = [name for pid, name in children.items() if lives(pid)]
    assert left == []
    await until(lambda: reader.lost, "the connection is closed")
    for n in range(SESSIONS):
        (end,) = reader.ends(f"s-{n}")
        assert getattr(end, "reason", None) == "shutdown"
        assert end is reader.events(f"s-{n}")[-1]
    assert reader.types(f"s-{SESSIONS - 1}") == ["stopped"]
    assert {path.name for path in daemon.folder.iterdir()} == {"audio.sock.lock"}
    assert stat.S_IMODE(Path(f"{daemon.socket}.lock").stat().st_mode) == 0o600
    _, healthy = await begins_again(daemon)
    told(
        17,
        f"{number.name} with {SESSIONS + 3} sessions and a client that does not read",
        f"a play then: 503; {SESSIONS} x `stopped: shutdown`; {len(children)} children and the socket gone, status 0 "
        f"after {took:.2f} s; healthy again after {healthy:.2f} s",
        "503, all told, nothing left, status 0 within 5 s",
    )


@pytest.mark.parametrize("second", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
@pytest_twisted.ensureDeferred
async def test_row_17_asked_twice_it_ends_at_once(start: Start, second: signal.Signals) -> None:
    async with StallingServer(0) as stalled:
        daemon, _ = await a_busy_daemon(start, stalled)
        children = below(daemon)
        daemon.signal(signal.SIGTERM)
        await until(lambda: "stopping on SIGTERM" in daemon.log, "it has begun to stop")
        daemon.signal(second)
        took = await ended(daemon)
        assert daemon.process.status == 0 or daemon.process.signal == second
        assert "Traceback" not in daemon.log
        after = await gone(children)
    await begins_again(daemon)
    told(
        17,
        f"SIGTERM and {second.name} with {SESSIONS + 3} sessions",
        f"ended after {took:.2f} s, {len(children)} children gone {after:.2f} s later",
        "at once",
    )


@pytest_twisted.ensureDeferred
async def test_row_18_killed_it_takes_its_children_along_and_another_takes_its_place(start: Start) -> None:
    daemon: Any = await start(*REACHES)
    client = await daemon.connect()
    stalls, silent, page = StallingServer(40_000), StallingServer(40_000, 0), StallingServer(len(PAGE), 0, page=True)
    async with stalls as stalls_at, silent as silent_at, page as page_at:
        pids: dict[str, int] = {}
        for name, url in (
            ("mid-play", tone(440, 600)),
            ("music", "demo:prelude"),
            ("stalled", stalls_at),
            # The first look is answered, the child that is to play it is not.
            ("silent", silent_at),
        ):
            before = set(daemon.children())
            await daemon.play(name, url)
            await until(lambda before=before: set(daemon.children()) - before, "its child")  # type: ignore[misc]
            (pids[name],) = set(daemon.children()) - before
        await daemon.play("mid-resolve", page_at)
        await until(daemon.workers, "yt-dlp is asked")
        for name in ("mid-play", "music", "stalled"):
            await client.holds(name, 50)
        await sleep(0.5)
        all_below = below(daemon)
        daemon.signal(signal.SIGKILL)
        await ended(daemon)
        began, lived = time.monotonic(), dict[str, float]()
        rest = {f"{name} {pid}": pid for pid, name in all_below.items() if pid not in pids.values()}
        while len(lived) < len(pids) + len(rest) and time.monotonic() - began < 30:
            for name, pid in {**pids, **rest}.items():
                if name not in lived and not lives(pid):
                    lived[name] = time.monotonic() - began
            await sleep(0.01)
        left = [name for name in {**pids, **rest} if name not in lived]
        for name in left:
            os.kill({**pids, **rest}[name], signal.SIGKILL)
    assert left == []
    assert daemon.socket.is_socket()
    listens, healthy = await begins_again(daemon)
    told(
        18,
        f"kill -9 of the daemon: {', '.join(pids)}, mid-resolve",
        f"{len(pids) + len(rest)} processes gone after {max(lived.values()):.2f} s; on the same path another listens "
        f"after {listens:.2f} s, healthy after {healthy:.2f} s",
        "gone within 1 s, healthy within 2 s",
    )
