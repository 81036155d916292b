"""`python -m audiosvc.listen` as a process of its own, heard by a small stand-in for the daemon."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from audiosvc.codec.ogg import OggDemuxer
from audiosvc.wire.codec import LineDecoder, encode_event, encode_packet
from audiosvc.wire.messages import Finished, Greeting, Hello, Ready, Subscribe

PACKETS = [b"\xfc" + bytes([n]) * 60 for n in range(20)]


def track(session_id: str, track_id: str, end: bool = True) -> bytes:
    parts = [encode_event(Ready(session_id, track_id, "demo:x", "opus", 0.0, "Song"))]
    parts += [encode_packet(session_id, packet) for packet in PACKETS]
    parts += [encode_event(Finished(session_id, track_id, 0.4))] if end else []
    return b"".join(parts)


@implementer(IPushProducer)
class Server(Protocol):
    """Greets, and once the client has greeted back does what the test wants."""

    def __init__(self, play: Callable[[Server], None]) -> None:
        self.play = play
        self.lines: list[Any] = []
        self.full: Deferred[None] = Deferred()
        self._decoder = LineDecoder()

    def connectionMade(self) -> None:
        self.transport.write(encode_event(Hello(1, (), "test/1")))

    def dataReceived(self, data: bytes) -> None:
        self.lines += self._decoder.feed(data)
        if isinstance(self.lines[-1], Greeting):
            self.play(self)

    def pump(self) -> None:
        """Send packets until the client leaves."""
        self.transport.write(track("a", "t1", end=False))
        self._pump = LoopingCall(lambda: self.transport.write(encode_packet("a", PACKETS[0]) * 50))
        self._pump.start(0.005)

    def connectionLost(self, reason: Failure) -> None:
        self.stopProducing()

    def pauseProducing(self) -> None:
        self.stopProducing()
        self.full.callback(None)

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pump = getattr(self, "_pump", None)
        if pump is not None and pump.running:
            pump.stop()


class Tool(ProcessProtocol):
    def __init__(self) -> None:
        self.out, self.said = b"", b""
        self.heard: Deferred[None] = Deferred()
        self.ended: Deferred[int | str] = Deferred()

    def outReceived(self, data: bytes) -> None:
        self.out += data
        if not self.heard.called:
            self.heard.callback(None)

    def errReceived(self, data: bytes) -> None:
        self.said += data

    def processEnded(self, reason: Failure) -> None:
        reason.trap(ProcessDone, ProcessTerminated)
        self.ended.callback(reason.value.exitCode if reason.value.signal is None else f"signal {reason.value.signal}")


def packets(data: bytes) -> list[bytes]:
    return [found.data for found in OggDemuxer().feed(data)][2:]


def ends_properly(data: bytes) -> bool:
    return bool(data[data.rindex(b"OggS") + 5] & 4)


class ListenToolTests(TestCase):
    timeout = 60

    def setUp(self) -> None:
        # Trial's own folders are too deep for the 107 bytes of a Unix socket's path.
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def serve(self, play: Callable[[Server], None]) -> list[Server]:
        servers: list[Server] = []

        class Daemon(Factory):
            noisy = False

            def buildProtocol(self, addr: object) -> Server:
                servers.append(Server(play))
                return servers[-1]

        port = reactor.listenUNIX(str(self.folder / "audio.sock"), Daemon())
        self.addCleanup(port.stopListening)
        return servers

    def run_tool(self, *arguments: str, stdout: int | str = "r") -> Tool:
        tool = Tool()
        argv = [sys.executable, "-m", "audiosvc.listen", *arguments]
        environ = {**os.environ, "AUDIOSVC_SOCKET": str(self.folder / "audio.sock")}
        root = str(Path(__file__).parents[2])
        process = reactor.spawnProcess(tool, sys.executable, argv, environ, root, childFDs={0: "w", 1: stdout, 2: "r"})
        self.addCleanup(lambda: process.pid and process.signalProcess("KILL"))
        return tool

    def until(self, holds: Callable[[], bool]) -> Deferred[LoopingCall]:
        def look() -> None:
            if holds():
                looking.stop()

        looking = LoopingCall(look)
        return looking.start(0.01)

    @inlineCallbacks
    def test_records_one_track_and_ends_with_it(self) -> Any:
        servers = self.serve(lambda server: server.transport.write(track("a", "t1") + track("a", "t2")))
        path = self.folder / "a.ogg"
        tool = self.run_tool("a", "-o", str(path))
        self.assertEqual((yield tool.ended), 0)
        self.assertEqual((packets(path.read_bytes()), ends_properly(path.read_bytes())), (PACKETS, True))
        self.assertEqual(servers[0].lines[0], Subscribe("a"))
        self.assertTrue(servers[0].lines[1].client.startswith("audiosvc.listen/"))
        said = [line.split()[:2] for line in tool.said.decode().splitlines()]
        self.assertEqual(said, [["hello", "protocol=1"], ["a", "ready"], ["a", "finished"]])

    @inlineCallbacks
    def test_writes_to_standard_output_and_nothing_else(self) -> Any:
        self.serve(lambda server: server.transport.write(track("a", "t1")))
        tool = self.run_tool("a", "-o", "-", "--quiet")
        self.assertEqual((yield tool.ended), 0)
        self.assertEqual((packets(tool.out), tool.said), (PACKETS, b""))

    @inlineCallbacks
    def test_a_reader_that_leaves_ends_it_quietly(self) -> Any:
        self.serve(Server.pump)
        tool = self.run_tool("a", "-o", "-", "--quiet")
        yield tool.heard
        tool.transport.closeStdout()
        self.assertEqual((yield tool.ended), 0)
        self.assertEqual(tool.said, b"")

    @inlineCallbacks
    def test_a_signal_ends_the_files_properly(self) -> Any:
        self.serve(
            lambda server: server.transport.write(track("a", "t1") + track("b:1", "t2") + track("a", "t3", False))
        )
        for name in ("INT", "TERM"):
            folder = self.folder / name
            tool = self.run_tool("--follow", "-o", f"{folder}/")
            last = folder / "a-t3.ogg"
            yield self.until(lambda last=last: last.exists() and len(packets(last.read_bytes())) == len(PACKETS))
            tool.transport.signalProcess(name)
            self.assertEqual((yield tool.ended), 0)
            files = {path.name: path.read_bytes() for path in folder.iterdir()}
            self.assertEqual(set(files), {"a-t1.ogg", "b_1-t2.ogg", "a-t3.ogg"})
            self.assertTrue(all(packets(data) == PACKETS and ends_properly(data) for data in files.values()))

    @inlineCallbacks
    def test_a_second_signal_ends_it_even_while_its_reader_stands_still(self) -> Any:
        def play(server: Server) -> None:
            server.transport.registerProducer(server, True)
            server.pump()

        servers = self.serve(play)
        read_end, write_end = os.pipe()
        tool = self.run_tool("a", "-o", "-", stdout=write_end)
        os.close(write_end)
        self.addCleanup(os.close, read_end)
        yield self.until(lambda: bool(servers))
        yield servers[0].full
        tool.transport.signalProcess("TERM")
        ends = LoopingCall(tool.transport.signalProcess, "TERM")
        self.patch(tool, "processExited", lambda reason: ends.running and ends.stop())
        ends.start(0.05, now=False).addErrback(lambda failure: None)
        self.assertEqual((yield tool.ended), f"signal {signal.SIGTERM.value}")

    @inlineCallbacks
    def test_a_daemon_that_goes_away_is_told_and_the_file_stays_whole(self) -> Any:
        def play(server: Server) -> None:
            server.transport.write(track("a", "t1", end=False))
            server.transport.loseConnection()

        self.serve(play)
        path = self.folder / "a.ogg"
        tool = self.run_tool("a", "-o", str(path), "--quiet")
        self.assertEqual((yield tool.ended), 1)
        self.assertEqual(tool.said, b"the daemon went away\n")
        self.assertEqual((packets(path.read_bytes()), ends_properly(path.read_bytes())), (PACKETS, True))

    @inlineCallbacks
    def test_says_so_where_no_daemon_is_and_touches_no_file(self) -> Any:
        path = self.folder / "a.ogg"
        path.write_bytes(b"an earlier recording")
        tool = self.run_tool("a", "-o", str(path))
        self.assertEqual((yield tool.ended), 1)
        self.assertTrue(tool.said.startswith(f"no daemon at {self.folder}/audio.sock: ".encode()), tool.said)
        self.assertEqual(path.read_bytes(), b"an earlier recording")

    @inlineCallbacks
    def test_says_so_where_nothing_can_be_written(self) -> Any:
        self.serve(Server.pump)
        path = self.folder / "a.ogg"
        path.symlink_to("/dev/full")
        tool = self.run_tool("a", "-o", str(path), "--quiet")
        self.assertEqual((yield tool.ended), 1)
        self.assertEqual(set(tool.said.splitlines()), {b"cannot write: [Errno 28] No space left on device"})
