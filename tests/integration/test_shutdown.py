"""How a daemon ends and how the next one begins: in order, by force, and beside another."""

from __future__ import annotations

import os
import signal
import stat
import time
from itertools import chain, repeat
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol

from audiosvc.wire.messages import Greeting, Subscribe
from tests.integration.conftest import Start
from tests.integration.harness import PIECES, Client, Daemon, reactor, sleep, tone, twistd, until
from tests.site.server import REACHES

LOOPBACK = "--api=tcp:0:interface=127.0.0.1"


class Stalling(Protocol):
    """Begins a piece of music and stops after `served` bytes of it; with 0, before its first word."""

    def __init__(self, served: int) -> None:
        self._served = served

    def dataReceived(self, data: bytes) -> None:
        if self._served:
            music = (PIECES / "nightdrive.ogg").read_bytes()
            head = b"HTTP/1.1 200 OK\r\nContent-Type: audio/ogg\r\nContent-Length: %d\r\n\r\n" % len(music)
            self.transport.write(head + music[: self._served])  # type: ignore[union-attr]


class StallingServer:
    """A web server that serves its connections this many bytes, one after another; and all later ones as the last."""

    def __init__(self, *served: int) -> None:
        bounds = chain(served, repeat(served[-1]))
        self._factory = Factory.forProtocol(lambda: Stalling(next(bounds)))  # type: ignore[arg-type]

    async def __aenter__(self) -> str:
        self._port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self._factory)
        return f"http://127.0.0.1:{self._port.getHost().port}/nightdrive.ogg"

    async def __aexit__(self, *_: object) -> None:
        await self._port.stopListening()


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def ended(daemon: Daemon) -> float:
    """Seconds until the process is reaped."""
    began = time.monotonic()
    await until(lambda: daemon.process.ended, "the daemon ends", patience=10)
    return time.monotonic() - began


async def a_busy_daemon(start: Start, stalled: str) -> tuple[Daemon, Client]:
    """20 sessions of a client that reads, one of which is still being looked at, and 3 of one that has stopped."""
    daemon = await start(*REACHES)
    reader = await daemon.connect()
    stuck = await daemon.connect(*[Subscribe(f"stuck-{n}") for n in range(3)])
    stuck.stop_reading()
    for n in range(3):
        await daemon.play(f"stuck-{n}", tone(300 + n, 60), format="pcm")
    for n in range(19):
        await daemon.play(f"s-{n}", tone(400 + n, 60), format=("opus", "ogg", "pcm")[n % 3])
    await daemon.play("s-19", stalled)
    for n in range(19):
        await reader.holds(f"s-{n}", 20)
    for _ in range(500):
        if (await daemon.get("/session/stuck-0/status"))["held"]:
            break
        await sleep(0.02)
    health = await daemon.get("/health")
    assert health["sessions"] == {"streaming": 22, "extracting": 1, "paused": 0}
    assert (await daemon.get("/session/stuck-0/status"))["held"]
    assert len(daemon.children()) == 22
    return daemon, reader


# --- in order ---------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_asked_to_end_it_tells_everybody_and_leaves_nothing(start: Start, number: signal.Signals) -> None:
    async with StallingServer(0) as stalled:
        daemon, reader = await a_busy_daemon(start, stalled)
        children = daemon.children()
        daemon.signal(number)
        took = await ended(daemon)
    assert daemon.process.status == 0, daemon.log[-2000:]
    assert took < 5
    assert not any(lives(pid) for pid in children)
    await until(lambda: reader.lost, "the connection is closed")
    for n in range(20):
        (end,) = reader.ends(f"s-{n}")
        assert getattr(end, "reason", None) == "shutdown"
        assert end is reader.events(f"s-{n}")[-1]
    assert reader.types("s-19") == ["stopped"]
    assert {path.name for path in daemon.folder.iterdir()} == {"audio.sock.lock"}
    assert stat.S_IMODE(Path(f"{daemon.socket}.lock").stat().st_mode) == 0o600
    print(f"\n{number.name} with 23 sessions and a client that does not read: status 0 after {took:.2f} s")
    # The same place is free again. What a client held is of a past that this daemon knows nothing of.
    await daemon.start()
    client = await daemon.connect(Greeting(resume={"s-0": 100}))
    await daemon.play("s-0", tone(440, 1))
    await client.hears("s-0", "finished")
    assert client.types("s-0") == ["ready", "finished"]
    assert len(client.packets("s-0")) == 50


