"""Tells systemd that the daemon serves, what it does, and, from the reactor, that it is not stuck (sd_notify(3))."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, MutableMapping

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

STATUS_SECONDS = 10.0
"""How often the status is looked at; it is told when it has changed."""


class Notifier:
    """Does nothing where no service manager listens.

    What `environ` says of it is taken out of there, so that nothing started from here takes it for its own.
    """

    log = Logger()

    def __init__(self, environ: MutableMapping[str, str], reactor: IReactorTime, status: Callable[[], str]) -> None:
        self._address = _address(environ.pop("NOTIFY_SOCKET", ""))
        self._watched = _watchdog_seconds(environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", ""))
        self._status = status
        self._told = ""
        self._heard = True
        self._socket: socket.socket | None = None
        self._beat = LoopingCall(self._say_alive)
        self._beat.clock = reactor

    def ready(self) -> None:
        """All sockets listen; from now on the watchdog is fed, every half of the time it allows."""
        if self._address is None:
            return
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._send("READY=1")
        self._beat.start(min(STATUS_SECONDS, self._watched / 2 if self._watched else STATUS_SECONDS))

    def stopping(self) -> None:
        """The end has begun. More calls do nothing."""
        if self._socket is None:
            return
        self._beat.stop()
        self._send("STOPPING=1", "STATUS=stopping")
        self._socket.close()
        self._socket = None

    def _say_alive(self) -> None:
        said = ["WATCHDOG=1"] if self._watched else []
        status = self._status()
        if status != self._told:
            self._told = status
            said.append(f"STATUS={status}")
        if said:
            self._send(*said)

    def _send(self, *assignments: str) -> None:
        assert self._socket is not None
        assert self._address is not None
        try:
            self._socket.sendto("\n".join(assignments).encode(), self._address)
        except OSError as error:
            # Nobody reads, or not fast enough. The next one may get there; that it did not is said once.
            if self._heard:
                self.log.warn("systemd cannot be told {what}: {error}", what=" ".join(assignments), error=error)
            self._heard = False
        else:
            self._heard = True


def _address(name: str) -> str | None:
    """Of a Unix socket: a path, or a name in the abstract namespace. None for whatever else there may be."""
    if name.startswith("@"):
        return "\0" + name[1:]
    return name if name.startswith("/") else None


def _watchdog_seconds(usec: str, pid: str) -> float:
    """After how long a silence this process is taken for stuck; 0 for never."""
    if not usec.isdecimal() or pid not in ("", str(os.getpid())):
        return 0.0
    return int(usec) / 1e6
