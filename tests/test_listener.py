from __future__ import annotations

from unittest import mock

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.listener import Listener
from audiosvc.wire.codec import WireError, encode_event, encode_packet
from audiosvc.wire.messages import Finished, Ready

READY = Ready("a", "t1", "demo:x", "opus", 0.0, "Song")


class ListenerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.heard: list[object] = []
        self.lost: list[Failure] = []
        self.transport = StringTransport()
        self.listener = Listener(lambda *packet: self.heard.append(packet), self.heard.append, self.lost.append)
        self.listener.makeConnection(self.transport)

    def test_hands_on_packets_and_events_in_their_order_at_any_split(self) -> None:
        data = encode_event(READY) + encode_packet("a", b"1") + encode_event(Finished("a", "t1", 0.02))
        for at in range(len(data)):
            self.listener.dataReceived(data[at : at + 1])
        self.assertEqual(self.heard, [READY, ("a", b"1"), Finished("a", "t1", 0.02)])

    def test_says_what_it_wants_in_lines(self) -> None:
        self.listener.subscribe("guild-a")
        self.listener.hello("me/1")
        lines = [
            b'{"type":"subscribe","session_id":"guild-a"}',
            b'{"type":"hello","client":"me/1"}',
        ]
        self.assertEqual(self.transport.value().splitlines(), lines)

    def test_tells_that_the_connection_is_gone(self) -> None:
        self.listener.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.lost[0].check(ConnectionDone))

    def test_leaves_a_broken_stream_after_what_was_whole(self) -> None:
        self.listener.dataReceived(encode_packet("a", b"1") + b"\xff\xff\xff\xff")
        self.listener.dataReceived(b"more")
        self.assertEqual((self.heard, self.transport.disconnecting), ([("a", b"1")], True))
        self.listener.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(self.lost[0].check(WireError))
        self.assertEqual(self.lost[0].value.code, "invalid_length")

    def test_closes_only_what_was_open(self) -> None:
        Listener(mock.Mock(), mock.Mock(), mock.Mock()).close()
        self.listener.close()
        self.assertTrue(self.transport.disconnecting)
