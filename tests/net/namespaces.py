"""What this kernel allows, and what tests of confined children share."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Mapping, Sequence

from audiosvc.errors import AudioServiceError

FORBIDDING = "echo 0 >/proc/sys/user/max_user_namespaces || exit 99; "
"""Within a user namespace: no further one is allowed in it, as by kernels and containers that forbid them."""


def possible(*argv: str) -> bool:
    """Whether the kernel lets `unshare` do this here."""
    return subprocess.run(["unshare", *argv, "true"], capture_output=True, check=False).returncode == 0


def jails_possible() -> bool:
    """Found out without our own code, so that tests know which of the two documented behaviours they must see."""
    return possible("--user", "--net", "--map-root-user") or possible("--net")


def waiting(listening: socket.socket) -> int:
    """How many connections there were since the last look."""
    listening.setblocking(False)
    count = 0
    while True:
        try:
            listening.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


class Permit:
    """Implements `interfaces.IPermit` without a door."""

    received = 0
    denial: AudioServiceError | None = None

    def __init__(self, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> None:
        self.prefix = prefix
        self.environment = environment or {}
        self.closed = False

    def close(self) -> None:
        self.closed = True
