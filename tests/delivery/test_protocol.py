"""A connection's life: its greeting, when it is served, junk, full sockets, and how it is let go of."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from audiosvc import __version__
from audiosvc.delivery import protocol
from audiosvc.delivery.hub import Hub
from audiosvc.delivery.protocol import (
    CONNECTIONS_MOST,
    FLUSH_SECONDS,
    GRACE_SECONDS,
    REFUSED_MOST,
    UNSENT_BYTES,
    UNSENT_BYTES_A_STREAM,
    Connection,
    DeliveryFactory,
)
from audiosvc.wire.codec import LINE_MOST, Decoder, Received, encode_event, encode_line
from audiosvc.wire.messages import Credit, Greeting, Hello, Packet, Ready, Refused, Stopped, Subscribe, Unsubscribe
from tests.fakes import FakeFeed

HELLO = Hello(1, ("subscribe", "credit", "resume"), f"audiosvc/{__version__}")


class Transport(StringTransport):
    """Goes when it is told to, unless a producer holds it up or it is `stuck` with what its client does not read."""

    def __init__(self, protocol: Connection) -> None:
        super().__init__()
        self.protocol = protocol
        self.getHandle = lambda: None
        self.stuck = self.aborted = self.gone = False

    def received(self) -> list[Received]:
        return Decoder().feed(self.value())

    def loseConnection(self) -> None:
        super().loseConnection()
        if self.producer is None and not self.stuck:
            self.lose()

    def abortConnection(self) -> None:
        self.aborted = True
        self.lose()

    def lose(self) -> None:
        if not self.gone:
            self.gone = True
            self.protocol.connectionLost(connectionDone)


class ProtocolTestCase(SynchronousTestCase):
    stranger: int | None = None
    """Who the client is, if it is one."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.hub = Hub(self.clock, 60.0, lambda going: None)
        self.factory = DeliveryFactory(self.clock, self.hub, lambda _: self.stranger)

    def connect(self, data: bytes = b"") -> tuple[Connection, Transport]:
        connection = self.factory.buildProtocol(None)
        transport = Transport(connection)
        connection.makeConnection(transport)
        if data:
            connection.dataReceived(data)
        return connection, transport

    def open(self, session_id: str = "a", packets: int = 1) -> FakeFeed:
        feed = FakeFeed(session_id)
        self.hub.open(feed)
        self.hub.announce(Ready(session_id, "t1", "u", "opus", 0.0))
        feed.fill(packets)
        self.hub.flow(feed)
        return feed


class StrangerTests(ProtocolTestCase):
    def test_a_client_of_another_user_gets_not_a_byte(self) -> None:
        told: list[LogEvent] = []
        globalLogPublisher.addObserver(told.append)
        self.addCleanup(globalLogPublisher.removeObserver, told.append)
        self.stranger = 4711
        for _ in range(3):
            connection, transport = self.connect()
            self.assertEqual((transport.value(), transport.aborted), (b"", True))
            connection.dataReceived(encode_line(Subscribe("a")))
        self.assertEqual((self.factory.connections, self.hub.vitals().connections), (set(), 0))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual([text for text in map(formatEvent, told) if "another user" in text], [formatEvent(told[0])])


