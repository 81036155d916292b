"""The program that makes a jail: a network namespace with nothing in it but loopback, and a door that listens there.

`python -I -S jailer.py`, with a Unix socket as standard input. It hands the listening socket and the namespaces
themselves through that socket and exits: what a descriptor refers to outlives its maker, so there is no process that
holds the jail, and none that could be killed. `-I -S` finds nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import socket
import struct
from pathlib import Path

DOOR = ("127.0.0.1", 3128)
"""Where the door listens inside; nothing else is there that could have taken the port."""

NOBODY = 65534
"""Who everybody is inside. Not root: root of a namespace has every capability in it from each exec on."""

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def main() -> None:
    with socket.socket(fileno=0) as daemon:
        try:
            door, namespaces = _make()
        except OSError as error:
            daemon.sendall(json.dumps({"error": str(error)}).encode())
        else:
            said = json.dumps({"namespaces": [Path(path).name for path in namespaces]}).encode()
            opened = [os.open(path, os.O_RDONLY) for path in namespaces]
            socket.send_fds(daemon, [said], [door.fileno(), *opened])


def _make() -> tuple[socket.socket, list[str]]:
    """The listening socket, and by which paths this process's new namespaces can be opened."""
    uid, gid = os.geteuid(), os.getegid()
    namespaces = ["/proc/self/ns/net"]
    try:
        _unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
    except OSError as no_user:
        # Root may make a network namespace where user namespaces are forbidden.
        try:
            _unshare(_CLONE_NEWNET)
        except OSError as no_net:
            raise OSError(f"no user namespace ({no_user.strerror}), no network namespace ({no_net.strerror})") from None
    else:
        namespaces.append("/proc/self/ns/user")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{NOBODY} {uid} 1")
        Path("/proc/self/gid_map").write_text(f"{NOBODY} {gid} 1")
        # A namespace inside this one would make its maker root there, and that reaches much of the kernel.
        with contextlib.suppress(OSError):  # /proc/sys is read-only in most containers
            Path("/proc/sys/user/max_user_namespaces").write_text("0")
    door = socket.socket()
    _bring_up(door, "lo")
    door.bind(DOOR)
    door.listen(socket.SOMAXCONN)
    return door, namespaces


def _unshare(flags: int) -> None:
    """unshare(2), which `os` has from Python 3.12 on."""
    if ctypes.CDLL(None, use_errno=True).unshare(flags):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _bring_up(any_socket: socket.socket, interface: str) -> None:
    """What `ip link set INTERFACE up` does (netdevice(7): `struct ifreq` with its flags)."""
    ifreq = struct.pack("16sh14x", interface.encode(), 0)
    (flags,) = struct.unpack_from("16xh", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, ifreq))
    fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", interface.encode(), flags | _IFF_UP))


if __name__ == "__main__":
    main()
