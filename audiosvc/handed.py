"""Sockets that systemd has made and listens on, and that the daemon only accepts from (sd_listen_fds(3)).

They outlive the daemon: who connects while there is none waits in the socket's backlog for the next one.
"""

from __future__ import annotations

import os
import socket
from itertools import count
from typing import Any, cast

from twisted.internet import endpoints, unix
from twisted.internet.interfaces import IListeningPort, IReactorSocket

NAMES = ("api", "packets")
"""As `FileDescriptorName=` calls them."""

_FAMILIES = {"api": (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX), "packets": (socket.AF_UNIX,)}


class HandedError(Exception):
    """Why what was handed over cannot be served; the message is for the operator."""


def take_handed(reactor: IReactorSocket, told: str) -> dict[str, socket.socket]:
    """The sockets by their names; none where systemd has handed none to this process.

    `told` is what $LISTEN_FDNAMES says, for the message. Raises `HandedError`.
    """
    there = next(index for index in count() if _descriptor(reactor, f"index={index}") is None)
    found = [(name, _descriptor(reactor, f"name={name}")) for name in NAMES]
    named = {name: descriptor for name, descriptor in found if descriptor is not None}
    if len(named) < there:
        # Whoever connected to one that nobody accepts from would wait for ever.
        raise HandedError(
            f"systemd hands over sockets named {told}; one may be named api and one packets (FileDescriptorName=)"
        )
    return {name: _checked(name, descriptor) for name, descriptor in named.items()}


def listen_handed(reactor: IReactorSocket, listening: socket.socket, factory: Any) -> IListeningPort:
    """Accept from it; the port's end is the end of that alone. The `listening` object is used up."""
    if listening.family == socket.AF_UNIX:
        port = _HandedUnixPort(listening, factory, reactor)
        port.startListening()  # type: ignore[no-untyped-call]
        return cast(IListeningPort, port)
    with listening:
        return reactor.adoptStreamPort(listening.fileno(), listening.family, factory)


def is_local(listening: socket.socket) -> bool:
    """Whether only this machine can reach it."""
    if listening.family == socket.AF_UNIX:
        return True
    host = listening.getsockname()[0]
    return bool(host == "::1" or host.startswith("127."))


def _descriptor(reactor: IReactorSocket, which: str) -> int | None:
    # Twisted has read the variables, and removed them, when its endpoints were imported; these are the way to them now.
    try:
        endpoint = endpoints.serverFromString(reactor, f"systemd:domain=UNIX:{which}")
    except (IndexError, KeyError):
        return None
    descriptor: int = cast(endpoints.AdoptedStreamServerEndpoint, endpoint).fileno
    return descriptor


def _checked(name: str, descriptor: int) -> socket.socket:
    try:
        listening = socket.socket(fileno=descriptor)
    except OSError as error:
        raise HandedError(f"the socket {name!r} that systemd hands over: {error.strerror}") from error
    streams = listening.type == socket.SOCK_STREAM and listening.family in _FAMILIES[name]
    if not streams or not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listening.detach()
        kind = "a Unix socket" if name == "packets" else "a TCP or Unix socket"
        raise HandedError(f"the socket {name!r} that systemd hands over is not {kind} that listens (ListenStream=)")
    # systemd leaves them open for whatever is started from here.
    os.set_inheritable(descriptor, False)
    listening.setblocking(False)
    return listening


class _HandedUnixPort(unix.Port):
    """Twisted's, for a socket that is not its own.

    The one that `adoptStreamPort` gives opens the socket's file to everybody (0666), and in the end shuts the socket
    down, for systemd too, and removes the file.
    """

    _shouldShutdown = False

    def __init__(self, listening: socket.socket, factory: Any, reactor: IReactorSocket) -> None:
        # As in the abstract namespace, where there is no file to change the mode of, or to remove.
        name = b"\0" + os.fsencode(listening.getsockname())
        super().__init__(name, factory, backlog=socket.SOMAXCONN, reactor=reactor)
        self._preexistingSocket = listening