class ServingTests(ProtocolTestCase):
    def test_the_daemon_greets_first(self) -> None:
        _, transport = self.connect()
        self.assertEqual(transport.received(), [HELLO])

    def test_who_says_nothing_is_served_after_a_moment(self) -> None:
        self.open()
        _, transport = self.connect()
        self.clock.advance(GRACE_SECONDS * 0.9)
        self.assertEqual(transport.received(), [HELLO])
        self.clock.advance(GRACE_SECONDS * 0.2)
        self.assertEqual(self.hub.vitals().connections, 1)
        self.assertIn(Packet("a", b"t1:1"), transport.received())

    def test_who_says_something_is_served_in_the_next_turn(self) -> None:
        self.open()
        _, transport = self.connect(encode_line(Greeting("x")))
        self.assertEqual(transport.received(), [HELLO])
        self.clock.advance(0)
        self.assertIn(Packet("a", b"t1:1"), transport.received())

    def test_all_the_lines_of_the_first_piece_count(self) -> None:
        self.open("a")
        self.open("b", 5)
        first, later = self.connect(encode_line(Subscribe("a")))[1], encode_line(Subscribe("b"))
        self.clock.advance(0)
        _, transport = self.connect(encode_line(Greeting("x")) + later + encode_line(Credit("b", 3)))
        self.clock.advance(0)
        self.assertNotIn("a", [m.session_id for m in transport.received()[1:] if not isinstance(m, Refused)])
        self.assertEqual(sum(isinstance(m, Packet) for m in transport.received()), 3)
        self.assertEqual(sum(isinstance(m, Packet) for m in Decoder().feed(first.value())), 1)

    def test_a_line_may_come_in_pieces(self) -> None:
        connection, _ = self.connect()
        for byte in encode_line(Subscribe("a")):
            self.assertTrue(connection.wishes.hears_all)
            connection.dataReceived(bytes([byte]))
        self.assertFalse(connection.wishes.hears_all)
        self.clock.advance(0)
        self.assertEqual(self.hub.vitals().connections, 1)

    def test_later_lines_are_taken_at_once(self) -> None:
        self.open(packets=5)
        connection, transport = self.connect(encode_line(Credit("a", 0)))
        self.clock.advance(0)
        connection.dataReceived(encode_line(Credit("a", 2)))
        self.assertEqual(sum(isinstance(m, Packet) for m in transport.received()), 2)
        connection.dataReceived(encode_line(Greeting("x")))
        last = transport.received()[-1]
        self.assertEqual(cast(Refused, last).code, "late_hello")

    def test_who_leaves_before_being_served_is_forgotten(self) -> None:
        _, transport = self.connect()
        transport.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.factory.connections, set())

    def test_who_leaves_leaves_its_sessions(self) -> None:
        connection, transport = self.connect()
        self.clock.advance(GRACE_SECONDS)
        self.open()
        self.assertFalse(self.hub.held("a"))
        transport.lose()
        self.assertTrue(self.hub.held("a"))
        self.successResultOf(connection.lost)

    def test_the_newer_of_two_has_the_larger_claim(self) -> None:
        (_, older), (_, newer) = self.connect(), self.connect()
        self.clock.advance(GRACE_SECONDS)
        self.open()
        self.assertEqual((len(older.received()), len(newer.received())), (1, 3))


