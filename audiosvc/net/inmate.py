"""The program that tries a jail from inside: says as JSON what a child in it can reach, and what it may do.

`python -I -S inmate.py DOOR_PORT OUTSIDE_PORT`; both ports on 127.0.0.1. No packet goes beyond loopback: UDP sockets
that send nothing ask the routing table whether there is a way to the world.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

PATIENCE = 2.0
"""Seconds for a connection; on loopback it is made or refused at once."""

ABROAD = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses for documentation (RFC 5737, RFC 3849): nobody's, and beyond every route but the default one."""


def main(door: int, outside: int) -> None:
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    found = {
        "door": _connects(door),
        "outside": _connects(outside),
        "routes": [address for family, address in ABROAD if _has_route(family, address)],
        "capabilities": int(status["CapEff"], 16) | int(status["CapPrm"], 16),
    }
    print(json.dumps(found))


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE).close()
    except OSError:
        return False
    return True


def _has_route(family: socket.AddressFamily, address: str) -> bool:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((address, 9))
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
