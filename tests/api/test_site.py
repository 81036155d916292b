"""The server in front of the endpoints, byte by byte."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.web import http

from audiosvc import errors
from audiosvc.api.guard import BODY_MOST
from audiosvc.api.peers import FAILURE_SECONDS, FAILURES_MOST
from audiosvc.api.routes import Routes
from audiosvc.api.site import (
    CONNECTIONS_MOST,
    CONNECTIONS_MOST_A_PEER,
    IDLE_SECONDS,
    QUIET_SECONDS,
    REQUEST_SECONDS,
    make_site,
)
from audiosvc.log.levels import Levels
from tests.api.support import TONE, VITALS, Ask, Connection, FakeSessions, FakeSources

GET = b"GET /sessions HTTP/1.1\r\nHost: localhost\r\n\r\n"
METADATA = b"GET /metadata?url=demo:tone HTTP/1.1\r\nHost: localhost\r\n\r\n"
STOP = b"POST /session/a/stop HTTP/1.1\r\nHost: localhost\r\n"
JSON = b"Content-Type: application/json\r\n"
CHUNKED = STOP + JSON + b"Transfer-Encoding: chunked\r\n\r\n"


class SiteCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sessions = FakeSessions()
        self.sources = FakeSources()
        self.site = make_site(self.clock, Routes(self.sessions, self.sources, lambda: VITALS, Levels("info")), [], None)
        self.traffic = self.site.traffic
        self.connection = Connection(self.site)

        def no_file(*_: Any, **__: Any) -> None:
            raise AssertionError("a request body went to a file")

        self.patch(http.tempfile, "TemporaryFile", no_file)

    def codes(self, data: bytes) -> list[Any]:
        return [answer.json.get("code", answer.status) for answer in self.connection.send(data)]


class Bodies(SiteCase):
    def test_too_long_a_body_is_refused_before_it_arrives(self) -> None:
        head = STOP + JSON + b"Content-Length: %d\r\n\r\n" % (BODY_MOST + 1)
        self.assertEqual(self.codes(head), ["body_too_large"])
        self.assertFalse(self.connection.open)

    def test_the_longest_body_allowed_is_read(self) -> None:
        body = b"{" + b" " * (BODY_MOST - 2) + b"}"
        self.assertEqual(self.codes(STOP + JSON + b"Content-Length: %d\r\n\r\n" % len(body) + body[:100]), [])
        self.assertEqual(self.codes(body[100:]), [200])
        self.assertEqual(self.codes(CHUNKED + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"), [200])
        self.assertTrue(self.connection.open)

    def test_chunks_are_refused_as_soon_as_they_are_too_many(self) -> None:
        self.assertEqual(self.codes(CHUNKED), [])
        for _ in range(BODY_MOST // 4096):
            self.assertEqual(self.codes(b"1000\r\n" + b" " * 4096 + b"\r\n"), [])
        self.assertEqual(self.codes(b"1000\r\n "), ["body_too_large"])
        self.assertFalse(self.connection.open)
        self.assertEqual(self.sessions.asked, [])

    def test_what_follows_in_the_same_bytes_is_not_looked_at(self) -> None:
        rest = b"1\r\n \r\n" * 10 + b"0\r\n\r\n" + GET
        self.assertEqual(self.codes(CHUNKED + b"10001\r\n" + b" " * 65_537 + b"\r\n" + rest), ["body_too_large"])

    def test_what_arrives_behind_a_refusal_is_not_looked_at(self) -> None:
        self.assertEqual(self.codes(b"nonsense\r\n"), ["bad_request"])
        self.connection.protocol.dataReceived(GET)
        self.assertEqual(self.connection.transport.value(), b"")

    def test_broken_chunks_after_too_many_are_answered_once(self) -> None:
        self.assertEqual(self.codes(CHUNKED + b"10001\r\n" + b" " * 65_537 + b"\r\nx\r\n"), ["body_too_large"])

    def test_a_form_is_turned_away_by_its_headers(self) -> None:
        def parsed(*_: Any) -> None:
            raise AssertionError("a form was parsed")

        self.patch(http, "_getMultiPartArgs", parsed)
        for form in (b"multipart/form-data; boundary=x", b"application/x-www-form-urlencoded"):
            connection = Connection(self.site)
            head = STOP + b"Content-Type: " + form + b"\r\nContent-Length: 9\r\n\r\n"
            (answer,) = connection.send(head + b"--x--\r\n\r\n")
            self.assertEqual(answer.json["code"], "unsupported_media_type")
            self.assertEqual(answer.headers["Connection"], "close")
            self.assertFalse(connection.open)

    def test_a_refusal_names_the_session(self) -> None:
        (answer,) = self.connection.send(STOP + b"Content-Length: 2\r\n\r\n{}")
        self.assertEqual((answer.status, answer.json["session_id"]), (415, "a"))

    def test_who_waits_for_leave_to_send_gets_it_or_the_refusal(self) -> None:
        head = STOP + JSON + b"Expect: 100-continue\r\n"
        (interim,) = self.connection.send(head + b"Content-Length: 2\r\n\r\n")
        self.assertEqual(interim.status, 100)
        self.assertEqual(self.codes(b"{}"), [200])
        (refusal,) = self.connection.send(head + b"Content-Length: 99999\r\n\r\n")
        self.assertEqual(refusal.status, 413)

    def test_a_body_where_none_is_due_is_read_and_ignored(self) -> None:
        get = GET[:-2] + JSON + b"Content-Length: 5\r\n\r\nhello"
        self.assertEqual(self.codes(get + get), [200, 200])

    def test_an_unknown_path_takes_no_larger_a_body(self) -> None:
        head = b"POST /nope HTTP/1.1\r\nHost: localhost\r\n" + JSON + b"Content-Length: 300000000\r\n\r\n"
        self.assertEqual(self.codes(head), ["body_too_large"])


class Requests(SiteCase):
    def test_any_split_of_the_bytes_gives_the_same_answer(self) -> None:
        raw = STOP + JSON + b"Content-Length: 2\r\n\r\n{}"
        answers = [answer for byte in raw for answer in self.connection.send(bytes([byte]))]
        self.assertEqual([answer.json for answer in answers], [{"status": "stopped", "session_id": "a"}])

    def test_pipelined_requests_are_answered_in_their_order(self) -> None:
        raw = GET + STOP + b"\r\n" + GET.replace(b"/sessions", b"/nope") + GET
        self.assertEqual(self.codes(raw), [200, 200, "no_such_endpoint", 200])
        self.assertTrue(self.connection.open)

    def test_a_pipelined_request_waits_for_a_slow_one_before_it(self) -> None:
        self.sources.pending = Deferred()
        self.assertEqual(self.codes(METADATA + GET[:10]), [])
        self.assertEqual(self.codes(GET[10:]), [])
        self.clock.advance(REQUEST_SECONDS * 3)
        self.assertTrue(self.connection.open)
        self.sources.pending.callback(TONE)
        self.assertEqual([answer.status for answer in self.connection.send(b"")], [200, 200])

    def test_a_look_ends_when_nobody_waits_for_it(self) -> None:
        cancelled: list[Deferred[Any]] = []
        self.sources.pending = Deferred(cancelled.append)
        self.connection.send(METADATA)
        self.assertEqual(cancelled, [])
        self.connection.transport.loseConnection()
        self.assertEqual(cancelled, [self.sources.pending])

    def test_a_refusal_without_a_body_leaves_the_connection_open(self) -> None:
        self.assertEqual(self.codes(GET.replace(b"localhost", b"evil.example") + GET), ["host_not_allowed", 200])

    def test_a_client_that_wants_to_go_is_let_go(self) -> None:
        self.assertEqual(self.codes(GET[:-2] + b"Connection: close\r\n\r\n" + GET), [200])
        self.assertFalse(self.connection.open)

    def test_http_1_0_gets_one_answer(self) -> None:
        self.assertEqual(self.codes(GET.replace(b"1.1", b"1.0") + GET), [200])
        self.assertFalse(self.connection.open)

    def test_bytes_that_are_no_request_are_answered_once_in_json(self) -> None:
        for raw in (
            b"hello\r\n",
            b"GET /\r\n\r\n" + GET,
            b"\x16\x03\x01\x02\x00\r\n\r\n",
            b"x" * 20_000,
            GET[:-2] + b"Bad Name: x\r\n\r\n",
            GET[:-2] + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        ):
            connection = Connection(self.site)
            (answer,) = connection.send(raw)
            self.assertEqual((answer.status, answer.json["code"]), (400, "bad_request"), raw)
            self.assertEqual(answer.headers["Server"], "audiosvc")
            self.assertFalse(connection.open)

    def test_a_request_hidden_behind_two_lengths_is_not_served(self) -> None:
        hidden = b"0\r\n\r\n" + STOP + b"\r\n"
        for lengths in (
            b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n" % len(hidden),
            b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n" % len(hidden),
            b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(hidden),
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity, chunked\r\n",
        ):
            connection = Connection(self.site)
            answers = connection.send(GET[:-2] + JSON + lengths + b"\r\n" + hidden)
            self.assertEqual([answer.status for answer in answers], [400], lengths)
        self.assertEqual(self.sessions.asked, [])

    def test_a_target_that_is_no_path_is_refused(self) -> None:
        for target in ("*", "http://localhost/sessions", "localhost:8180", "?"):
            answer = Connection(self.site).ask(Ask("OPTIONS", target))
            self.assertEqual((answer.status, answer.json["code"]), (400, "bad_request"), target)

    def test_what_breaks_outside_the_endpoints_is_json_too(self) -> None:
        self.patch(self.site.resource, "render", lambda request: 1 / 0)
        self.assertEqual(self.codes(GET), ["internal"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_answers_and_problems_are_counted(self) -> None:
        self.codes(GET + GET.replace(b"localhost", b"evil.example") + b"nonsense\r\n")
        self.assertEqual(self.traffic.answers, {200: 1, 421: 1, 400: 1})
        self.assertEqual(self.traffic.problems, {"host_not_allowed": 1, "bad_request": 1})

    def test_a_token_is_asked_for_on_every_path(self) -> None:
        site = make_site(self.clock, Routes(self.sessions, self.sources, lambda: VITALS, Levels("info")), [], b"secret")
        connection = Connection(site)
        for path in (b"/health", b"/metrics", b"/openapi.json", b"/sessions", b"/nope"):
            (answer,) = connection.send(GET.replace(b"/sessions", path))
            self.assertEqual((answer.status, answer.headers["WWW-Authenticate"]), (401, "Bearer"))
        self.assertEqual(site.traffic.problems, {errors.Unauthorized.code: 5})
        (answer,) = connection.send(GET[:-2] + b"Authorization: Bearer secret\r\n\r\n")
        self.assertEqual(answer.status, 200)

    def test_too_many_wrong_tokens_are_told_so_and_closed_and_a_right_one_is_taken(self) -> None:
        site = make_site(self.clock, Routes(self.sessions, self.sources, lambda: VITALS, Levels("info")), [], b"secret")
        right = GET[:-2] + b"Authorization: Bearer secret\r\n\r\n"
        connection = Connection(site)
        answers = connection.send(GET * (FAILURES_MOST + 1) + right)
        self.assertEqual([answer.status for answer in answers], [401] * FAILURES_MOST + [429])
        self.assertEqual((answers[-1].json["code"], answers[-1].headers["Retry-After"]), ("too_many_failures", "1"))
        self.assertEqual(answers[-1].headers["Connection"], "close")
        self.assertFalse(connection.open)
        self.assertEqual([answer.status for answer in Connection(site).send(right + right)], [200, 200])
        self.assertEqual([answer.status for answer in Connection(site).send(GET)], [429])
        self.assertEqual([answer.status for answer in Connection(site, "192.0.2.1").send(GET)], [401])
        self.clock.advance(FAILURE_SECONDS)
        self.assertEqual([answer.status for answer in Connection(site).send(GET)], [401])
        self.assertEqual(site.traffic.problems, {"unauthorized": FAILURES_MOST + 2, "too_many_failures": 2})


class Time(SiteCase):
    def drip(self, data: bytes, every: float) -> float:
        """Seconds until the connection was closed while `data` dripped, byte by byte."""
        start = self.clock.seconds()
        for byte in data:
            if not self.connection.open:
                break
            self.connection.send(bytes([byte]))
            self.clock.advance(every)
        return self.clock.seconds() - start

    def test_a_head_that_drips_is_cut_off(self) -> None:
        self.assertEqual(self.drip(GET[:-2] + b"X: y\r\n" * 100, 0.5), REQUEST_SECONDS)
        self.assertEqual(self.traffic.connections_timed_out, 1)
        self.assertEqual(self.traffic.connections, 0)

    def test_a_body_that_drips_is_cut_off(self) -> None:
        self.connection.send(STOP + JSON + b"Content-Length: 60000\r\n\r\n")
        self.assertEqual(self.drip(b" " * 100, 0.5), REQUEST_SECONDS)

    def test_a_second_request_has_as_long_as_the_first(self) -> None:
        self.assertEqual(self.drip(GET, 0.125), len(GET) * 0.125)
        self.clock.advance(30)
        self.assertEqual(self.drip(GET[:-2] + b"X: y\r\n" * 100, 0.5), REQUEST_SECONDS)

    def test_a_connection_without_a_byte_is_closed(self) -> None:
        self.clock.advance(REQUEST_SECONDS)
        self.assertFalse(self.connection.open)

    def test_an_idle_connection_is_kept_for_a_while(self) -> None:
        self.connection.send(GET)
        self.clock.advance(IDLE_SECONDS - 1)
        self.assertEqual(self.codes(GET), [200])
        self.clock.advance(IDLE_SECONDS - 1)
        self.assertTrue(self.connection.open)
        self.clock.advance(1)
        self.assertFalse(self.connection.open)
        self.assertEqual(self.traffic.connections_timed_out, 0)

    def test_a_client_that_does_not_take_its_last_answer_is_cut_off(self) -> None:
        aborted: list[bool] = []
        self.patch(self.connection.transport, "loseConnection", lambda: None)
        self.patch(self.connection.transport, "abortConnection", lambda: aborted.append(True))
        self.connection.send(GET[:-2] + b"Connection: close\r\n\r\n")
        self.clock.advance(REQUEST_SECONDS - 1)
        self.assertEqual(aborted, [])
        self.clock.advance(1)
        self.assertEqual(aborted, [True])

    def test_nothing_is_left_to_wait_for(self) -> None:
        self.connection.send(GET + STOP)
        self.connection.transport.loseConnection()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class Connections(SiteCase):
    def test_past_the_limit_the_slowest_to_ask_makes_way(self) -> None:
        self.connection.send(GET)
        others = [Connection(self.site) for _ in range(CONNECTIONS_MOST - 1)]
        others[0].send(STOP)
        self.assertEqual([answer.status for answer in Connection(self.site).send(GET)], [200])
        self.assertEqual([c.open for c in (self.connection, *others[:2])], [True, False, True])
        self.assertEqual((self.traffic.connections, self.traffic.connections_refused), (CONNECTIONS_MOST, 1))
        self.clock.advance(REQUEST_SECONDS)
        self.assertEqual(self.traffic.connections, 2)

    def test_past_the_limit_none_is_taken_where_none_is_slow(self) -> None:
        connections = [self.connection, *(Connection(self.site) for _ in range(CONNECTIONS_MOST - 1))]
        for connection in connections:
            connection.send(GET)
        self.assertIsNone(self.site.buildProtocol(None))
        self.assertIsNone(self.site.buildProtocol(None))
        self.assertEqual(self.traffic.connections_refused, 2)
        connections[0].transport.loseConnection()
        self.assertEqual([answer.status for answer in Connection(self.site).send(GET)], [200])

    def test_one_address_beyond_this_machine_has_fewer_and_takes_none_from_others(self) -> None:
        far = [Connection(self.site, "192.0.2.1") for _ in range(CONNECTIONS_MOST_A_PEER)]
        far[0].send(GET)
        self.connection.send(STOP)
        self.assertEqual([answer.status for answer in Connection(self.site, "192.0.2.1").send(GET)], [200])
        # Of its own the slowest makes way, though another caller is slower.
        self.assertEqual([c.open for c in (self.connection, *far[:3])], [True, True, False, True])
        self.assertEqual([answer.status for answer in Connection(self.site, "192.0.2.2").send(GET)], [200])
        self.assertEqual(self.traffic.connections, CONNECTIONS_MOST_A_PEER + 2)
        for connection in far[2:]:
            connection.send(GET)
        self.assertIsNone(self.site.buildProtocol(far[0].transport.getPeer()))
        self.assertEqual(self.traffic.connections_refused, 2)
        for connection in far:
            connection.transport.loseConnection()
        self.assertEqual({peer.name for peer in self.site.open_by}, {"127.0.0.1", "192.0.2.1", "192.0.2.2"})

    def test_the_log_is_told_once_in_a_while(self) -> None:
        told: list[LogEvent] = []
        globalLogPublisher.addObserver(told.append)
        self.addCleanup(globalLogPublisher.removeObserver, told.append)
        for _ in range(CONNECTIONS_MOST + 5):
            Connection(self.site)
        self.clock.advance(QUIET_SECONDS)
        for _ in range(CONNECTIONS_MOST + 5):
            Connection(self.site)
        texts = [text for text in map(formatEvent, told) if text.startswith("Closing connections")]
        self.assertEqual(texts, ["Closing connections to the API: 256 are open, 256 of them 127.0.0.1's"] * 2)

    def test_over_tls_no_other_http_is_offered(self) -> None:
        self.assertEqual(self.site.acceptableProtocols(), [b"http/1.1"])