class RefusalTests(ProtocolTestCase):
    def refused(self, transport: Transport) -> list[str]:
        return [m.code for m in transport.received() if isinstance(m, Refused)]

    def test_a_line_that_does_not_fit_is_refused_and_the_next_one_taken(self) -> None:
        connection, transport = self.connect(b'{"type":"dance"}\n' + encode_line(Subscribe("a")))
        self.assertEqual(self.refused(transport), ["unknown_type"])
        self.assertFalse(connection.wishes.hears_all)
        self.assertFalse(transport.disconnecting)
        self.assertEqual(self.hub.vitals().lines_refused, 1)

    def test_junk_is_refused_and_the_connection_closed(self) -> None:
        for junk in (b"\x00\x01\x02\n", b"GET / HTTP/1.1\r\n\r\n", b"[]\n", b"x" * LINE_MOST):
            connection, transport = self.connect(junk)
            self.assertIn(self.refused(transport), (["invalid_json"], ["line_too_long"]))
            self.assertTrue(transport.gone)
            self.assertNotIn(connection, self.factory.connections)

    def test_nothing_behind_junk_is_taken(self) -> None:
        connection, _ = self.connect(b"junk\n" + encode_line(Subscribe("a")))
        self.assertTrue(connection.wishes.hears_all)

    def test_junk_that_never_ends_is_not_kept(self) -> None:
        _, transport = self.connect()
        for _ in range(LINE_MOST // 1024):
            self.assertFalse(transport.disconnecting)
            transport.protocol.dataReceived(b"x" * 1024)
        self.assertTrue(transport.gone)

    def test_who_is_closed_before_being_served_never_is(self) -> None:
        self.open()
        _, transport = self.connect()
        transport.stuck = True
        transport.protocol.dataReceived(encode_line(Subscribe("a")) + b"junk\n")
        self.assertTrue(transport.disconnecting)
        self.clock.advance(GRACE_SECONDS)
        self.assertEqual((self.hub.vitals().connections, self.hub.held("a")), (0, True))

    def test_the_hundredth_refused_line_is_the_last(self) -> None:
        line = b'{"type":"credit"}\n'
        _, transport = self.connect(line * (REFUSED_MOST - 1))
        self.assertFalse(transport.disconnecting)
        transport.protocol.dataReceived(line * 50)
        self.assertTrue(transport.gone)
        self.assertEqual(len(self.refused(transport)), REFUSED_MOST)

    def test_only_so_many_are_served_at_once(self) -> None:
        served = [self.connect()[1] for _ in range(CONNECTIONS_MOST)]
        connection, transport = self.connect()
        self.assertEqual(transport.received()[0], HELLO)
        self.assertEqual(self.refused(transport), ["too_many_connections"])
        self.assertTrue(transport.gone)
        self.successResultOf(connection.lost)
        self.clock.advance(GRACE_SECONDS)
        self.assertEqual(self.hub.vitals().connections, CONNECTIONS_MOST)
        served[0].lose()
        self.assertEqual(self.refused(self.connect()[1]), [])


class BackpressureTests(ProtocolTestCase):
    def test_a_full_socket_holds_its_sessions_until_it_drains(self) -> None:
        connection, transport = self.connect()
        self.clock.advance(GRACE_SECONDS)
        self.assertIs(transport.producer, connection)
        self.assertTrue(transport.streaming)
        connection.pauseProducing()
        self.open()
        self.assertTrue(self.hub.held("a"))
        self.assertEqual(transport.received(), [HELLO])
        connection.resumeProducing()
        self.assertEqual(len(transport.received()), 3)

    def test_a_beat_of_very_many_sessions_does_not_fill_its_socket(self) -> None:
        connection, transport = self.connect(encode_line(Greeting("c")))
        self.clock.advance(0)
        for n in range(1000):
            self.open(f"s{n}")
        self.assertEqual(transport.bufferSize, 1000 * UNSENT_BYTES_A_STREAM)
        connection.dataReceived(b"".join(encode_line(Unsubscribe(f"s{n}")) for n in range(990)))
        self.assertEqual(transport.bufferSize, UNSENT_BYTES)

    def test_a_producer_that_is_stopped_takes_no_more(self) -> None:
        connection, transport = self.connect()
        self.clock.advance(GRACE_SECONDS)
        connection.stopProducing()
        self.open()
        self.assertEqual(transport.received(), [HELLO])

    def test_what_is_put_goes_in_one_write(self) -> None:
        connection, transport = self.connect()
        transport.clear()
        connection.put(b"a")
        connection.put(b"b")
        self.assertEqual(transport.value(), b"")
        connection.flush()
        connection.flush()
        self.assertEqual(transport.value(), b"ab")


class CloseTests(ProtocolTestCase):
    def test_who_is_let_go_of_hears_nothing_more_while_its_socket_empties(self) -> None:
        _, other = self.connect()
        connection, transport = self.connect()
        self.clock.advance(GRACE_SECONDS)
        feed = self.open()
        transport.stuck = True
        connection.close()
        self.assertTrue(transport.disconnecting and not transport.gone)
        feed.fill(1, first=2)
        self.clock.advance(0.02)
        self.assertEqual(transport.received()[-1], Packet("a", b"t1:1"))
        self.assertEqual(other.received()[-1], Packet("a", b"t1:2"))

    def test_all_are_let_go_of(self) -> None:
        transports = [self.connect()[1] for _ in range(3)]
        self.clock.advance(GRACE_SECONDS)
        self.successResultOf(self.factory.close())
        self.assertTrue(all(transport.gone and not transport.aborted for transport in transports))
        self.assertEqual((self.hub.vitals().connections, self.clock.getDelayedCalls()), (0, []))

    def test_whose_socket_is_full_is_told_what_became_of_its_sessions_all_the_same(self) -> None:
        feed = self.open()
        connection, transport = self.connect(encode_line(Subscribe("a")))
        self.clock.advance(0)
        connection.pauseProducing()
        self.hub.announce(Stopped("a", "t1", "shutdown", 0.02))
        self.hub.close(feed)
        self.assertNotIsInstance(transport.received()[-1], Stopped)
        self.factory.close()
        self.assertIsInstance(transport.received()[-1], Stopped)

    def test_with_nobody_there_it_is_done_at_once(self) -> None:
        self.successResultOf(self.factory.close())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_does_not_read_is_cut_off(self) -> None:
        _, transport = self.connect()
        transport.stuck = True
        gone = self.factory.close()
        self.clock.advance(FLUSH_SECONDS * 0.9)
        self.assertNoResult(gone)
        self.clock.advance(FLUSH_SECONDS * 0.2)
        self.successResultOf(gone)
        self.assertTrue(transport.aborted)


class Client(Protocol):
    """Counts what it reads; stops reading after the first piece."""

    def __init__(self) -> None:
        self.count = 0
        self.greeted: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        if not self.count:
            cast(ITCPTransport, self.transport).pauseProducing()
            self.greeted.callback(None)
        self.count += len(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(None)


class RealSocketTests(TestCase):
    """What only a kernel's socket shows: a full one, closed."""

    BYTES = 2_000_000

    async def fill(self) -> tuple[Client, Connection, DeliveryFactory]:
        """A client that does not read, and its connection, with more written to it than the kernel takes."""
        real = cast(Any, reactor)
        hub = Hub(real, 60.0, lambda going: None)
        self.addCleanup(hub.stop)
        factory = DeliveryFactory(real, hub)
        # Not trial's folder: its path can be longer than a socket's may be.
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = str(Path(folder.name) / "s")
        self.addCleanup(real.listenUNIX(path, factory).stopListening)
        client = await connectProtocol(UNIXClientEndpoint(real, path), Client())
        await client.greeted
        (connection,) = factory.connections
        self.addCleanup(lambda: connection.transport.abortConnection())
        connection.put(bytes(self.BYTES))
        connection.flush()
        self.assertTrue(connection.paused)
        return client, connection, factory

    async def test_who_reads_on_gets_every_byte_and_then_the_end(self) -> None:
        client, _, factory = await self.fill()
        gone = factory.close()
        cast(ITCPTransport, client.transport).resumeProducing()
        await client.lost
        await gone
        self.assertEqual(client.count, len(encode_event(HELLO)) + self.BYTES)

    async def test_who_does_not_read_is_cut_off(self) -> None:
        self.patch(protocol, "FLUSH_SECONDS", 0.01)
        client, connection, factory = await self.fill()
        await factory.close()
        cast(ITCPTransport, client.transport).resumeProducing()
        await client.lost
        self.assertLess(client.count, self.BYTES)
        await connection.lost

    async def test_what_the_socket_has_not_taken_is_known(self) -> None:
        client, connection, _ = await self.fill()
        self.assertEqual(connection.unsent_bytes, self.BYTES)
        while connection.unsent_bytes == self.BYTES:
            await deferLater(cast(Any, reactor), 0.001)
        self.assertTrue(0 < connection.unsent_bytes < self.BYTES)
        cast(ITCPTransport, client.transport).resumeProducing()
        while connection.unsent_bytes:
            await deferLater(cast(Any, reactor), 0.001)
        while client.count < len(encode_event(HELLO)) + self.BYTES:
            await deferLater(cast(Any, reactor), 0.001)

    async def test_a_socket_that_drains_goes_on(self) -> None:
        client, connection, _ = await self.fill()
        drained: Deferred[None] = Deferred()
        resume = connection.resumeProducing

        def resumed() -> None:
            resume()
            drained.callback(None)

        connection.resumeProducing = resumed  # type: ignore[method-assign]
        cast(ITCPTransport, client.transport).resumeProducing()
        await drained
        self.assertFalse(connection.paused)
        cast(ITCPTransport, client.transport).loseConnection()
        await connection.lost
