from __future__ import annotations

from pathlib import Path
from typing import Any

from klein import Klein
from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Request

from audiosvc.remote import LOG_LINE_MOST, LOG_LINES, START_MOST, TERM_MOST, Control, Daemon, Refused


class StubDaemon:
    """Answers as the daemon does, and keeps what it was asked."""

    app = Klein()

    def __init__(self) -> None:
        self.asked: list[tuple[str, bytes]] = []

    @app.route("/health")
    def health(self, request: Request) -> bytes:
        return b'{"status": "ok"}'

    @app.route("/search")
    def search(self, request: Request) -> bytes:
        self.asked.append(("search", request.args[b"q"][0]))
        return b'{"query": "demo:", "count": 2, "results": [{"url": "demo:one"}, {"url": "demo:two"}]}'

    @app.route("/session/<session_id>/<verb>", methods=["POST"])
    def session(self, request: Request, session_id: str, verb: str) -> bytes:
        self.asked.append((f"{session_id} {verb}", request.content.read()))
        if session_id == "bad":
            request.setResponseCode(422)
            return b'{"status": "error", "code": "not_audio", "message": "no audio"}'
        return b'{"status": "playing"}'


class ControlTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.daemon = StubDaemon()
        self.treq = StubTreq(self.daemon.app.resource())
        self.control = Control(self.treq)

    def ask(self, asking: Any) -> Any:
        answer = Deferred.fromCoroutine(asking)
        self.treq.flush()
        return self.successResultOf(answer)

    def test_a_daemon_that_answers_is_healthy(self) -> None:
        self.assertTrue(self.ask(self.control.healthy()))

    def test_the_built_in_pieces_are_searched_for(self) -> None:
        self.assertEqual(self.ask(self.control.built_in()), ["demo:one", "demo:two"])
        self.assertEqual(self.daemon.asked, [("search", b"demo:")])

    def test_play_and_stop_name_their_session(self) -> None:
        self.ask(self.control.play("play:1", "demo:one"))
        self.ask(self.control.stop("play:1"))
        self.assertEqual(self.daemon.asked, [("play:1 play", b'{"url":"demo:one"}'), ("play:1 stop", b"{}")])

    def test_a_refusal_carries_the_daemons_words(self) -> None:
        refusal = Deferred.fromCoroutine(self.control.play("bad", "demo:one"))
        self.treq.flush()
        self.assertEqual(str(self.failureResultOf(refusal, Refused).value), "no audio (not_audio)")


class FakeProcess:
    def __init__(self) -> None:
        self.signals: list[str] = []

    def signalProcess(self, signal: str) -> None:
        self.signals.append(signal)

    def loseConnection(self) -> None:
        self.signals.append("closed")


class FakeReactor(Clock):
    def spawnProcess(self, protocol: Daemon, executable: str, argv: list[str], env: object) -> FakeProcess:
        self.argv = argv
        self.process = FakeProcess()
        protocol.makeConnection(self.process)
        return self.process


class FakeControl(Control):
    """Of a daemon that answers when it is told to."""

    def __init__(self) -> None:
        self.answers = False

    async def healthy(self) -> bool:
        return self.answers


class DaemonTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.daemon = Daemon(self.reactor)

    def end(self) -> None:
        self.daemon.processEnded(Failure(ProcessDone(0)))

    def test_it_is_twistd_in_the_foreground_without_a_pid_file(self) -> None:
        self.daemon.start("--socket", "s")
        self.assertEqual(self.reactor.argv[-5:], ["-n", "--pidfile=", "audiosvc", "--socket", "s"])

    def test_its_sockets_lie_in_the_folder_however_that_is_called(self) -> None:
        self.daemon.start_in(Path("/t:mp"), "--bitrate=1")
        api = "unix:/t\\:mp/api.sock:mode=600"
        self.assertEqual(self.reactor.argv[-5:], ["--api", api, "--socket", "/t:mp/audio.sock", "--bitrate=1"])
        self.assertEqual((self.daemon.api, self.daemon.socket), (Path("/t:mp/api.sock"), Path("/t:mp/audio.sock")))

    def until_healthy(self, control: FakeControl) -> Deferred[None]:
        self.daemon.start()
        return Deferred.fromCoroutine(self.daemon.until_healthy(control))

    def test_it_is_waited_for_until_it_answers(self) -> None:
        control = FakeControl()
        waiting = self.until_healthy(control)
        self.reactor.advance(1)
        self.assertNoResult(waiting)
        control.answers = True
        self.reactor.advance(1)
        self.successResultOf(waiting)

    def test_one_that_ends_is_not_waited_for(self) -> None:
        waiting = self.until_healthy(FakeControl())
        self.end()
        self.reactor.advance(1)
        self.assertEqual(str(self.failureResultOf(waiting, Refused).value), "it did not start")

    def test_one_that_does_not_answer_is_not_waited_for_for_ever(self) -> None:
        waiting = self.until_healthy(FakeControl())
        self.reactor.advance(START_MOST)
        self.assertNoResult(waiting)
        self.reactor.advance(1)
        self.assertEqual(str(self.failureResultOf(waiting, Refused).value), "it did not answer within 15 s")

    def test_its_last_lines_are_reported_and_steer_no_terminal(self) -> None:
        self.daemon.outReceived(b"one\n\x1b[2Jtwo\n")
        self.assertEqual(self.daemon.report("it failed"), "it failed; its last lines:\n    one\n     [2Jtwo")

    def test_its_last_lines_are_kept_however_they_arrive(self) -> None:
        self.daemon.outReceived(b"one\ntw")
        self.daemon.errReceived(b"o\n\nthr")
        self.assertEqual(list(self.daemon.lines), ["one", "two"])

    def test_an_unfinished_last_line_is_kept_too(self) -> None:
        self.daemon.start()
        self.daemon.outReceived(b"one\nTraceback")
        self.end()
        self.assertEqual(list(self.daemon.lines), ["one", "Traceback"])

    def test_what_is_kept_is_bounded(self) -> None:
        for _ in range(100):
            self.daemon.outReceived(b"x" * 10_000)
        self.daemon.outReceived(b"\n" + b"y\n" * 1000)
        self.assertEqual(len(self.daemon.lines), LOG_LINES)
        self.daemon.outReceived(b"z" * 10_000 + b"\n")
        self.assertEqual(self.daemon.lines[-1], "z" * LOG_LINE_MOST)

    def test_stopping_waits_until_it_is_reaped(self) -> None:
        self.daemon.start()
        stopping = Deferred.fromCoroutine(self.daemon.stop())
        self.assertNoResult(stopping)
        self.assertEqual(self.reactor.process.signals, ["TERM"])
        self.end()
        self.successResultOf(stopping)
        self.reactor.advance(TERM_MOST)
        self.assertEqual(self.reactor.process.signals, ["TERM"])

    def test_it_is_killed_when_it_does_not_go(self) -> None:
        self.daemon.start()
        stopping = Deferred.fromCoroutine(self.daemon.stop())
        self.reactor.advance(TERM_MOST)
        self.assertEqual(self.reactor.process.signals, ["TERM", "KILL", "closed"])
        self.end()
        self.successResultOf(stopping)

    def test_stopping_what_has_ended_is_nothing(self) -> None:
        self.daemon.start()
        self.end()
        self.assertTrue(self.daemon.ended)
        self.successResultOf(Deferred.fromCoroutine(self.daemon.stop()))
        self.assertEqual(self.reactor.process.signals, [])
