"""From a host and a port to the addresses that may be dialled: one look-up, and all of its answers must pass."""

from __future__ import annotations

import socket
from collections.abc import Callable

from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from audiosvc.errors import BlockedAddress, SourceUnreachable
from audiosvc.net.addresses import Address, Policy

LOOKUP_SECONDS = 5
"""For a name to be looked up, waiting for its turn included."""

ANSWERS_MOST = 64
"""Addresses of one name. More is not how anybody serves media."""

_NO_SUCH_NAME = (socket.EAI_NONAME, socket.EAI_NODATA)


class Vetter:
    """Judges hosts by `policy`. `resolve` gives a name's addresses, or fails with OSError."""

    log = Logger()

    def __init__(
        self, resolve: Callable[[str], Deferred[list[Address]]], policy: Policy, reactor: IReactorTime
    ) -> None:
        self._resolve = resolve
        self._policy = policy
        self._reactor = reactor

    def vet(self, host: str, port: int) -> Deferred[list[Address]]:
        """The addresses of `host`, every one of which may be dialled on `port`; never none. May be cancelled.

        Fails with `BlockedAddress`, `SourceUnreachable` (within `LOOKUP_SECONDS`) or `TooManyLookups`. What comes is
        to be dialled as it is: another look-up might be answered otherwise.
        """
        return maybeDeferred(self._vet, host, port)

    def _vet(self, host: str, port: int) -> Deferred[list[Address]]:
        parsed = self._policy.check(host, port)
        if not isinstance(parsed, str):
            return succeed([parsed])

        def judge(addresses: list[Address]) -> list[Address]:
            if not addresses:
                raise SourceUnreachable(f"{host} has no address")
            if len(addresses) > ANSWERS_MOST:
                raise BlockedAddress(f"{host} is not reached from here: it has more than {ANSWERS_MOST} addresses")
            for address in addresses:
                reason = self._policy.refusal(parsed, port, address)
                if reason is not None:
                    # To the log alone: the callers need not learn what the names of an inner network lead to.
                    self.log.info("{host} leads to {address}", host=host, address=str(address))
                    raise BlockedAddress(f"{host} is not reached from here: {reason}")
            return addresses

        def explain(failure: Failure) -> Failure:
            error = failure.value
            if isinstance(error, TimeoutError):
                raise SourceUnreachable(f"{host} could not be looked up in time") from None
            if isinstance(error, socket.gaierror) and error.errno in _NO_SUCH_NAME:
                raise SourceUnreachable(f"there is no host {host}") from None
            if isinstance(error, (OSError, ValueError)):
                raise SourceUnreachable(f"{host} could not be looked up") from None
            return failure

        looked_up = self._resolve(parsed).addTimeout(LOOKUP_SECONDS, self._reactor)
        return looked_up.addCallbacks(judge, explain)
