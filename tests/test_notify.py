"""What systemd hears of the daemon: that it serves, what it does, that it is not stuck, that it ends."""

from __future__ import annotations

import os
import select
import socket
import tempfile
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.notify import STATUS_SECONDS, Notifier
from tests.fakes import open_fds


class NotifierTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = str(Path(folder.name) / "notify")
        self.manager = self.bound(self.path)
        self.clock = Clock()
        self.playing = "3 playing"

    def bound(self, address: str) -> socket.socket:
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.bind(address)
        return manager

    def heard(self, manager: socket.socket | None = None) -> list[str]:
        """Every datagram since the last look."""
        manager, found = manager or self.manager, []
        while select.select([manager], [], [], 0)[0]:
            found.append(manager.recv(4096).decode())
        return found

    def made(self, **environ: str) -> Notifier:
        notifier = Notifier({"NOTIFY_SOCKET": self.path, **environ}, self.clock, lambda: self.playing)
        self.addCleanup(notifier.stopping)
        return notifier

    def test_it_is_ready_when_it_says_so_and_stops_when_it_says_so(self) -> None:
        notifier = self.made()
        self.assertEqual(self.heard(), [])
        notifier.ready()
        self.assertEqual(self.heard(), ["READY=1", "STATUS=3 playing"])
        fds = open_fds()
        notifier.stopping()
        self.assertEqual(self.heard(), ["STOPPING=1\nSTATUS=stopping"])
        self.assertEqual(len(fds - open_fds()), 1)
        notifier.stopping()
        self.clock.advance(60)
        self.assertEqual((self.heard(), self.clock.getDelayedCalls()), ([], []))

    def test_a_status_is_told_when_it_is_another(self) -> None:
        self.made().ready()
        self.heard()
        self.clock.advance(STATUS_SECONDS)
        self.assertEqual(self.heard(), [])
        self.playing = "4 playing"
        self.clock.advance(STATUS_SECONDS)
        self.clock.advance(STATUS_SECONDS)
        self.assertEqual(self.heard(), ["STATUS=4 playing"])

    def test_the_watchdog_is_fed_twice_in_its_time(self) -> None:
        self.made(WATCHDOG_USEC="3000000", WATCHDOG_PID=str(os.getpid())).ready()
        self.assertEqual(self.heard(), ["READY=1", "WATCHDOG=1\nSTATUS=3 playing"])
        self.clock.pump([0.5] * 9)
        self.assertEqual(self.heard(), ["WATCHDOG=1"] * 3)

    def test_and_often_enough_for_the_status_where_it_has_a_lot_of_time(self) -> None:
        self.made(WATCHDOG_USEC="600000000").ready()
        self.heard()
        self.clock.advance(STATUS_SECONDS)
        self.assertEqual(self.heard(), ["WATCHDOG=1"])

    def test_a_watchdog_of_another_process_or_none_is_not_fed(self) -> None:
        for environ in ({"WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "-1"}, {}):
            notifier = self.made(**environ)
            notifier.ready()
            self.clock.advance(STATUS_SECONDS)
            self.assertEqual(self.heard(), ["READY=1", "STATUS=3 playing"])
            notifier.stopping()
            self.heard()

    def test_an_abstract_name_is_one(self) -> None:
        name = f"audiosvc-test-{os.getpid()}"
        manager = self.bound("\0" + name)
        self.made(NOTIFY_SOCKET="@" + name).ready()
        self.assertEqual(self.heard(manager), ["READY=1", "STATUS=3 playing"])

    def test_without_a_manager_nothing_is_done(self) -> None:
        before = open_fds()
        for name in ("", "relative", "vsock:2:3"):
            notifier = self.made(NOTIFY_SOCKET=name, WATCHDOG_USEC="3000000")
            notifier.ready()
            notifier.stopping()
        self.assertEqual((self.clock.getDelayedCalls(), open_fds()), ([], before))

    def test_what_is_started_from_here_does_not_find_the_manager(self) -> None:
        environ = {"NOTIFY_SOCKET": self.path, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/bin"}
        Notifier(environ, self.clock, str)
        self.assertEqual(environ, {"PATH": "/bin"})

    def test_a_manager_that_does_not_listen_is_complained_of_once_and_tried_again(self) -> None:
        with capturedLogs() as logs:
            Path(self.path).unlink()
            self.manager.close()
            self.made(WATCHDOG_USEC="2000000").ready()
            self.clock.advance(1)
            self.assertEqual([event["what"] for event in logs], ["READY=1"])
            manager = self.bound(self.path)
            self.clock.advance(1)
            self.assertEqual(self.heard(manager), ["WATCHDOG=1"])
            for _ in range(1000):
                # Nobody reads them: at some time the kernel takes no more.
                self.clock.advance(1)
            self.assertEqual([event["what"] for event in logs], ["READY=1", "WATCHDOG=1"])
