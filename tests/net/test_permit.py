"""What a permit allows, by the clock."""

from __future__ import annotations

from typing import Any, cast
from urllib.parse import urlsplit

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.errors import BlockedAddress, ExtractionFailed, SourceEndedEarly, UnsupportedUrl
from audiosvc.interfaces import IPermit
from audiosvc.net.permit import CONNECTIONS_MOST, REQUESTS_FIRST, REQUESTS_PER_SECOND, Permit


class FakeConnection:
    dropped = 0

    def drop(self) -> None:
        self.dropped += 1


class PermitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.closed: list[Permit] = []
        self.permit = Permit("p7", "session 7", ("127.0.0.1", 3128), ["enter", "--"], self.clock, self.closed.append)

    def ask(self, times: int = 1) -> None:
        for _ in range(times):
            connection = FakeConnection()
            self.permit.take(connection)
            self.permit.connections.discard(connection)

    def test_it_is_what_a_holder_expects(self) -> None:
        permit: IPermit = cast(Any, self.permit)
        self.assertEqual(list(permit.environment), ["http_proxy"])
        self.assertEqual(tuple(permit.prefix), ("enter", "--"))
        self.assertEqual((permit.denial, permit.trouble), (None, None))

    def test_what_was_asked_last_is_what_it_has_trouble_with(self) -> None:
        first, second = FakeConnection(), FakeConnection()
        self.permit.take(first)
        self.permit.fail(first, error := SourceEndedEarly())
        self.assertIs(self.permit.trouble, error)
        self.permit.take(second)
        self.assertIsNone(self.permit.trouble)
        self.permit.fail(first, error)
        self.assertIsNone(self.permit.trouble)

    def test_the_way_to_the_door_is_a_whole_http_url_with_the_token_in_it(self) -> None:
        way = urlsplit(self.permit.environment["http_proxy"])
        self.assertEqual((way.scheme, way.username, way.hostname, way.port), ("http", "p7", "127.0.0.1", 3128))
        assert way.password is not None
        self.assertGreaterEqual(len(way.password), 32)
        self.assertTrue(self.permit.shows(way.password))
        for wrong in ("", way.password[:-1], way.password + "x", "\xe9"):
            self.assertFalse(self.permit.shows(wrong))

    def test_no_two_tokens_are_the_same(self) -> None:
        other = Permit("p7", "x", ("127.0.0.1", 3128), (), self.clock, self.closed.append)
        self.assertNotEqual(other.environment, self.permit.environment)

    def test_before_there_is_sound_there_are_so_many_requests_and_no_more_however_long_it_takes(self) -> None:
        self.ask(REQUESTS_FIRST)
        self.clock.advance(1000)
        error = self.assertRaises(UnsupportedUrl, self.ask)
        self.assertIn(f"more than {REQUESTS_FIRST} requests", error.message)

    def test_from_the_first_sound_on_they_come_back_at_a_steady_rate(self) -> None:
        self.ask(REQUESTS_FIRST)
        self.permit.flowing()
        self.assertRaises(UnsupportedUrl, self.ask)
        self.clock.advance(1)
        self.permit.flowing()
        self.ask(REQUESTS_PER_SECOND)
        self.assertRaises(UnsupportedUrl, self.ask)
        self.clock.advance(1000)
        self.ask(REQUESTS_FIRST)
        self.assertRaises(UnsupportedUrl, self.ask)

    def test_connections_at_once_are_bounded(self) -> None:
        connections = [FakeConnection() for _ in range(CONNECTIONS_MOST)]
        for connection in connections:
            self.permit.take(connection)
        self.assertRaises(UnsupportedUrl, self.permit.take, FakeConnection())
        self.permit.connections.discard(connections[0])
        self.permit.take(FakeConnection())

    def test_answers_are_bounded_all_together_where_it_is_said(self) -> None:
        self.permit.answered(2**40)
        bounded = Permit("p8", "x", ("127.0.0.1", 3128), (), self.clock, self.closed.append, 2**20)
        bounded.answered(2**20 - 1)
        bounded.answered(1)
        bounded.take(FakeConnection())
        error = self.assertRaises(ExtractionFailed, bounded.answered, 1)
        self.assertEqual(error.message, "the page takes more than 1 MiB to read")
        self.assertRaises(ExtractionFailed, bounded.take, FakeConnection())

    def test_of_denials_the_first_stands(self) -> None:
        first = BlockedAddress("a")
        self.permit.deny(first)
        self.permit.deny(UnsupportedUrl("b"))
        self.assertIs(self.permit.denial, first)

    def test_closed_is_closed_once_and_so_are_its_connections(self) -> None:
        connection = FakeConnection()
        self.permit.take(connection)
        self.permit.close()
        self.permit.close()
        self.assertEqual((self.closed, connection.dropped), ([self.permit], 1))
