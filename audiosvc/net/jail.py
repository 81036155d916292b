"""A network namespace in which nothing can be reached but the door, and the proof that it is one.

A program of its own makes it (`jailer`), since a process with threads cannot enter a user namespace. The daemon then
holds three descriptors: the namespaces, which children enter by, and the socket that listens inside; a socket stays in
the namespace it was made in, so the daemon accepts from it though it is itself outside. All of it ends with the daemon.

Another program tries it from inside (`inmate`) before it is used. Everything here takes less than 100 ms, once, before
the reactor has anything to do.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from audiosvc.hardening import Hardening
from audiosvc.net import inmate, jailer
from audiosvc.vitals import IsolationVitals

MODES = ("auto", "require", "off")
"""`auto` does without a jail where there can be none, `require` does not, `off` does not try."""

PATIENCE = 10.0
"""Seconds each of the two programs may take; they need some 30 ms of a machine that has nothing else to do."""

_ANSWER_MOST = 4096


class JailError(Exception):
    """There is no jail; the text says why."""


class Jail:
    """Namespaces to put children into, by the `prefix` of their command lines, and the `door` that listens inside.

    `user` is None where no user namespace was made. Made by `open_jail`.
    """

    def __init__(self, door: socket.socket, net: int, user: int | None, nsenter: str, setpriv: str) -> None:
        self.door = door
        self._net = net
        self._user = user
        self._held = [net] if user is None else [net, user]
        self._nsenter = nsenter
        self._setpriv = setpriv

    @property
    def prefix(self) -> tuple[str, ...]:
        """What goes before the command line of a child. Good in this process only, not in one forked from it.

        The namespaces are named by our descriptors and not by a process in them: a number that was used again would
        name the namespaces of somebody else.
        """
        ours = f"/proc/{os.getpid()}/fd"
        entry = (self._nsenter, f"--net={ours}/{self._net}", "--wd=/")
        if self._user is not None:
            return (*entry, f"--user={ours}/{self._user}", "--preserve-credentials", "--")
        # Root without a user namespace could go back by setns(2) as it came.
        return (*entry, "--", self._setpriv, "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--")

    def close(self) -> None:
        """The door closes; the namespaces end when the last child in them does. More calls do nothing."""
        self.door.close()
        held, self._held = self._held, []
        for descriptor in held:
            os.close(descriptor)


def isolate(mode: str, hardening: Hardening) -> tuple[Jail | None, IsolationVitals]:
    """The jail that children which fetch are to be put into, and what `/health` says of it.

    None under `off`, and under `auto` where there can be none. Under `require` anything that is amiss is a `JailError`.
    """
    if mode == "off":
        return None, IsolationVitals(mode, False, hardening.missing is None, "switched off")
    if mode == "require" and hardening.missing is not None:
        raise JailError(hardening.missing)
    try:
        jail = open_jail(hardening)
    except JailError as error:
        if mode == "require":
            raise
        return None, IsolationVitals(mode, False, hardening.missing is None, str(error))
    return jail, IsolationVitals(mode, True, hardening.missing is None, hardening.missing)


def open_jail(hardening: Hardening) -> Jail:
    """Make a jail and try it. Raises `JailError`."""
    nsenter = shutil.which("nsenter")
    setpriv = shutil.which("setpriv")
    if nsenter is None or setpriv is None:
        raise JailError("nsenter or setpriv (util-linux) is not installed")
    door, namespaces = _make()
    jail = Jail(door, namespaces["net"], namespaces.get("user"), nsenter, setpriv)
    try:
        prove([*jail.prefix, *hardening.prefix], door)
    except BaseException:
        jail.close()
        raise
    return jail


def prove(prefix: Sequence[str], door: socket.socket) -> None:
    """Raise `JailError` unless a child behind `prefix` reaches the `door`, and nothing else, and has no capability."""
    with socket.create_server(("127.0.0.1", 0)) as outside:
        argv = [*prefix, *_program(inmate.__file__), str(door.getsockname()[1]), str(outside.getsockname()[1])]
        found = _parsed(_said(_run(argv, subprocess.DEVNULL)), "the jailed probe")
        strangers, visitors = _accept_all(outside), _accept_all(door)
    if strangers or found.get("outside") is not False:
        raise JailError("a jailed child reaches the daemon's own network")
    if found.get("routes") != []:
        raise JailError(f"a jailed child has a route to {found.get('routes')}")
    if found.get("capabilities") != 0:
        raise JailError(f"a jailed child holds capabilities ({found.get('capabilities')})")
    if not visitors or found.get("door") is not True:
        raise JailError("a jailed child does not reach the door")


def _make() -> tuple[socket.socket, dict[str, int]]:
    """The listening socket, and the descriptor of each new namespace by its name, `net` and perhaps `user`."""
    ours, theirs = socket.socketpair()
    with ours, ExitStack() as undo:
        with theirs:
            done = _run(_program(jailer.__file__), theirs.fileno())
        # They arrive inheritable: `recv_fds` takes MSG_CMSG_CLOEXEC and leaves it out.
        said, descriptors, _, _ = socket.recv_fds(ours, _ANSWER_MOST, 3)
        for descriptor in descriptors:
            undo.callback(os.close, descriptor)
            os.set_inheritable(descriptor, False)
        answer = _parsed(said or _said(done), "the jailer")
        if "error" in answer:
            raise JailError(str(answer["error"]))
        undo.pop_all()
    door = socket.socket(fileno=descriptors[0])
    door.setblocking(False)
    return door, dict(zip(answer["namespaces"], descriptors[1:], strict=True))


def _program(path: str) -> list[str]:
    """A module of ours as a program that sees neither our environment nor anything installed."""
    return [sys.executable, "-I", "-S", str(Path(path).absolute())]


def _run(argv: Sequence[str], stdin: int) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(argv, stdin=stdin, capture_output=True, env={}, cwd="/", timeout=PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise JailError(str(error)) from error


def _said(done: subprocess.CompletedProcess[bytes]) -> bytes:
    """What a program answered; what it complained of, where it did not."""
    return done.stdout or done.stderr[-200:]


def _parsed(said: bytes, who: str) -> dict[str, Any]:
    try:
        answer = json.loads(said)
    except ValueError:
        raise JailError(f"{who} failed: {said.decode(errors='replace').strip() or 'it said nothing'}") from None
    if not isinstance(answer, dict):
        raise JailError(f"{who} failed")
    return answer


def _accept_all(listening: socket.socket) -> int:
    """Close every connection that waits; returns how many there were."""
    listening.setblocking(False)
    count = 0
    while True:
        try:
            listening.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1
