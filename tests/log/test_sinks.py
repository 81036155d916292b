from __future__ import annotations

import errno
import os
import syslog
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.log import sinks
from audiosvc.log.sinks import STDOUT, File, Stream, Syslog, sink_for


class FullDisk:
    """`os.write` to a place that has room for so many bytes."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.held = b""

    def write(self, fd: int, data: bytes) -> int:
        taken = data[: self.room]
        if not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(taken)
        self.held += taken
        return len(taken)


class SinkTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)


class Streams(SinkTestCase):
    def test_a_line_is_written_with_its_end(self) -> None:
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        Stream(writing).write("Füße", "info")
        self.assertEqual(os.read(reading, 100), "Füße\n".encode())

    def test_what_was_written_in_part_is_ended_before_the_next_line(self) -> None:
        disk = FullDisk(5)
        self.patch(sinks.os, "write", disk.write)
        stream = Stream()
        self.assertRaises(OSError, stream.write, "first line", "info")
        self.assertRaises(OSError, stream.write, "second", "info")
        disk.room = 100
        stream.write("third", "info")
        stream.write("fourth", "info")
        self.assertEqual(disk.held, b"first\nthird\nfourth\n")

    def test_a_line_of_which_nothing_was_written_leaves_no_trace(self) -> None:
        disk = FullDisk(0)
        self.patch(sinks.os, "write", disk.write)
        stream = Stream()
        self.assertRaises(OSError, stream.write, "lost", "info")
        disk.room = 100
        stream.write("there", "info")
        self.assertEqual(disk.held, b"there\n")


class Files(SinkTestCase):
    def open(self, **options: Any) -> File:
        file = File("log", str(self.folder), **options)
        self.addCleanup(lambda: None if file.closed else file.close())
        return file

    def test_lines_are_added_to_what_is_there(self) -> None:
        (self.folder / "log").write_text("before\n")
        self.open().write("after", "info")
        self.assertEqual((self.folder / "log").read_text(), "before\nafter\n")

    def test_past_its_length_another_is_begun(self) -> None:
        file = self.open(rotateLength=10)
        for line in ("one", "two", "three", "four"):
            file.write(line, "info")
        self.assertEqual((self.folder / "log.1").read_text(), "one\ntwo\nthree\n")
        self.assertEqual((self.folder / "log").read_text(), "four\n")

    def test_where_another_cannot_be_begun_it_is_tried_again_with_the_next_line(self) -> None:
        file = self.open(rotateLength=4)
        file.write("one", "info")
        openings: list[int] = []

        def no_room(this: File) -> None:
            openings.append(1)
            raise OSError(errno.ENOSPC, "No space left on device")

        patch = self.patch(sinks.LogFile, "_openFile", no_room)
        self.assertRaises(OSError, file.write, "two", "info")
        self.assertRaises(OSError, file.write, "three", "info")
        patch.restore()
        file.write("four", "info")
        self.assertEqual(len(openings), 2)
        self.assertEqual((self.folder / "log").read_text(), "four\n")
        self.assertEqual((self.folder / "log.1").read_text(), "one\n")


class SyslogTests(SinkTestCase):
    def test_each_line_is_a_message_of_its_level(self) -> None:
        said: list[tuple[Any, ...]] = []
        self.patch(sinks.syslog, "openlog", lambda *args: said.append(args))
        self.patch(sinks.syslog, "syslog", lambda *args: said.append(args))
        sink = Syslog("audiosvc")
        sink.write("a\n\tb", "error")
        sink.write("c", "debug")
        self.assertEqual(said, [("audiosvc",), (syslog.LOG_ERR, "a"), (syslog.LOG_ERR, "\tb"), (syslog.LOG_DEBUG, "c")])


class Choice(SinkTestCase):
    def test_standard_output_unless_something_else_is_said(self) -> None:
        for twistd in ({}, {"nodaemon": True, "logfile": None}, {"nodaemon": 1, "logfile": "-"}):
            sink = sink_for(twistd)
            assert isinstance(sink, Stream)
            self.assertEqual(sink._fd, STDOUT)

    def test_in_the_background_there_is_none(self) -> None:
        self.assertRaises(SystemExit, sink_for, {"nodaemon": 0, "logfile": "-"})

    def test_a_file_where_one_is_named_or_none_else_can_be(self) -> None:
        here = Path.cwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.folder)
        for twistd, name in (
            ({"nodaemon": 1, "logfile": "named"}, "named"),
            ({"nodaemon": 0, "logfile": str(self.folder / "full")}, "full"),
            ({"nodaemon": 0, "logfile": None}, "twistd.log"),
        ):
            sink = sink_for(twistd)
            assert isinstance(sink, File)
            sink.write("x", "info")
            sink.close()
            self.assertEqual((self.folder / name).read_text(), "x\n")

    def test_the_systems_log_goes_before_a_file(self) -> None:
        opened: list[str] = []
        self.patch(sinks.syslog, "openlog", opened.append)
        self.assertIsInstance(sink_for({"syslog": 1, "prefix": "p", "logfile": "x"}), Syslog)
        self.assertEqual(opened, ["p"])
