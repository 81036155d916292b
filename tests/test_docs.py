"""What README.rst, ARCHITECTURE.rst and docs/security.rst name is there: every option with its default, every path."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.options import Options

ROOT = Path(__file__).parents[1]
SAID_OTHERWISE = {
    "socket": "see below",
    "ffmpeg": "imageio-ffmpeg's",
    "encoder-threads": "one per core",
    "cache-size": "128M",
    "cache-dir-size": "1G",
}
"""Defaults that depend on the machine, and those in bytes."""


def shown(default: object) -> str:
    """A default as the table has it."""
    return f"{default:g}" if isinstance(default, int | float) else str(default or "none")


class Readme(SynchronousTestCase):
    def test_it_lists_every_option_and_its_default(self) -> None:
        text = (ROOT / "README.rst").read_text("utf-8")
        table = text.partition("\nOptions\n")[2]
        widths = re.search(r"^(=+) (=+) =+$", table, re.MULTILINE)
        assert widths is not None
        name, default = slice(len(widths[1])), slice(len(widths[1]) + 1, len(widths[1]) + 1 + len(widths[2]))
        rows = [line for line in table.splitlines() if line.startswith("``--")]
        listed = {row[name].strip("`- ").split()[0]: row[default].strip("` ") for row in rows}
        taken = {name: SAID_OTHERWISE.get(name) or shown(default) for name, _, default, *_ in Options.optParameters}
        switches = {name: "off" for name, *_ in Options.optFlags}
        self.assertEqual(listed, taken | switches)


class Architecture(SynchronousTestCase):
    def test_every_section_ends_in_paths_that_are_there(self) -> None:
        text = (ROOT / "ARCHITECTURE.rst").read_text("utf-8")
        sections = re.split(r"\n(?=.+\n-{3,}\n)", text)[1:]
        self.assertGreater(len(sections), 10)
        for section in sections:
            self.assert_paths(section.strip().rpartition("\n\n")[2])

    def assert_paths(self, words: str) -> None:
        """A name without a folder lies in that of the path before it."""
        folder = ROOT
        paths = re.findall(r"``([\w./-]+[./][\w./-]*)``", words)
        self.assertTrue(paths, words)
        for path in paths:
            if "/" in path.rstrip("/"):
                folder = ROOT / path if path.endswith("/") else (ROOT / path).parent
                self.assertTrue((ROOT / path).exists(), path)
            else:
                self.assertTrue((folder / path).exists(), path)


class Security(SynchronousTestCase):
    def test_every_threat_names_a_control_and_tests_that_are_there(self) -> None:
        text = (ROOT / "docs" / "security.rst").read_text("utf-8")
        table = text.partition(":widths:")[2].partition("\n\n")[2].partition("\n\n")[0]
        rows = list(csv.reader(io.StringIO(table), skipinitialspace=True))
        self.assertGreater(len(rows), 25)
        for row in rows:
            self.assertEqual(len(row), 3, row)
            threat, control, shown_by = row
            self.assertTrue(threat.strip() and control)
            tests = re.findall(r"``(.+?)``", shown_by)
            self.assertTrue(tests, threat)
            for path in tests:
                self.assert_tests(path)

    def assert_tests(self, path: str) -> None:
        """That the file is one that the runners take, and has tests in it."""
        self.assertRegex(path, r"^tests/.*/test_\w+\.py$|^node/.*/test/[\w-]+\.test\.ts$")
        found = re.search(r"^ *(?:async )?def test_|^ *test\(", (ROOT / path).read_text("utf-8"), re.MULTILINE)
        self.assertIsNotNone(found, path)
