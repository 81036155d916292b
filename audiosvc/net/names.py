"""Names and addresses as the operating system knows them: look-ups in threads of their own, and which are ours."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

from audiosvc.errors import TooManyLookups
from audiosvc.net.addresses import Address

LOOKUPS_MOST = 32
"""Names looked up at once. One that nobody answers holds its thread for as long as the C library is patient, which may
be half a minute; a thread that waits costs next to nothing."""

WAITING_MOST = 256
"""Look-ups that may wait for that."""

_FREE_V4, _FREE_V6 = ipaddress.ip_address("192.0.2.1"), ipaddress.ip_address("2001:db8::1")
"""Out of the ranges for documentation: no machine has them."""


class Names:
    """Looks names up, `LOOKUPS_MOST` at once, apart from the reactor's threads and from the encoders'.

    The threads are daemons: none is waited for when the daemon ends. `look_up` runs in one of them.
    """

    def __init__(self, reactor: IReactorFromThreads, look_up: Callable[[str], Iterable[Address]] | None = None) -> None:
        self._reactor = reactor
        self._look_up = look_up or look_up_name
        self._running = 0
        self._waiting: deque[tuple[str, Deferred[list[Address]]]] = deque()

    def resolve(self, name: str) -> Deferred[list[Address]]:
        """The addresses of `name`; fails with OSError, or at once with `TooManyLookups`. May be cancelled."""
        if len(self._waiting) >= WAITING_MOST:
            return fail(TooManyLookups())
        result: Deferred[list[Address]] = Deferred()
        self._waiting.append((name, result))
        self._run()
        return result

    def _run(self) -> None:
        while self._waiting and self._running < LOOKUPS_MOST:
            name, result = self._waiting.popleft()
            if not result.called:
                self._running += 1
                threading.Thread(target=self._work, args=(name, result), name="look-up", daemon=True).start()

    def _work(self, name: str, result: Deferred[list[Address]]) -> None:
        outcome: list[Address] | Failure
        try:
            outcome = list(self._look_up(name))
        except Exception:
            outcome = Failure()
        # The reactor may have ended in the meantime, and the thread with it.
        with contextlib.suppress(Exception):
            self._reactor.callFromThread(self._done, result, outcome)

    def _done(self, result: Deferred[list[Address]], outcome: list[Address] | Failure) -> None:
        self._running -= 1
        if not result.called:
            result.callback(outcome)
        self._run()


def look_up_name(name: str) -> list[Address]:
    """All of a name's addresses, in the order of preference; blocks. Raises OSError."""
    # As bytes, which Python leaves as they are; of IPv6 only where this machine has any.
    found = socket.getaddrinfo(name.encode("ascii"), None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return list(dict.fromkeys(ipaddress.ip_address(place[0]) for *_, place in found))


def is_own(address: Address) -> bool:
    """Whether `address` is one of this machine's, now. Nothing is sent.

    Where the kernel lets anything be bound to (net.ipv4.ip_nonlocal_bind) this cannot be told, and none is.
    """
    return _binds(address) and not _binds(_FREE_V4 if address.version == 4 else _FREE_V6)


def _binds(address: Address) -> bool:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
