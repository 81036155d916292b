"""From names to addresses that may be dialled: answers out of a table, connections that only seem to be made."""

from __future__ import annotations

import socket
import threading
from ipaddress import ip_address
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from audiosvc.errors import BlockedAddress, SourceUnreachable, TooManyLookups
from audiosvc.net import names
from audiosvc.net.addresses import Address, Policy
from audiosvc.net.dialer import ADDRESSES_TRIED, CONNECT_SECONDS, Dialer
from audiosvc.net.names import LOOKUPS_MOST, WAITING_MOST, Names, is_own, look_up_name
from audiosvc.net.vetter import LOOKUP_SECONDS, Vetter
from tests.net.support import FakeNames, reactor
from tests.net.test_addresses import NO_HOSTS, OWN, REFUSED, SPELLINGS

TABLE = {
    "good.example": ("93.184.216.34", "2606:4700::1"),
    "six.example": ("2606:4700::1", "2606:4700::2", "2606:4700::3", "93.184.216.34"),
    "inner.example": ("127.0.0.2",),
    "mixed.example": ("93.184.216.34", "10.0.0.1"),
    "mapped.example": ("::ffff:127.0.0.2",),
    "many.example": tuple(f"93.184.{i // 250}.{i % 250 + 1}" for i in range(2000)),
    "empty.example": (),
    "localhost": ("127.0.0.1", "::1"),
    "alias.example": ("169.254.169.254",),
}


class VetterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.names = FakeNames(TABLE)
        self.vetter = self.make(self.names.resolve)
        self.dialer = Dialer(self.vetter, cast(Any, self.reactor))

    def make(self, resolve: Any) -> Vetter:
        return Vetter(resolve, Policy.parse("", "", lambda address: address == OWN), self.reactor)

    def refused(self, host: str, port: int = 80) -> None:
        error = self.failureResultOf(self.dialer.dial(host, port, Factory.forProtocol(Protocol)), BlockedAddress)
        self.assertIn(host[:40], error.value.message)

    def test_what_shows_in_the_text_is_neither_looked_up_nor_dialled(self) -> None:
        for host in (*SPELLINGS, *NO_HOSTS, *REFUSED, *(f"[{text}]" for text in REFUSED if ":" in text)):
            self.refused(host)
        self.refused("good.example", 25)
        self.assertEqual((self.names.asked, self.reactor.tcpClients), ([], []))

    def test_one_bad_answer_refuses_the_name_and_nothing_is_dialled(self) -> None:
        hosts = ("inner.example", "mixed.example", "mapped.example", "many.example", "localhost", "alias.example")
        for host in hosts:
            self.refused(host)
        self.assertEqual((self.names.asked, self.reactor.tcpClients), (list(hosts), []))

    def test_a_refusal_does_not_tell_what_the_name_leads_to(self) -> None:
        error = self.failureResultOf(self.vetter.vet("mixed.example", 80), BlockedAddress).value
        self.assertNotIn("10.0.0.1", error.message)

    def test_good_answers_come_as_they_are_and_an_address_needs_none(self) -> None:
        good = [ip_address(text) for text in TABLE["good.example"]]
        self.assertEqual(self.successResultOf(self.vetter.vet("GOOD.example.", 443)), good)
        self.assertEqual(self.successResultOf(self.vetter.vet("[2606:4700::1]", 8000)), good[1:])
        self.assertEqual(self.names.asked, ["good.example"])

    def test_a_name_that_changes_its_mind_is_judged_and_dialled_by_one_answer(self) -> None:
        self.names.turns["good.example"] = [("93.184.216.34",), ("127.0.0.2",)]
        self.dialer.dial("good.example", 80, Factory.forProtocol(Protocol))
        self.assertEqual(self.names.asked, ["good.example"])
        self.assertEqual([client[:2] for client in self.reactor.tcpClients], [("93.184.216.34", 80)])
        self.refused("good.example")
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_names_that_lead_nowhere_are_unreachable(self) -> None:
        for error, words in (
            (socket.gaierror(socket.EAI_NONAME, "x"), "no host x.example"),
            (socket.gaierror(socket.EAI_AGAIN, "x"), "could not be looked up"),
            (OSError(24, "too many open files"), "could not be looked up"),
        ):
            failed = self.make(lambda _, error=error: fail(error)).vet("x.example", 80)
            self.assertIn(words, self.failureResultOf(failed, SourceUnreachable).value.message)
        self.failureResultOf(self.vetter.vet("empty.example", 80), SourceUnreachable)
        self.failureResultOf(self.make(lambda _: fail(TooManyLookups())).vet("x.example", 80), TooManyLookups)

    def test_a_look_up_that_hangs_is_given_up(self) -> None:
        given_up: list[object] = []
        hanging = self.make(lambda _: Deferred(given_up.append)).vet("x.example", 80)
        self.reactor.advance(LOOKUP_SECONDS - 0.1)
        self.assertNoResult(hanging)
        self.reactor.advance(0.2)
        self.assertIn("in time", self.failureResultOf(hanging, SourceUnreachable).value.message)
        self.assertEqual(len(given_up), 1)

    def test_a_look_up_can_be_cancelled(self) -> None:
        hanging = self.make(lambda _: Deferred()).vet("x.example", 80)
        hanging.cancel()
        self.failureResultOf(hanging, CancelledError)

    def test_addresses_are_tried_in_turn_of_their_kind_until_one_answers(self) -> None:
        dialled = self.dialer.dial("six.example", 8000, Factory.forProtocol(Protocol))
        for _ in range(ADDRESSES_TRIED):
            _, port, factory, timeout, _ = self.reactor.tcpClients[-1]
            self.assertEqual((port, timeout), (8000, CONNECT_SECONDS))
            factory.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        tried = [client[0] for client in self.reactor.tcpClients]
        self.assertEqual(tried, ["2606:4700::1", "93.184.216.34", "2606:4700::2"])
        self.assertIn("six.example does not answer", self.failureResultOf(dialled, SourceUnreachable).value.message)


