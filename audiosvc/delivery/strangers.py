"""Whose clients are served: the kernel is asked when one connects, whatever the socket's mode has come to be."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from pathlib import Path

_CREDENTIALS = struct.Struct("3i")
"""Linux's `struct ucred`: process, user, group."""

_SO_PEERGROUPS = 59
"""Linux's option for the further groups of the other end, which Python has no name for."""

_GROUPS_BYTES = 1024
"""256 groups: the most that Python asks for. Who is in more is known by the main one alone."""


def stranger(connection: socket.socket) -> int | None:
    """The user at the other end, as it was when it connected, if it is not to be served; else None.

    Served are root, the daemon's own user and, where the socket's path is open to a group, who is in that group.
    """
    uid, groups = _credentials(connection)
    if uid in (0, os.geteuid()) or groups & _open_to(connection):
        return None
    return uid


def _credentials(connection: socket.socket) -> tuple[int, set[int]]:
    """User and groups of the other end."""
    told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, gid = _CREDENTIALS.unpack(told)
    further = b""
    with contextlib.suppress(OSError):
        further = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _GROUPS_BYTES)
    return uid, {gid, *memoryview(further).cast("i")}


def _open_to(connection: socket.socket) -> set[int]:
    """The group that may write to the socket's path, if any may."""
    try:
        status = Path(connection.getsockname()).stat()
    except OSError:
        return set()
    return {status.st_gid} if status.st_mode & stat.S_IWGRP else set()
