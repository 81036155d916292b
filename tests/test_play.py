from __future__ import annotations

import contextlib
import io
import os
import shutil
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.play import parse


class ParseTests(SynchronousTestCase):
    def folder(self) -> Path:
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        return Path(folder).resolve()

    def refusal(self, *arguments: str) -> str:
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            refused = self.assertRaises(SystemExit, parse, arguments)
        self.assertEqual(refused.code, 2)
        return said.getvalue()

    def test_without_arguments_the_built_in_pieces_are_recorded_to_their_end(self) -> None:
        options = parse([])
        self.assertEqual((options.urls, options.media_root, options.seconds), ([], None, None))
        self.assertEqual((options.recordings, options.plain), (Path("recordings"), False))

    def test_urls_are_taken_as_they_are(self) -> None:
        urls = ["demo:tone?hz=440", "https://example.org/a.mp3", "file:///a.ogg"]
        self.assertEqual(parse(urls).urls, urls)

    def test_files_become_absolute_below_the_folder_they_share(self) -> None:
        root = self.folder()
        for name in ("a/one.ogg", "b/c/two.ogg"):
            (root / name).parent.mkdir(parents=True)
            (root / name).touch()
        options = parse([os.path.relpath(root / "a/one.ogg"), "demo:one", str(root / "b/c/two.ogg")])
        self.assertEqual(options.urls, [str(root / "a/one.ogg"), "demo:one", str(root / "b/c/two.ogg")])
        self.assertEqual(options.media_root, root)

    def test_a_link_is_followed_so_that_its_target_lies_below_the_root(self) -> None:
        root = self.folder()
        (root / "real").mkdir()
        (root / "real/one.ogg").touch()
        (root / "link.ogg").symlink_to(root / "real/one.ogg")
        options = parse([str(root / "link.ogg")])
        self.assertEqual((options.urls, options.media_root), ([str(root / "real/one.ogg")], root / "real"))

    def test_a_file_whose_name_looks_like_a_url_is_a_file(self) -> None:
        root = self.folder()
        (root / "demo:one").touch()
        self.addCleanup(os.chdir, Path.cwd())
        os.chdir(root)
        self.assertEqual(parse(["demo:one"]).urls, [str(root / "demo:one")])

    def test_what_is_neither_is_refused_by_name(self) -> None:
        self.assertIn("gone.ogg: no such file", self.refusal("gone.ogg"))

    def test_seconds_are_a_positive_number(self) -> None:
        self.assertEqual(parse(["--seconds", "2.5"]).seconds, 2.5)
        for wrong in ("0", "-1", "nan", "inf", "soon"):
            self.assertIn("--seconds", self.refusal("--seconds", wrong))

    def test_recording_can_be_moved_or_left_out(self) -> None:
        self.assertEqual(parse(["--record", "d"]).recordings, Path("d"))
        self.assertIsNone(parse(["--no-record"]).recordings)
