"""Built-in sources."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.errors import UnknownDemo, UnsupportedUrl
from audiosvc.sources.demo import Demos
from audiosvc.sources.model import File, Tone

PIECE = {"name": "waltz", "title": "A Waltz", "artist": "Somebody", "seconds": 61.5, "file": "waltz.ogg"}


class ToneTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.demos = Demos()

    def test_it_is_440_hz_for_30_seconds_if_nothing_is_said(self) -> None:
        source = self.demos.find("demo:tone")
        self.assertEqual((source.media, source.duration, source.title), (Tone(440, 30), 30, "Tone of 440 Hz"))

    def test_it_is_what_is_said(self) -> None:
        for url, tone in (
            ("demo:tone?hz=1000", Tone(1000, 30)),
            ("demo:tone?seconds=0.5&hz=23999.9", Tone(23999.9, 0.5)),
            ("DEMO:tone?hz=1&seconds=86400", Tone(1, 86_400)),
        ):
            source = self.demos.find(url)
            self.assertEqual((source.url, source.media, source.duration), (url, tone, tone.seconds))

    def test_what_cannot_be_is_refused(self) -> None:
        for query in (
            *("hz=0", "hz=0.9", "hz=24000", "hz=1e3", "hz=-5", "hz=+5", "hz=nan", "hz=inf", "hz=1_000", "hz=", "hz"),
            *("hz=٤٤٠", "hz=440 ", "hz=%34", "hz=1&hz=2", "seconds=0", "seconds=86400.1", "seconds=9999999999"),
            *("volume=1", "hz=440&", "&hz=440", "HZ=440", "hz=440;seconds=3", "hz=440?seconds=3"),
        ):
            with self.subTest(query):
                self.assertRaises(UnsupportedUrl, self.demos.find, f"demo:tone?{query}")


class PieceTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def lay(self, listing: object, *files: str) -> Demos:
        (self.folder / "pieces.json").write_text(listing if isinstance(listing, str) else json.dumps(listing))
        for name in files:
            (self.folder / name).write_bytes(b"OggS")
        return Demos(self.folder)

    def test_a_piece_is_found_by_its_name_with_all_that_is_known_of_it(self) -> None:
        found = self.lay([PIECE], "waltz.ogg").find("Demo:waltz")
        self.assertEqual((found.url, found.media), ("Demo:waltz", File(self.folder / "waltz.ogg")))
        self.assertEqual((found.title, found.uploader, found.duration), ("A Waltz", "Somebody", 61.5))

    def test_all_are_the_pieces_and_the_tone_by_urls_that_are_found(self) -> None:
        demos = self.lay([PIECE], "waltz.ogg")
        self.assertEqual([source.url for source in demos.all()], ["demo:waltz", "demo:tone"])
        self.assertEqual([demos.find(source.url) for source in demos.all()], demos.all())

    def test_another_name_is_unknown(self) -> None:
        demos = self.lay([PIECE], "waltz.ogg")
        for url in (
            "demo:",
            "demo:Waltz",
            "demo:waltz/",
            "demo:../waltz",
            "demo:waltz.ogg",
            "demo:pieces.json",
            "demo:?x",
        ):
            error = self.assertRaises(UnknownDemo, demos.find, url)
        self.assertEqual(str(error), "there is no built-in piece of that name; there are: waltz, tone")

    def test_a_piece_takes_no_parameters(self) -> None:
        demos = self.lay([PIECE], "waltz.ogg")
        for url in ("demo:waltz?", "demo:waltz?seconds=3"):
            self.assertRaises(UnsupportedUrl, demos.find, url)

    def test_a_package_without_its_music_is_told_as_such(self) -> None:
        self.assertIn("cannot be read", str(self.assertRaises(ValueError, Demos, self.folder)))
        self.assertIn("cannot be read", str(self.assertRaises(ValueError, self.lay, "[{}]")))
        self.assertIn("is missing", str(self.assertRaises(ValueError, self.lay, [PIECE])))
