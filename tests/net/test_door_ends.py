"""How connections through the door end, and what they hold until then."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.task import Clock

from audiosvc.net import door as door_module
from audiosvc.net.dialer import HANDSHAKE_SECONDS
from audiosvc.net.door import Door
from audiosvc.net.relay import EARLY_MOST, HEAD_SECONDS, IDLE_SECONDS
from tests.net.support import Asking, echo, reactor, soon


class Timed:
    """The real reactor with a clock that stands still until it is advanced."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.callLater, self.seconds = self.clock.callLater, self.clock.seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class EndingTests(Asking):
    @inlineCallbacks
    def test_a_closed_permit_is_worth_nothing_and_its_connections_end(self) -> Any:
        self.outside.answer = echo
        caller = yield self.call(self.tunnel())
        yield soon(lambda: caller.got)
        self.permit.close()
        yield caller.gone
        yield soon(lambda: not self.outside.open)
        yield self.refused(self.get(self.url()), 407, None)
        self.assertEqual(self.door.vitals().permits, 0)

    @inlineCallbacks
    def test_a_caller_that_leaves_while_its_name_is_looked_up_ends_that(self) -> Any:
        cancelled: list[object] = []
        looking: Deferred[Any] = Deferred(cancelled.append)
        self.patch(self.names, "resolve", lambda name: looking)
        caller = yield self.call(self.get(self.url()))
        yield soon(lambda: self.permit.connections)
        caller.transport.abortConnection()
        yield soon(lambda: cancelled)
        self.assertEqual(self.door.vitals().connections, 0)

    @inlineCallbacks
    def test_one_that_leaves_while_it_is_connected_ends_that_and_is_no_mistake(self) -> Any:
        cancelled: list[object] = []

        def cancel(connecting: Deferred[Any]) -> None:
            # As Twisted's endpoints do.
            connecting.errback(ConnectingCancelledError(IPv4Address("TCP", "127.0.0.1", 9)))
            cancelled.append(connecting)

        self.patch(self.dialer, "dial", lambda host, port, factory: Deferred(cancel))
        caller = yield self.call(self.get(self.url()))
        yield soon(lambda: self.permit.connections)
        caller.transport.abortConnection()
        yield soon(lambda: cancelled)
        self.assertEqual(self.door.vitals().connections, 0)
        self.assertEqual((self.door.refused, self.permit.trouble), ({}, None))
        self.assertEqual(self.flushLoggedErrors(), [])

    @inlineCallbacks
    def test_a_connection_that_comes_about_when_its_permit_is_closed_is_dropped(self) -> Any:
        dialled: Deferred[Any] = Deferred()
        factories: list[Any] = []
        self.patch(self.dialer, "dial", lambda host, port, factory: factories.append(factory) or dialled)
        caller = yield self.call(self.get(self.url()))
        yield soon(lambda: factories)
        aborted: list[bool] = []
        origin = factories[0].buildProtocol(None)
        origin.transport = SimpleNamespace(abortConnection=lambda: aborted.append(True))
        self.permit.close()
        dialled.callback(origin)
        self.assertEqual(aborted, [True])
        yield caller.gone
        self.assertEqual(self.door.vitals().connections, 0)

    @inlineCallbacks
    def test_early_bytes_are_held_only_so_far(self) -> Any:
        looking: Deferred[Any] = Deferred()
        self.patch(self.names, "resolve", lambda name: looking)
        self.outside.answer = lambda data, transport: None
        body = b"x" * 3_000_000
        caller = yield self.call(self.get(self.url(), f"Content-Length: {len(body)}", method="POST"))
        yield soon(lambda: self.permit.connections)
        caller.transport.write(body)
        (relay,) = self.permit.connections
        yield soon(lambda: len(relay._early) > EARLY_MOST)
        yield soon(lambda: relay.transport not in reactor.getReaders())
        self.assertLess(len(relay._early), 3 * EARLY_MOST)
        looking.callback([ip_address("127.0.0.1")])
        yield soon(lambda: self.outside.open and len(self.outside.open[0].head) > len(body))
        self.assertTrue(self.outside.open[0].head.endswith(body))

    @inlineCallbacks
    def test_stopping_closes_everything(self) -> Any:
        self.outside.answer = echo
        tunnel, unknown = (yield self.call(self.tunnel())), (yield self.call(b"GET"))
        yield soon(lambda: tunnel.got)
        yield soon(lambda: self.door.vitals().connections == 2)
        yield self.door.stop()
        yield tunnel.gone
        yield unknown.gone
        yield self.door.stop()
        self.assertEqual(self.door.vitals().connections, 0)

    @inlineCallbacks
    def test_one_more_than_there_may_be_pushes_out_the_oldest_that_has_no_permit(self) -> Any:
        self.patch(door_module, "CONNECTIONS_MOST", 3)
        self.outside.answer = echo
        tunnels = []
        for _ in range(2):
            tunnels.append((yield self.call(self.tunnel())))
            yield soon(lambda: tunnels[-1].got)
        unknown = yield self.call(b"GET")
        yield soon(lambda: self.door.vitals().connections == 3)
        tunnels.append((yield self.call(self.tunnel())))
        yield unknown.gone
        yield soon(lambda: tunnels[-1].got)
        late = yield self.call(self.tunnel())
        self.assertEqual((yield late.gone), b"")
        self.assertEqual(self.door.vitals().refused, {"connections": 2})

    def test_a_door_that_is_not_open_gives_no_permits(self) -> None:
        self.assertRaises(RuntimeError, Door(reactor, self.dialer).permit, "x")


