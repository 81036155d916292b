from __future__ import annotations

import io
import os
import shutil

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.screen import Screen
from audiosvc.view import Track


class ScreenTests(SynchronousTestCase):
    def test_on_a_terminal_each_picture_is_drawn_over_the_last(self) -> None:
        out = io.StringIO()
        screen = Screen(out, live=True)
        tracks = [Track("play:1", "demo:one"), Track("play:2", "demo:two")]
        screen.draw(tracks, 0.0)
        self.assertNotIn("\x1b[2A", out.getvalue())
        self.assertEqual(out.getvalue().count("\x1b[K\n"), 2)
        first = len(out.getvalue())
        screen.draw(tracks, 0.2)
        self.assertTrue(out.getvalue()[first:].startswith("\x1b[2A"))

    def test_a_line_leaves_the_last_column_of_the_terminal_free(self) -> None:
        out = io.StringIO()
        self.patch(shutil, "get_terminal_size", lambda: os.terminal_size((80, 24)))
        Screen(out, live=True).draw([Track("play:1", "demo:one" * 20)], 0.0)
        self.assertEqual(len(out.getvalue()), 79 + len("\x1b[K\n"))

    def test_elsewhere_lines_follow_each_other_without_escape_codes(self) -> None:
        out = io.StringIO()
        screen = Screen(out, live=False)
        for now in (0.0, 2.0):
            screen.draw([Track("play:1", "demo:one\x1b[2J")], now)
        self.assertEqual(out.getvalue().count("play:1 waiting: demo:one"), 2)
        self.assertNotIn("\x1b", out.getvalue())
