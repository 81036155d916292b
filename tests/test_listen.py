from __future__ import annotations

import io
import os
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from audiosvc import listen
from audiosvc.listen import parse, track_path


class OptionsTests(SynchronousTestCase):
    def refused(self, *arguments: str) -> str:
        with mock.patch("sys.stderr", new_callable=io.StringIO) as said:
            self.assertRaises(SystemExit, parse, arguments)
        return said.getvalue()

    def test_takes_sessions_and_a_place(self) -> None:
        given = parse(["guild-a", "user:42", "-o", "out/", "--socket", "/x.sock", "--follow", "--quiet"])
        wanted = listen.Options(["guild-a", "user:42"], "out/", Path("/x.sock"), True, True)
        self.assertEqual(given, wanted)

    def test_refuses_what_cannot_be_meant(self) -> None:
        self.patch(os, "isatty", lambda fd: True)
        self.assertIn("1 to 36 characters", self.refused("gu/ild", "-o", "x"))
        self.assertIn("name exactly one", self.refused("-o", "x.ogg"))
        self.assertIn("name exactly one", self.refused("a", "b", "-o", "-"))
        self.assertIn("no folder nowhere", self.refused("a", "-o", "nowhere/x.ogg"))
        self.assertIn("at most 107 bytes", self.refused("a", "-o", "x", "--socket", "/" + "ö" * 54))
        self.assertIn("is a terminal", self.refused("a", "-o", "-"))
        self.assertIn("--output", self.refused("a"))

    def test_a_track_gets_a_file_of_its_own_whatever_it_is_called(self) -> None:
        folder = Path(self.mktemp())
        found = track_path(folder, "user:..", "../" + "x" * 100)
        self.assertEqual((found.parent, found.name), (folder, "user___-___" + "x" * 61 + ".ogg"))
        for name in ("a-t.ogg", "a-t-2.ogg", "a-t-3.ogg"):
            path = track_path(folder, "a", "t")
            self.assertEqual(path.name, name)
            path.touch()
