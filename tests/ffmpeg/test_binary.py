"""Which FFmpeg is run."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.ffmpeg import binary
from audiosvc.ffmpeg.binary import demuxer_options, find_ffmpeg

NO_WHEEL = {"imageio_ffmpeg": None, "imageio_ffmpeg.binaries": None}


class FindTests(SynchronousTestCase):
    def folder(self) -> Path:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return Path(folder.name)

    def program(self, name: str, mode: int = 0o755, text: str = "#!/bin/sh\necho ffmpeg version 9.0\n") -> Path:
        path = self.folder() / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def test_the_one_named_is_taken(self) -> None:
        path = self.program("mine")
        self.assertEqual(find_ffmpeg(str(path)), str(path))

    def test_what_is_no_program_is_refused_with_the_reason(self) -> None:
        folder = self.program("ffmpeg").parent
        for path, reason in (
            (folder / "other", "is not a file"),
            (folder, "is not a file"),
            (self.program("plain", 0o644), "may not be executed"),
        ):
            error = self.assertRaises(ValueError, find_ffmpeg, str(path))
            self.assertEqual(str(error), f"{path} {reason}")

    def test_what_is_another_program_is_refused(self) -> None:
        self.patch(binary, "ANSWER_SECONDS", 0.2)
        for text in ("#!/bin/sh\necho mpeg\n", "", "#!/none\n", "#!/bin/sh\nexec sleep 5\n"):
            path = self.program("ffmpeg", text=text)
            error = self.assertRaises(ValueError, find_ffmpeg, str(path))
            self.assertIn("is not FFmpeg", str(error))

    def test_the_wheels_is_taken_whatever_the_environment_says(self) -> None:
        other = self.program("ffmpeg")
        with mock.patch.dict(os.environ, IMAGEIO_FFMPEG_EXE=str(other), PATH=str(other.parent)):
            self.assertIn("imageio_ffmpeg", find_ffmpeg())

    def test_without_the_wheel_the_one_on_path_is_taken(self) -> None:
        found = self.program("ffmpeg")
        with (
            mock.patch.dict(sys.modules, NO_WHEEL),
            mock.patch.dict(os.environ, PATH=str(found.parent)),
        ):
            self.assertEqual(find_ffmpeg(), str(found))

    def test_a_wheel_that_carries_none_is_passed_over(self) -> None:
        found = self.program("ffmpeg")
        empty = self.folder()
        (empty / "README.md").write_text("nothing\n")
        self.patch(binary, "files", lambda package: empty)
        with mock.patch.dict(os.environ, PATH=str(found.parent)):
            self.assertEqual(find_ffmpeg(), str(found))

    def test_none_at_all_is_said(self) -> None:
        with mock.patch.dict(sys.modules, NO_WHEEL), mock.patch.dict(os.environ, PATH="/nowhere"):
            error = self.assertRaises(ValueError, find_ffmpeg)
        self.assertIn("no FFmpeg found", str(error))

    def test_the_options_of_demuxers_are_asked_of_it_and_of_none_that_does_not_answer(self) -> None:
        self.assertLess({"live_start_index", "http_persistent"}, demuxer_options(find_ffmpeg(), "hls"))
        self.assertIn("allowed_extensions", demuxer_options(find_ffmpeg(), "dash"))
        self.assertEqual(demuxer_options(str(self.program("ffmpeg")), "hls"), set())
        self.assertEqual(demuxer_options("/nowhere/ffmpeg", "hls"), set())