class WaitingTests(Asking):
    def make_reactor(self) -> Any:
        self.timed = Timed()
        return self.timed

    @inlineCallbacks
    def test_a_head_that_does_not_come_is_not_waited_for(self) -> Any:
        caller = yield self.call(b"GET http://a/")
        yield soon(lambda: self.door.vitals().connections)
        self.timed.clock.advance(HEAD_SECONDS - 1)
        caller.transport.write(b"x")
        self.timed.clock.advance(2)
        yield caller.gone
        self.assertEqual(self.timed.clock.getDelayedCalls(), [])

    @inlineCallbacks
    def test_a_silent_origin_is_given_up_and_one_that_speaks_is_not(self) -> Any:
        self.outside.answer = echo
        caller = yield self.call(self.tunnel())
        yield soon(lambda: caller.got)
        for count in range(3):
            caller.transport.write(b"a\r\n\r\n")
            yield soon(lambda count=count: caller.got.count(b">") > count)
            self.timed.clock.advance(IDLE_SECONDS - 1)
        caller.transport.write(b"a\r\n\r\n")
        yield soon(lambda: caller.got.count(b">") > 3)
        self.timed.clock.advance(IDLE_SECONDS)
        yield caller.gone
        yield soon(lambda: not self.outside.open)
        self.assertEqual(self.timed.clock.getDelayedCalls(), [])

    @inlineCallbacks
    def test_a_tunnel_to_a_server_that_does_not_answer_the_handshake_is_given_up_soon(self) -> Any:
        caller = yield self.call(self.tunnel())
        yield soon(lambda: caller.got)
        self.timed.clock.advance(1)
        caller.transport.write(b"hello")
        yield soon(lambda: any(connection.head for connection in self.outside.open))
        self.timed.clock.advance(HANDSHAKE_SECONDS - 1)
        self.assertTrue(self.outside.open)
        self.timed.clock.advance(1)
        yield caller.gone
        self.assertIn("does not answer the handshake", self.permit.trouble.message)
        yield soon(lambda: not self.outside.open)
        # Before there is sound it is not waited for again.
        answer = yield self.ask(self.tunnel())
        self.assertEqual((answer[:12], self.outside.hits), (b"HTTP/1.1 502", 1))
        self.assertIn("does not answer the handshake", self.permit.trouble.message)
        self.permit.flowing()
        caller = yield self.call(self.tunnel())
        yield soon(lambda: self.outside.open)
        caller.transport.abortConnection()
        yield soon(lambda: not self.outside.open)
        self.assertEqual(self.timed.clock.getDelayedCalls(), [])

    @inlineCallbacks
    def test_a_child_that_does_not_read_is_waited_for_and_then_gets_all_of_it(self) -> Any:
        body = bytes(range(256)) * 40_000

        def flood(head: bytes, transport: Any) -> None:
            transport.write(b"HTTP/1.1 200 OK\r\n\r\n" + body)
            transport.loseConnection()

        self.outside.answer = flood
        caller = yield self.call(self.get(self.url()))
        caller.transport.pauseProducing()
        (relay,) = yield soon(lambda: self.permit.connections)
        yield soon(lambda: relay._origin is not None and relay._origin.paused)
        for _ in range(5):
            self.timed.clock.advance(IDLE_SECONDS)
        self.assertLess(self.door.vitals().bytes, len(body) - 1_000_000)
        caller.transport.resumeProducing()
        answer = yield caller.gone
        self.assertTrue(answer.endswith(b"\r\n\r\n" + body))
        yield soon(lambda: not self.outside.open)
        self.assertEqual(self.timed.clock.getDelayedCalls(), [])


class EndlessTests(Asking):
    @inlineCallbacks
    def test_an_endless_source_costs_no_more_the_longer_it_goes_on(self) -> Any:
        sent = [0]

        class Endless:
            def __init__(self, transport: Any) -> None:
                self._transport = transport

            def resumeProducing(self) -> None:
                sent[0] += 65536
                self._transport.write(bytes(65536))

            def stopProducing(self) -> None:
                pass

        def endless(head: bytes, transport: Any) -> None:
            transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
            transport.registerProducer(Endless(transport), False)

        self.outside.answer = endless
        caller = yield self.call(self.get(self.url()))
        caller.transport.pauseProducing()
        (relay,) = yield soon(lambda: self.permit.connections)
        yield soon(lambda: relay._origin is not None and relay._origin.paused)
        held = self.door.vitals().bytes
        self.assertLess(held, 8_000_000)
        before = _rss()
        caller.dataReceived = lambda data: None
        caller.transport.resumeProducing()
        yield soon(lambda: self.door.vitals().bytes > 300_000_000)
        self.assertLess(_rss() - before, 8_000_000)
        self.assertLess(sent[0] - self.door.vitals().bytes, 8_000_000)


def _rss() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