class NamesTests(TestCase):
    timeout = 10

    def test_more_look_ups_wait_their_turn_and_too_many_are_refused(self) -> Any:
        go, running = threading.Event(), threading.Semaphore(0)
        self.addCleanup(go.set)
        found: list[Address] = [ip_address("1.1.1.1")]

        def look_up(name: str) -> list[Address]:
            running.release()
            go.wait()
            return found

        looking = Names(reactor, look_up)
        results = [looking.resolve("x") for _ in range(LOOKUPS_MOST + WAITING_MOST)]
        for _ in range(LOOKUPS_MOST):
            running.acquire()
        self.failureResultOf(looking.resolve("x"), TooManyLookups)
        self.assertFalse(running.acquire(blocking=False))
        for cancelled in (results.pop(), results.pop(0)):
            cancelled.cancel()
            self.failureResultOf(cancelled, CancelledError)
        go.set()
        for result in results:
            result.addCallback(self.assertEqual, found)
        return results[-1]

    def test_a_failure_comes_as_it_was(self) -> Any:
        def look_up(name: str) -> list[Address]:
            raise socket.gaierror(socket.EAI_NONAME, name)

        return self.assertFailure(Names(reactor, look_up).resolve("x"), socket.gaierror)

    def test_the_machine_knows_its_own_name(self) -> Any:
        found = Names(reactor).resolve("localhost")
        return found.addCallback(lambda addresses: self.assertIn(ip_address("127.0.0.1"), addresses))

    def test_an_overlong_name_is_no_host(self) -> None:
        self.assertRaises(OSError, look_up_name, "x" * 64 + ".example")


class OwnTests(SynchronousTestCase):
    def test_what_can_be_bound_to_is_ours(self) -> None:
        for text, own in {"127.0.0.1": True, "127.9.9.9": True, "192.0.2.77": False, "2001:db8::77": False}.items():
            self.assertEqual(is_own(ip_address(text)), own, text)

    def test_where_anything_can_be_bound_to_nothing_is_taken_for_ours(self) -> None:
        self.patch(names, "_binds", lambda address: True)
        self.assertFalse(is_own(ip_address("127.0.0.1")))
