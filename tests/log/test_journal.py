from __future__ import annotations

import errno
import json
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import Application
from twisted.logger import ILogObserver, Logger, LogPublisher
from twisted.python import log as old_log
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.log.journal import Journal
from audiosvc.log.levels import Levels
from audiosvc.vitals import LogVitals

EVIL = "x\x1b[31m\r\n{0.__class__} %s http://u:p@h/a?token=1"


class JournalTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.file = Path(temporary.name) / "log"
        before = signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        self.addCleanup(signal.signal, signal.SIGUSR1, before)

    def journal(self, format: str = "json", level: str = "info") -> Journal:
        journal = Journal(format, Levels(level))
        self.application = Componentized()
        journal.install(self.application, {"logfile": str(self.file), "nodaemon": True})
        self.log = Logger("a.b", observer=journal)
        return journal

    def lines(self) -> list[str]:
        return self.file.read_text("utf-8").splitlines()

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]


class Events(JournalTestCase):
    def test_the_message_is_the_format_with_the_fields_that_stand_beside_it(self) -> None:
        self.journal()
        self.log.warn("{session}: {code} at {position:.1f} s", session="u:1", code="x", position=1.25)
        (told,) = self.told()
        self.assertRegex(told.pop("time"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(
            told,
            {
                "level": "warn",
                "logger": "a.b",
                "message": "u:1: x at 1.2 s",
                "session": "u:1",
                "code": "x",
                "position": 1.25,
            },
        )

    def test_text_of_others_is_on_one_line_and_no_format(self) -> None:
        for form in ("text", "json"):
            self.file.unlink(missing_ok=True)
            self.journal(form)
            self.log.info("{session}: {title}", session=EVIL, title=EVIL, error=ValueError(EVIL))
            self.log.info("{error}", error=ValueError(EVIL))
            lines = self.lines()
            self.assertEqual(len(lines), 2)
            for line in lines:
                self.assertTrue(line.isprintable())
                self.assertIn("{0.__class__} %s http://h/a", line)
                self.assertNotIn("token", line)

    def test_a_failure_has_its_traceback_in_one_field(self) -> None:
        self.journal()
        try:
            raise RuntimeError(EVIL)
        except RuntimeError:
            self.log.failure("{session}: it failed", session="u:1")
        (told,) = self.told()
        self.assertEqual((told["level"], told["message"], told["session"]), ("critical", "u:1: it failed", "u:1"))
        self.assertIn("raise RuntimeError(EVIL)\n", told["traceback"])
        self.assertIn(r"RuntimeError: x\x1b[31m", told["traceback"])
        self.assertNotIn("token=", told["traceback"])

    def test_in_text_the_traceback_follows(self) -> None:
        self.journal("text")
        self.log.failure("it failed", Failure(RuntimeError("why")))
        first, *others = self.lines()
        self.assertIn("[a.b#critical] it failed", first)
        self.assertTrue(others and all(line.startswith("\t") for line in others))
        self.assertIn("why", others[-1])

    def test_an_event_without_a_word_is_no_line(self) -> None:
        journal = self.journal()
        journal({"log_level": None, "log_time": 0.0, "log_format": None})
        self.assertEqual(self.lines(), [])

    def test_events_in_twisteds_old_way_are_told_too(self) -> None:
        journal = self.journal()
        new = LogPublisher()
        publisher = old_log.LogPublisher(observerPublisher=new, publishPublisher=new)
        new.addObserver(journal)
        publisher.msg("Factory starting", port=7)
        (told,) = self.told()
        self.assertEqual((told["message"], told["port"], told["logger"]), ("Factory starting", 7, "log_legacy"))
        self.assertEqual(set(told), {"time", "level", "logger", "message", "port"})


class Choice(JournalTestCase):
    def test_the_level_decides_and_a_sessions_own_before_it(self) -> None:
        journal = self.journal(level="warn")
        journal.levels.set("u:1", "debug")
        for session in ("u:1", "u:2"):
            for say in (self.log.debug, self.log.info, self.log.warn):
                say("{session}", session=session)
        self.log.info("nobody's")
        self.assertEqual(
            [(told["session"], told["level"]) for told in self.told()],
            [("u:1", "debug"), ("u:1", "info"), ("u:1", "warn"), ("u:2", "warn")],
        )

    def test_it_says_what_it_writes_and_what_it_could_not(self) -> None:
        journal = self.journal("text", "error")
        journal.levels.set("u:1", "debug")
        self.log.error("a")
        self.log.info("b")
        self.assertEqual(journal.vitals(), LogVitals("text", "error", {"u:1": "debug"}, written=1, dropped=0))
        self.assertEqual(Journal("json", Levels("info")).vitals(), LogVitals("json", "info", {}, 0, 0))


class Installed(JournalTestCase):
    def test_it_is_what_the_application_logs_with(self) -> None:
        journal = Journal("text", Levels("info"))
        application = Application("audiosvc")
        journal.install(application, {"logfile": str(self.file)})
        self.assertIs(application.getComponent(ILogObserver), journal)

    def test_an_observer_that_twistd_was_told_of_stays_alone(self) -> None:
        journal = Journal("text", Levels("info"))
        application = Componentized()
        journal.install(application, {"logger": print, "logfile": str(self.file)})
        journal.start()
        journal({"log_format": "x"})
        self.assertIsNone(application.getComponent(ILogObserver, None))
        self.assertFalse(self.file.exists())

    def test_a_signal_begins_another_file_as_twistd_does(self) -> None:
        self.journal("text")
        self.log.info("first")
        signal.raise_signal(signal.SIGUSR1)
        self.log.info("second")
        self.assertIn("second", self.file.read_text())
        self.assertIn("first", self.file.with_name("log.1").read_text())

    def test_a_file_that_cannot_be_followed_by_another_is_no_error(self) -> None:
        self.journal("text")

        def no(*paths: str) -> None:
            raise OSError(errno.EROFS, "Read-only file system")

        self.patch(os, "rename", no)
        self.log.info("first")
        signal.raise_signal(signal.SIGUSR1)
        self.log.info("second")
        self.assertIn("second", self.file.read_text())
        self.assertIn("first", self.file.read_text())

    def test_somebody_elses_signal_handler_stays(self) -> None:
        handler: Callable[..., None] = lambda *_: None  # noqa: E731
        signal.signal(signal.SIGUSR1, handler)
        self.journal("text")
        self.assertIs(signal.getsignal(signal.SIGUSR1), handler)

    def test_once_started_another_thread_writes(self) -> None:
        journal = self.journal("text")
        journal.start()
        writer = journal._writer
        assert writer is not None
        self.addCleanup(writer.close)
        self.log.info("there")
        writer.close()
        self.assertIn("there", self.file.read_text())
