"""The rules for places that nobody names: of the socket, and of what is kept across a restart."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.paths import default_socket, state_file


class DefaultSocketTests(SynchronousTestCase):
    def test_what_is_named_comes_first_then_systemd_then_the_session_then_tmp(self) -> None:
        environ = {
            "AUDIOSVC_SOCKET": "here.sock",
            "RUNTIME_DIRECTORY": "/run/a:/run/b",
            "XDG_RUNTIME_DIR": "/run/user/7",
        }
        found = [default_socket(environ, 7)]
        while environ:
            del environ[next(iter(environ))]
            found.append(default_socket(environ, 7))
        wanted = ["here.sock", "/run/a/audiosvc/audio.sock", "/run/user/7/audiosvc/audio.sock"]
        self.assertEqual(found, [*map(Path, wanted), Path("/tmp/audiosvc-7/audio.sock")])

    def test_empty_and_relative_folders_count_as_unset(self) -> None:
        environ = {"AUDIOSVC_SOCKET": "", "RUNTIME_DIRECTORY": "run", "XDG_RUNTIME_DIR": ""}
        self.assertEqual(default_socket(environ, 7), Path("/tmp/audiosvc-7/audio.sock"))


class StateFileTests(SynchronousTestCase):
    def test_it_is_where_somebody_says_else_in_systemds_folder_else_nowhere(self) -> None:
        systemd = {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}
        self.assertEqual(state_file("/var/x", systemd), Path("/var/x"))
        self.assertEqual(state_file("x", {}), Path("x").absolute())
        self.assertEqual(state_file(None, systemd), Path("/var/lib/a/sessions"))
        for environ in ({}, {"STATE_DIRECTORY": ""}, {"STATE_DIRECTORY": "var"}):
            self.assertIsNone(state_file(None, environ))

    def test_it_can_be_refused(self) -> None:
        self.assertIsNone(state_file("", {"STATE_DIRECTORY": "/var/lib/a"}))
