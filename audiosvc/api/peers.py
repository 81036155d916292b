"""Who calls, as far as an address tells, and how often one caller may show a wrong token."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network
from typing import NamedTuple

FAILURES_MOST = 10
FAILURE_SECONDS = 1.0
"""Wrong tokens of one peer that are answered as such, and the time that they are counted in."""

PEERS_MOST = 1024
"""Peers whose wrong tokens are counted; past that whoever has been wrong for longest is forgotten."""


class Peer(NamedTuple):
    """The other end of a connection. All programs of this machine may be one, and then it is `local`."""

    name: str
    local: bool


def peer_of(host: str | None) -> Peer:
    """The peer of an IP address; of None, for a Unix socket. An IPv6 caller has a whole /64, which counts as one."""
    if host is None:
        return Peer("", True)
    address = ip_address(host.partition("%")[0])
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    if isinstance(address, IPv6Address) and not address.is_loopback:
        return Peer(str(ip_network((address, 64), strict=False)), False)
    return Peer(str(address), address.is_loopback)


class Failures:
    """Wrong tokens, by peer.

    A right one is taken at any time: an address is shared by all programs of a machine, or by all that is behind a
    proxy, and nobody may be locked out by a neighbour's guesses.
    """

    def __init__(self) -> None:
        self._counts: dict[str, tuple[float, int]] = {}

    def too_many(self, peer: Peer, now: float) -> bool:
        """Count one more at `now` (monotonic seconds); whether it is past what its time allows."""
        since, count = self._counts.pop(peer.name, (now, 0))
        if now - since >= FAILURE_SECONDS:
            since, count = now, 0
        self._counts[peer.name] = since, count + 1
        if len(self._counts) > PEERS_MOST:
            del self._counts[next(iter(self._counts))]
        return count >= FAILURES_MOST
