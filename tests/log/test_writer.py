from __future__ import annotations

import atexit
import os
import threading
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.log import writer as module
from audiosvc.log.sinks import Stream
from audiosvc.log.writer import WAITING_MOST, Writer

PATIENCE = 30.0


class Sink:
    """Takes what it is given once it may; `fails` is raised instead."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.threads: set[int] = set()
        self.fails: Exception | None = None
        self.may = threading.Event()
        self.may.set()
        self.busy = threading.Event()

    def write(self, line: str, level: str) -> None:
        self.busy.set()
        self.may.wait(PATIENCE)
        self.threads.add(threading.get_ident())
        if self.fails is not None:
            raise self.fails
        self.lines.append(line)


class Written(SynchronousTestCase):
    def setUp(self) -> None:
        self.sink = Sink()
        self.writer = Writer(self.sink)
        self.addCleanup(self.writer.close)
        self.addCleanup(self.sink.may.set)

    def test_before_it_is_started_lines_are_written_at_once(self) -> None:
        self.writer.write("a", "info")
        self.assertEqual((self.sink.lines, self.sink.threads), (["a"], {threading.get_ident()}))
        self.assertEqual((self.writer.written, self.writer.dropped), (1, 0))
        self.writer.close()

    def test_then_by_another_thread_and_in_order(self) -> None:
        self.writer.start()
        for number in range(50):
            self.writer.write(str(number), "info")
        self.writer.close()
        self.assertEqual(self.sink.lines, [str(number) for number in range(50)])
        self.assertNotIn(threading.get_ident(), self.sink.threads)

    def test_who_writes_does_not_wait_and_what_there_is_no_room_for_is_counted(self) -> None:
        self.sink.may.clear()
        self.writer.start()
        self.writer.write("held up", "info")
        self.assertTrue(self.sink.busy.wait(PATIENCE))
        for number in range(WAITING_MOST + 7):
            self.writer.write(str(number), "info")
        self.assertEqual((self.writer.written, self.writer.dropped), (0, 7))
        self.sink.may.set()
        self.writer.close()
        self.assertEqual((len(self.sink.lines), self.writer.dropped), (WAITING_MOST + 1, 7))

    def test_what_cannot_be_written_is_counted_and_the_next_is_tried(self) -> None:
        self.sink.fails = OSError("no space")
        self.writer.write("a", "info")
        self.writer.start()
        self.writer.write("b", "info")
        self.writer.do(lambda: setattr(self.sink, "fails", None))
        self.writer.write("c", "info")
        self.writer.close()
        self.assertEqual((self.sink.lines, self.writer.written, self.writer.dropped), (["c"], 1, 2))

    def test_the_end_does_not_wait_for_a_pipe_that_nobody_reads(self) -> None:
        self.patch(module, "CLOSE_SECONDS", 0.01)
        self.sink.may.clear()
        self.writer.start()
        self.writer.write("a", "info")
        self.writer.close()
        self.writer.write("b", "info")
        self.assertEqual(self.sink.lines, [])

    def test_after_the_end_lines_are_written_at_once_again(self) -> None:
        self.writer.start()
        self.writer.close()
        self.writer.write("a", "info")
        self.assertEqual(self.sink.threads, {threading.get_ident()})

    def test_the_end_of_the_process_is_its_end(self) -> None:
        registered: list[Any] = []
        self.patch(atexit, "register", registered.append)
        self.writer.start()
        self.assertEqual(registered, [self.writer.close])

    def test_a_full_device_is_no_error_of_the_writers(self) -> None:
        full = os.open("/dev/full", os.O_WRONLY)
        self.addCleanup(os.close, full)
        writer = Writer(Stream(full))
        for _ in range(3):
            writer.write("a", "info")
        self.assertEqual((writer.written, writer.dropped), (0, 3))
