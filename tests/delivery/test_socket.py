"""The socket's place is taken from a dead daemon, never from a live one or through a link."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.delivery.socket import PATH_BYTES_MOST, SocketPlace, SocketPlaceError
from tests.fakes import open_fds

HOLD = """
import fcntl, os, sys
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


class SocketPlaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        # Not trial's folder: its path can be longer than a socket's may be.
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.path = self.folder / "s"
        self.lock = self.folder / "s.lock"
        self.place = SocketPlace(self.path)
        self.addCleanup(self.place.release)

    def bind(self, kind: int = socket.SOCK_STREAM) -> socket.socket:
        bound = socket.socket(socket.AF_UNIX, kind)
        self.addCleanup(bound.close)
        bound.bind(str(self.path))
        return bound

    def assert_refused(self, reason: str, place: SocketPlace | None = None) -> None:
        """Refused for that reason, with nothing left open."""
        before = open_fds()
        error = self.assertRaises(SocketPlaceError, (place or self.place).claim)
        self.assertIn(reason, str(error))
        self.assertEqual(open_fds(), before)

    def test_a_free_place_is_had(self) -> None:
        self.place.claim()
        self.assertFalse(self.path.exists())
        self.assertEqual(stat.S_IMODE(self.lock.stat().st_mode), 0o600)

    def test_the_folder_is_made_for_us_alone(self) -> None:
        place = SocketPlace(self.folder / "run" / "audiosvc" / "s")
        self.addCleanup(place.release)
        place.claim()
        self.assertEqual(stat.S_IMODE(place.path.parent.stat().st_mode), 0o700)

    def test_a_dead_daemons_socket_is_cleared_away(self) -> None:
        dead = self.bind()
        dead.listen()
        dead.close()
        self.place.claim()
        self.assertFalse(self.path.exists())
        self.bind()

    def test_a_live_socket_is_not(self) -> None:
        live = self.bind()
        live.listen()
        self.assert_refused("another program serves this socket")
        self.assertTrue(self.path.is_socket())
        live.setblocking(False)
        live.accept()[0].close()

    def test_nor_is_one_too_busy_to_answer(self) -> None:
        live = self.bind()
        live.listen(0)
        for _ in range(3):
            client = socket.socket(socket.AF_UNIX)
            self.addCleanup(client.close)
            client.setblocking(False)
            client.connect_ex(str(self.path))
        self.assert_refused("another program serves this socket")
        self.assertTrue(self.path.is_socket())

    def test_nor_is_one_of_another_kind(self) -> None:
        self.bind(socket.SOCK_DGRAM)
        self.assert_refused(str(self.path))
        self.assertTrue(self.path.is_socket())

    def test_what_is_no_socket_is_left_alone(self) -> None:
        self.path.write_text("precious")
        self.assert_refused("is no socket")
        self.assertEqual(self.path.read_text(), "precious")

    def test_nor_is_a_folder(self) -> None:
        self.path.mkdir()
        self.assert_refused("is no socket")
        self.assertTrue(self.path.is_dir())

    def test_a_link_is_not_followed_even_to_a_dead_socket(self) -> None:
        dead = self.bind()
        dead.close()
        target = self.path.rename(self.folder / "elsewhere")
        self.path.symlink_to(target)
        self.assert_refused("is a symbolic link")
        self.assertTrue(target.is_socket())
        target.unlink()
        self.assert_refused("is a symbolic link")

    def test_a_lock_that_is_a_link_is_not_followed(self) -> None:
        target = self.folder / "elsewhere"
        self.lock.symlink_to(target)
        self.assert_refused("is a symbolic link")
        self.assertFalse(target.exists())

    def test_a_lock_that_cannot_be_opened_is_said(self) -> None:
        self.lock.mkdir()
        self.assert_refused("Is a directory")

    def test_a_place_is_had_by_one(self) -> None:
        self.place.claim()
        second = SocketPlace(self.path)
        self.assert_refused("another audiosvc serves this socket", second)
        self.place.release()
        self.addCleanup(second.release)
        second.claim()

    def test_a_place_is_had_by_one_process(self) -> None:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(self.lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            self.assert_refused("another audiosvc serves this socket")
        self.place.claim()

    def test_release_leaves_nothing_open_and_can_be_repeated(self) -> None:
        before = open_fds()
        self.place.release()
        self.place.claim()
        self.place.release()
        self.place.release()
        self.assertEqual(open_fds(), before)
        with self.lock.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_a_folder_that_others_may_write_to_is_refused(self) -> None:
        for mode in (0o777, 0o770, 0o702):
            self.folder.chmod(mode)
            self.assert_refused("others may write to this folder")
            self.assertFalse(self.lock.exists())

    def test_unless_they_may_remove_only_their_own(self) -> None:
        self.folder.chmod(0o1777)
        self.place.claim()

    def test_somebody_elses_folder_is_refused(self) -> None:
        with mock.patch("os.geteuid", return_value=os.geteuid() + 1):
            if self.folder.stat().st_uid == 0:
                os.chown(self.folder, 12345, -1)
            self.assert_refused("somebody else's")

    def test_a_folder_that_is_none_is_said(self) -> None:
        self.path.write_text("a file")
        self.assert_refused("File exists", SocketPlace(self.path / "s"))

    def test_a_path_too_long_for_a_socket_is_refused_in_words(self) -> None:
        room = PATH_BYTES_MOST - len(os.fsencode(self.folder)) - 1
        self.assert_refused("at most 107 bytes", SocketPlace(self.folder / ("x" * (room + 1))))
        self.assert_refused("at most 107 bytes", SocketPlace(self.folder / ("é" * (room // 2 + 1))))
        longest = SocketPlace(self.folder / ("x" * room))
        self.addCleanup(longest.release)
        longest.claim()
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(longest.path))