@pytest_twisted.ensureDeferred
async def test_without_anything_to_do_it_ends_at_once(start: Start) -> None:
    daemon = await start()
    client = await daemon.connect()
    daemon.signal(signal.SIGTERM)
    took = await ended(daemon)
    await until(lambda: client.lost, "the connection is closed")
    print(f"\nSIGTERM when idle: status {daemon.process.status} after {took:.2f} s")
    assert daemon.process.status == 0
    assert took < 1


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_asked_twice_it_ends_at_once(start: Start, second: signal.Signals) -> None:
    async with StallingServer(0) as stalled:
        daemon, _ = await a_busy_daemon(start, stalled)
        children = daemon.children()
        daemon.signal(signal.SIGTERM)
        await until(lambda: "stopping on SIGTERM" in daemon.log, "it has begun to stop")
        daemon.signal(second)
        took = await ended(daemon)
        assert daemon.process.status == 0 or daemon.process.signal == second
        assert took < 1
        assert "Traceback" not in daemon.log
        await until(lambda: not any(lives(pid) for pid in children), "the children are gone")
    await daemon.start()
    assert await daemon.get("/sessions") == {"count": 0, "sessions": []}


# --- by force -----------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_killed_it_takes_its_children_along_and_leaves_a_socket_that_is_taken_over(start: Start) -> None:
    daemon = await start(*REACHES)
    client = await daemon.connect()
    # The first look at what is silent is answered, the child that is to play it is not.
    async with StallingServer(40_000) as stalls, StallingServer(40_000, 0) as silent:
        pids = {}
        for name, url in (("tone", tone(440, 600)), ("music", "demo:prelude"), ("stalled", stalls), ("silent", silent)):
            before = set(daemon.children())
            await daemon.play(name, url)
            await until(lambda before=before: set(daemon.children()) - before, "its child")  # type: ignore[misc]
            (pids[name],) = set(daemon.children()) - before
        for name in ("tone", "music", "stalled"):
            await client.holds(name, 50)
        daemon.signal(signal.SIGKILL)
        await ended(daemon)
        began, lived = time.monotonic(), dict[str, float]()
        while len(lived) < len(pids) and time.monotonic() - began < 30:
            for name, pid in pids.items():
                if name not in lived and not lives(pid):
                    lived[name] = time.monotonic() - began
            await sleep(0.02)
    assert daemon.socket.is_socket()
    await daemon.start()
    again = await daemon.connect(Greeting(resume={"tone": 10}))
    await daemon.play("tone", tone(440, 1))
    await again.hears("tone", "finished")
    assert again.types("tone") == ["ready", "finished"]
    print("\nafter kill -9 of the daemon: " + ", ".join(f"{name} {s:.1f} s" for name, s in lived.items()))
    assert lived.keys() == pids.keys()
    assert max(lived.values()) < 3


# --- beside another -----------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_second_daemon_leaves_the_first_alone(start: Start) -> None:
    daemon = await start()
    reference = await daemon.alone(tone(440, 4))
    client = await daemon.connect()
    await daemon.play("a", tone(440, 4))
    await client.holds("a", 20)
    for _ in range(2):
        told = refused(daemon.folder, daemon.socket)
        assert told == f"{daemon.socket}: another audiosvc serves this socket"
    await client.hears("a", "finished")
    assert client.packets("a") == reference
    assert (await daemon.get("/health"))["status"] == "ok"


def refused(folder: Path, place: Path) -> str:
    """What a daemon says that cannot have `place` for its socket; it must say it in a line, its last."""
    done = twistd(folder, LOOPBACK, f"--socket={place}")
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert "listening" not in done.stdout
    line = done.stdout.rstrip().rpartition("\n")[2]
    assert "audiosvc: " in line, done.stdout
    return line.partition("audiosvc: ")[2]


def test_what_is_not_a_dead_daemons_socket_is_left_as_it_is(tmp_path: Path) -> None:
    there = tmp_path / "audio.sock"
    for make, reason in (
        (lambda path: path.write_text("mine"), "is there and is no socket"),
        (lambda path: path.mkdir(), "is there and is no socket"),
        (lambda path: os.mkfifo(path), "is there and is no socket"),
        (lambda path: path.symlink_to(tmp_path / "nowhere"), "is a symbolic link"),
        (lambda path: path.symlink_to(tmp_path), "is a symbolic link"),
    ):
        make(there)
        before = there.lstat()
        assert refused(tmp_path, there) == f"{there}: {reason}"
        assert there.lstat() == before
        there.rmdir() if there.is_dir() and not there.is_symlink() else there.unlink()


def test_a_lock_that_is_none_is_not_followed(tmp_path: Path) -> None:
    victim, lock = tmp_path / "victim", tmp_path / "audio.sock.lock"
    lock.symlink_to(victim)
    assert refused(tmp_path, tmp_path / "audio.sock") == f"{lock}: is a symbolic link"
    assert not victim.exists()
    lock.unlink()
    lock.mkdir()
    assert "directory" in refused(tmp_path, tmp_path / "audio.sock")


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert "others may write to this folder" in refused(tmp_path, tmp_path / "audio.sock")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    assert "exists" in refused(tmp_path, tmp_path / "file" / "audio.sock")
