"""How an idle daemon ends, and how another begins beside it or in its place."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest_twisted

from tests.integration.conftest import Start
from tests.integration.harness import Daemon, tone, twistd, until

LOOPBACK = "--api=tcp:0:interface=127.0.0.1"


async def ended(daemon: Daemon) -> float:
    """Seconds until the process is reaped."""
    began = time.monotonic()
    await until(lambda: daemon.process.ended, "the daemon ends", patience=10)
    return time.monotonic() - began


# --- in order ---------------------------------------------------------------------------------------------------


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
    assert (await daemon.get("/health"))["status"] != "stopping"


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
