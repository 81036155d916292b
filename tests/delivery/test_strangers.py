"""Who is at the other end of a Unix socket, and whether he is served."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.delivery import strangers
from audiosvc.delivery.strangers import stranger

SOMEBODY = 4_000_123


class StrangerTests(SynchronousTestCase):
    def setUp(self) -> None:
        # Not trial's folder: its path can be longer than a socket's may be.
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "s"
        listening = socket.socket(socket.AF_UNIX)
        self.addCleanup(listening.close)
        listening.bind(str(self.path))
        listening.listen()
        self.path.chmod(0o600)
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.connect(str(self.path))
        self.connection, _ = listening.accept()
        self.addCleanup(self.connection.close)

    def comes(self, uid: int, *groups: int) -> None:
        """Be it somebody else who is there."""
        self.patch(strangers, "_credentials", lambda connection: (uid, set(groups)))

    def test_the_kernel_says_who_it_is(self) -> None:
        uid, groups = strangers._credentials(self.connection)
        self.assertEqual((uid, groups), (os.geteuid(), {os.getegid(), *os.getgroups()}))

    def test_one_of_two_ends_that_are_ours_is_no_stranger(self) -> None:
        self.assertIsNone(stranger(self.connection))

    def test_root_and_the_daemons_own_user_are_served(self) -> None:
        self.patch(os, "geteuid", lambda: 1000)
        for uid in (0, 1000):
            self.comes(uid)
            self.assertIsNone(stranger(self.connection))

    def test_another_user_is_not_though_everybody_may_write_to_it(self) -> None:
        self.comes(SOMEBODY, SOMEBODY)
        self.assertEqual(stranger(self.connection), SOMEBODY)
        self.path.chmod(0o606)
        self.assertEqual(stranger(self.connection), SOMEBODY)

    def test_where_a_group_may_write_its_members_are_served(self) -> None:
        group = self.path.stat().st_gid
        self.comes(SOMEBODY, SOMEBODY, group)
        self.assertEqual(stranger(self.connection), SOMEBODY)
        self.path.chmod(0o660)
        self.assertIsNone(stranger(self.connection))
        self.comes(SOMEBODY, SOMEBODY)
        self.assertEqual(stranger(self.connection), SOMEBODY)

    def test_a_socket_whose_path_is_gone_is_open_to_nobody(self) -> None:
        self.path.chmod(0o660)
        self.comes(SOMEBODY, self.path.stat().st_gid)
        self.path.unlink()
        self.assertEqual(stranger(self.connection), SOMEBODY)
