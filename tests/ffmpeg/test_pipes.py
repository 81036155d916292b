"""A pipe's reading end gives what is asked of it, and calls once when there is something."""

from __future__ import annotations

import fcntl
import os

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.ffmpeg.pipes import PIPE_BYTES, READ_MOST, PullPipe, make_pipe
from tests.fakes import FakeReactor


class PullPipeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        reading, self.writing = make_pipe()
        self.pipe = PullPipe(self.reactor, reading)
        self.addCleanup(self.reactor.advance, 0)
        self.addCleanup(self.pipe.close)
        self.addCleanup(self.hang_up)
        self.calls: list[str] = []

    def hang_up(self) -> None:
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    def test_gives_what_is_there_up_to_what_is_asked_for(self) -> None:
        os.write(self.writing, b"abcdef")
        self.assertEqual([self.pipe.read(4), self.pipe.read(4), self.pipe.read(4)], [b"abcd", b"ef", b""])

    def test_takes_a_good_piece_where_nothing_is_said(self) -> None:
        os.write(self.writing, b"x" * READ_MOST)
        self.assertEqual(len(self.pipe.read() or b""), READ_MOST)

    def test_the_end_is_told_from_there_being_nothing_now(self) -> None:
        os.write(self.writing, b"last")
        self.hang_up()
        self.assertEqual([self.pipe.read(), self.pipe.read(), self.pipe.read()], [b"last", None, None])

    def test_calls_once_and_reads_nothing_by_itself(self) -> None:
        self.pipe.when_readable(lambda: self.calls.append("readable"))
        self.reactor.poll()
        self.assertEqual(self.calls, [])
        os.write(self.writing, b"abc")
        self.reactor.poll()
        self.reactor.poll()
        self.assertEqual(self.calls, ["readable"])
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(self.pipe.read(), b"abc")

    def test_asking_twice_calls_the_latter_once(self) -> None:
        self.pipe.when_readable(lambda: self.calls.append("first"))
        self.pipe.when_readable(lambda: self.calls.append("second"))
        os.write(self.writing, b"abc")
        self.reactor.poll()
        self.assertEqual(self.calls, ["second"])

    def test_may_be_asked_again_from_within_the_call(self) -> None:
        def more() -> None:
            self.calls.append((self.pipe.read(1) or b"").decode())
            if len(self.calls) < 3:
                self.pipe.when_readable(more)

        self.pipe.when_readable(more)
        os.write(self.writing, b"abc")
        self.reactor.poll()
        self.assertEqual(self.calls, ["a", "b", "c"])

    def test_calls_at_the_end(self) -> None:
        for how in (self.reactor.poll, lambda: self.pipe.connectionLost(Failure(ConnectionLost()))):
            self.pipe.when_readable(lambda: self.calls.append("end"))
            self.hang_up()
            how()
        self.assertEqual(self.calls, ["end", "end"])
        self.assertEqual(self.reactor.getReaders(), [])

    def test_closed_it_is_at_its_end_and_calls_nobody(self) -> None:
        fd = self.pipe.fileno()
        self.pipe.when_readable(lambda: self.calls.append("readable"))
        os.write(self.writing, b"abc")
        self.pipe.close()
        self.pipe.close()
        self.assertEqual(self.reactor.getReaders(), [])
        self.reactor.advance(0)
        self.assertRaises(OSError, os.fstat, fd)
        self.assertEqual((self.pipe.fileno(), self.pipe.read()), (-1, None))
        self.pipe.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.calls, [])

    def test_its_number_is_nobody_elses_while_the_reactor_may_have_an_event_of_it(self) -> None:
        fd = self.pipe.fileno()
        self.pipe.when_readable(lambda: None)
        self.hang_up()
        self.pipe.close()
        newcomers = os.pipe()
        for end in newcomers:
            self.addCleanup(os.close, end)
        self.assertNotIn(fd, newcomers)
        self.reactor.advance(0)
        self.assertRaises(OSError, os.fstat, fd)

    def test_names_itself_in_the_log(self) -> None:
        self.assertEqual(self.pipe.logPrefix(), "ffmpeg")


class MakePipeTests(SynchronousTestCase):
    def make(self, size: int | None) -> tuple[int, int]:
        ends = make_pipe(size)
        for end in ends:
            self.addCleanup(os.close, end)
        return ends

    def test_no_child_inherits_it(self) -> None:
        self.assertEqual([os.get_inheritable(end) for end in self.make(None)], [False, False])

    def test_is_as_large_as_asked_for_where_the_kernel_grants_it(self) -> None:
        _, writing = self.make(PIPE_BYTES)
        self.assertIn(fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ), (PIPE_BYTES, 65_536, 4096))

    def test_is_the_kernels_own_size_where_it_does_not(self) -> None:
        _, writing = self.make(1 << 31)
        self.assertEqual(fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ), 65_536)
