"""Which hosts, addresses and ports may be reached: what the operator named, and of all else only what is public."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import idna

from audiosvc.errors import BlockedAddress

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

Host = Address | str
"""A host as `parse_host` gives it: an address, or a name in lower-case ASCII."""

PORTS = frozenset({80, 443})
"""Ports below 1024 that are reached; the others there belong to mail, shells and the like, not to media."""

NAME_MOST = 253
"""Characters of a name in DNS."""

_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.ASCII)
_NUMBER = re.compile(r"0x[0-9a-f]+|0[0-7]*|[1-9][0-9]*", re.ASCII)
_NUMBER_LAST = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.ASCII)

_LAST_32_BITS = tuple(map(IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
"""IPv4-compatible, IPv4-mapped, IPv4-translated (RFC 2765) and NAT64: the IPv4 address is the end of it."""

_SIX_TO_FOUR = IPv6Network("2002::/16")
_TEREDO = IPv6Network("2001::/32")

_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All that IANA has ever given out of IPv6 to be reached from anywhere."""

_NEVER = (
    IPv4Network("168.63.129.16/32"),  # Looks public; in Azure it is the machine's own host.
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv6Network("2001::/23"),
    IPv6Network("2001:db8::/32"),
    IPv6Network("3fff::/20"),
)
"""Besides what `is_global` says, which has holes and differs from one Python to the next. (What IPv6 has outside
`_GLOBAL_UNICAST`, fec0::/10 and 64:ff9b:1::/48 among it, needs no mention.)"""


def parse_host(text: str) -> Host:
    """The host that `getaddrinfo` would make of `text`; ValueError for what is none.

    127.2, 0x7f000002, 0177.0.0.2 and 2130706434 are all addresses to it; characters that IDNA maps to digits and dots
    become those first. IPv6 may stand in brackets, without a zone. One dot at the end means nothing.
    """
    if len(text) > NAME_MOST + 1:
        raise ValueError(f"a host has at most {NAME_MOST} characters")
    if text.startswith("[") or ":" in text:
        if "%" in text:
            raise ValueError(f"{text!r} has a zone in it")
        return IPv6Address(text[1:-1] if text.startswith("[") and text.endswith("]") else text)
    name = text if text.isascii() else idna.encode(text, uts46=True).decode("ascii")
    name = name.lower().removesuffix(".")
    if _NUMBER_LAST.fullmatch(name):
        return _dotted(name)
    if not _NAME.fullmatch(name):
        raise ValueError(f"{text!r} is no host")
    return name


def _dotted(text: str) -> IPv4Address:
    """As inet_aton: one to four numbers, decimal, octal or hexadecimal; the last one fills what is left."""
    parts = text.split(".")
    if len(parts) > 4 or not all(map(_NUMBER.fullmatch, parts)):
        raise ValueError(f"{text!r} is neither an address nor a name")
    *first, last = (int(part, 16 if part.startswith("0x") else 8 if part.startswith("0") else 10) for part in parts)
    room = 8 * (4 - len(first))
    if any(byte > 255 for byte in first) or last >= 1 << room:
        raise ValueError(f"{text!r} is no address")
    return IPv4Address(int.from_bytes(bytes(first), "big") << room | last)


def unwrap(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, where it does; else the address itself."""
    if isinstance(address, IPv4Address) or int(address) <= 1:
        return address
    if any(address in network for network in _LAST_32_BITS):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _SIX_TO_FOUR:
        return IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    if address in _TEREDO:
        return IPv4Address(~int(address) & 0xFFFFFFFF)
    return address


def is_public(address: Address) -> bool:
    """Whether an unwrapped address is one that anybody may reach from anywhere."""
    if not address.is_global or address.is_multicast or any(address in network for network in _NEVER):
        return False
    return isinstance(address, IPv4Address) or address in _GLOBAL_UNICAST


@dataclass(frozen=True)
class Policy:
    """What is reached. `is_own` tells the addresses of this machine, whose services are nobody else's business."""

    hosts: frozenset[tuple[Host, int | None]]
    """Hosts that are reached whatever their addresses are: on the port, or on the ports that all are reached on."""
    networks: tuple[Network, ...]
    """Networks that are reached though they are not public, or are this machine's."""
    is_own: Callable[[Address], bool]

    @classmethod
    def parse(cls, allow_host: str, allow_net: str, is_own: Callable[[Address], bool]) -> Policy:
        """From the texts of the options `--allow-host` and `--allow-net`; ValueError says what is wrong with which."""
        hosts = frozenset(_parse_allowed_host(item) for item in _items(allow_host))
        networks = tuple(_parse_allowed_net(item) for item in _items(allow_net))
        return cls(hosts, networks, is_own)

    def check(self, host: str, port: int) -> Host:
        """`host` parsed; raises `BlockedAddress` for what shows without a look-up."""
        try:
            parsed = parse_host(host)
        except ValueError:
            raise BlockedAddress(f"{host[:NAME_MOST]} is not a host that can be reached") from None
        if isinstance(parsed, str):
            reason = None if self._allows_port(parsed, port) else _port_refused(port)
        else:
            reason = self.refusal(parsed, port, parsed)
        if reason is not None:
            raise BlockedAddress(f"{host} is not reached from here: {reason}")
        return parsed

    def refusal(self, host: Host, port: int, address: Address) -> str | None:
        """Why `address`, which is `host` or what it leads to, is not reached on `port`; None if it is."""
        if not self._allows_port(host, port):
            return _port_refused(port)
        if not self.hosts.isdisjoint({(_plain(host), port), (_plain(host), None)}):
            return None
        real = unwrap(address)
        if any(real in network for network in self.networks):
            return None
        if not is_public(real):
            return "its address is not a public one"
        return "its address is this machine's own" if self.is_own(real) else None

    def _allows_port(self, host: Host, port: int) -> bool:
        return port in PORTS or 1024 <= port <= 65535 or (_plain(host), port) in self.hosts


def _plain(host: Host) -> Host:
    return host if isinstance(host, str) else unwrap(host)


def _port_refused(port: int) -> str:
    return f"port {port} is not one that media comes from"


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _parse_allowed_host(text: str) -> tuple[Host, int | None]:
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]") or (":" in host and not host.endswith("]")):
        host, port = text, ""
    try:
        parsed = parse_host(host)
        number = int(port) if colon and host != text else None
    except ValueError:
        raise ValueError(f"--allow-host: {text!r} is not HOST or HOST:PORT") from None
    if number is not None and not 1 <= number <= 65535:
        raise ValueError(f"--allow-host: {text!r} has no port from 1 to 65535")
    return _plain(parsed), number


def _parse_allowed_net(text: str) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(f"--allow-net: {text!r} is not a network such as 192.168.7.0/24 or fd00:7::/64") from None
    if unwrap(network.network_address) != network.network_address:
        raise ValueError(f"--allow-net: {text!r} holds IPv4 addresses; name them as those")
    return network
