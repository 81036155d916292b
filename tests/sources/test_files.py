"""Files below the media root."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.errors import FilesRefused, SourceNotFound, UnsupportedUrl
from audiosvc.sources import files
from audiosvc.sources.files import LISTED_MOST, Listed, MediaRoot
from audiosvc.sources.model import File


class FilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.top = Path(folder.name).resolve()
        self.root = self.top / "music"
        self.write("music/song.ogg")
        self.write("music/album/02 Größe & more.mp3")
        self.write("music/album/01 a%20b.flac")
        self.write("music/album/notes.txt")
        self.write("secret.ogg")
        self.write("music-too/other.ogg")
        self.files = MediaRoot(self.root)

    def write(self, name: str) -> None:
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")

    def link(self, name: str, target: Path) -> str:
        (self.root / name).symlink_to(target)
        return name

    def found(self, url: str) -> Path:
        media = self.files.find(url).media
        assert isinstance(media, File)
        return media.path


class FindTests(FilesTests):
    def test_a_path_is_taken_from_the_root_or_whole(self) -> None:
        for url in (
            "song.ogg",
            "./song.ogg",
            "album/../song.ogg",
            str(self.root / "song.ogg"),
            f"{self.root}//song.ogg",
        ):
            self.assertEqual(self.found(url), self.root / "song.ogg")

    def test_a_file_url_is_percent_decoded_once_and_a_path_is_not(self) -> None:
        self.assertEqual(self.found(f"file://{self.root}/album/01%20a%2520b.flac"), self.root / "album/01 a%20b.flac")
        self.assertEqual(self.found("album/01 a%20b.flac"), self.root / "album/01 a%20b.flac")

    def test_all_spellings_of_a_file_url_are_read(self) -> None:
        for prefix in ("file:", "file://", "FILE://", "file://localhost", "file://LocalHost"):
            path = f"{self.root}/album/02%20Gr%C3%B6%C3%9Fe%20&%20more.mp3"
            self.assertEqual(self.found(prefix + path), self.root / "album/02 Größe & more.mp3")

    def test_opus_is_told_by_what_the_file_begins_with(self) -> None:
        (self.root / "song.ogg").write_bytes(b"OggS\0\2" + bytes(20) + b"\1\x13OpusHead")
        self.assertTrue(self.files.find("song.ogg").opus)
        self.assertFalse(self.files.find("album/01 a%20b.flac").opus)

    def test_what_cannot_be_read_is_left_to_ffmpeg_and_what_would_wait_is_not_waited_for(self) -> None:
        os.mkfifo(self.root / "pipe")
        for name in ("none", "album", "pipe"):
            self.assertEqual(files._ends(self.root / name), (b"", b""))

    def test_an_ogg_that_ends_in_another_stream_is_counted_in(self) -> None:
        one, other = (
            b"OggS\0\2" + bytes(8) + serial + bytes(8) + b"\1\x13OpusHead" + bytes(11) for serial in (b"one1", b"two2")
        )
        for name, content, counted in (
            ("chained.opus", one + bytes(100_000) + other, True),
            ("plain.opus", one + bytes(100_000) + one, False),
            ("alone.opus", one, False),
            ("chained.wav", b"RIFF" + one + other, False),
        ):
            (self.root / name).write_bytes(content)
            self.assertEqual(self.files.find(name).media, File(self.root / name, counted=counted))

    def test_the_title_is_the_files_name(self) -> None:
        self.assertEqual(self.files.find("album/02 Größe & more.mp3").title, "02 Größe & more")
        self.assertEqual(self.files.find(f"file://{self.root}/album/01%20a%2520b.flac").title, "01 a%20b")

    def test_the_url_stays_as_it_was_asked(self) -> None:
        self.assertEqual(self.files.find("album/../song.ogg").url, "album/../song.ogg")

    def test_what_leads_out_is_refused_whether_it_is_there_or_not(self) -> None:
        for url in (
            *("../secret.ogg", "album/../../secret.ogg", "../music-too/other.ogg", "/etc/passwd", "//etc/passwd", ".."),
            *("../none.ogg", "/none", str(self.top), "file:///etc/passwd", f"file://{self.root}/../secret.ogg"),
            f"file://{self.root}/%2e%2e/secret.ogg",
            self.link("out.ogg", self.top / "secret.ogg"),
            self.link("up", self.top) + "/secret.ogg",
            self.link("gone.ogg", self.top / "none.ogg"),
        ):
            with self.subTest(url):
                self.assertRaises(FilesRefused, self.files.locate, url)

    def test_a_link_that_stays_inside_is_followed(self) -> None:
        self.assertEqual(self.found(self.link("inside.ogg", self.root / "song.ogg")), self.root / "song.ogg")

    def test_a_root_that_is_a_link_is_the_folder_behind_it(self) -> None:
        (self.top / "link").symlink_to(self.root)
        files = MediaRoot(self.top / "link")
        self.assertEqual(files.find("song.ogg").media, File(self.root / "song.ogg"))
        self.assertEqual(files.find(str(self.top / "link/song.ogg")).media, File(self.root / "song.ogg"))

    def test_what_is_not_there_is_not_found(self) -> None:
        self.link("loop.ogg", self.root / "loop.ogg")
        for url in ("none.ogg", "song.ogg/x", "none/none.ogg", "a" * 300, "loop.ogg"):
            with self.subTest(url):
                self.assertRaises(SourceNotFound, self.files.find, url)

    def test_what_is_no_regular_file_is_refused(self) -> None:
        os.mkfifo(self.root / "pipe.ogg")
        for url in ("album", ".", "pipe.ogg"):
            self.assertRaises(FilesRefused, self.files.find, url)

    def test_without_a_root_every_file_is_refused(self) -> None:
        for url in ("song.ogg", "/etc/passwd", f"file://{self.root}/song.ogg"):
            self.assertRaises(FilesRefused, MediaRoot(None).locate, url)

    def test_a_malformed_file_url_is_no_path(self) -> None:
        for url in (
            *("file:", "file:song.ogg", "file://", "file://host/song.ogg", "file:////etc/passwd", "file:///a?b"),
            *(
                "file:///a#b",
                "file:///a%",
                "file:///a%2",
                "file:///a%zz",
                "file:///a%ff",
                "file:///a%00b",
                "file:///a%0ab",
            ),
        ):
            with self.subTest(url):
                self.assertRaises(UnsupportedUrl, self.files.locate, url)

    def test_a_link_to_a_name_that_cannot_be_said_is_refused(self) -> None:
        odd = os.fsdecode(os.fsencode(self.root) + b"/\xff.ogg")
        Path(odd).write_bytes(b"x")
        self.assertRaises(FilesRefused, self.files.find, self.link("odd.ogg", Path(odd)))


class ListTests(FilesTests):
    def test_a_folders_audio_files_are_listed_in_order_by_urls_that_are_found(self) -> None:
        listed = self.files.list("album")
        self.assertEqual([source.title for source in listed], ["01 a%20b", "02 Größe & more"])
        self.assertEqual([self.files.find(source.url) for source in listed], listed)

    def test_a_file_is_a_list_of_itself(self) -> None:
        self.assertEqual(self.files.list("song.ogg"), [self.files.find("song.ogg")])

    def test_what_could_not_be_played_is_not_listed(self) -> None:
        self.link("album/out.ogg", self.top / "secret.ogg")
        self.link("album/gone.ogg", self.root / "none.ogg")
        (self.root / "album/folder.ogg").mkdir()
        Path(os.fsdecode(os.fsencode(self.root) + b"/album/\xff.ogg")).write_bytes(b"x")
        (self.root / "album/new\nline.ogg").write_bytes(b"x")
        self.assertEqual(len(self.files.list("album")), 2)

    def test_a_list_has_an_end(self) -> None:
        for number in range(LISTED_MOST + 5):
            self.write(f"music/many/{number:04}.ogg")
        listed = self.files.list("many")
        self.assertEqual((len(listed), listed[-1].title), (LISTED_MOST, f"{LISTED_MOST - 1:04}"))

    def test_a_folder_that_cannot_be_read_or_is_not_there_is_not_found(self) -> None:
        self.assertRaises(SourceNotFound, self.files.list, "none")

        def denied(path: Path) -> None:
            raise PermissionError(13, "Permission denied")

        self.patch(Path, "iterdir", denied)
        self.assertRaises(SourceNotFound, self.files.list, "album")


class BrowseTests(FilesTests):
    def setUp(self) -> None:
        super().setUp()
        self.files = MediaRoot(self.root, listed=True)

    def test_folders_come_first_then_audio_files_with_their_sizes(self) -> None:
        self.assertEqual(
            self.files.browse(""),
            [Listed("album", "album", "folder"), Listed("song.ogg", "song.ogg", "file", 1)],
        )

    def test_what_is_listed_can_be_played(self) -> None:
        self.write("music/-v.mp3")
        self.write("music/a:b.mp3")
        for entry in self.files.browse("") + self.files.browse("album"):
            if entry.kind == "file":
                self.assertEqual(self.found(entry.url).name, entry.name)
        self.assertIn("./-v.mp3", [entry.url for entry in self.files.browse("")])

    def test_hidden_names_what_is_no_audio_and_links_that_lead_out_are_left_out(self) -> None:
        self.write("music/.hidden.mp3")
        self.link("out.ogg", self.top / "secret.ogg")
        self.link("up", self.top)
        os.mkfifo(self.root / "pipe.mp3")
        self.assertEqual([entry.name for entry in self.files.browse("")], ["album", "song.ogg"])
        self.assertEqual([entry.name for entry in self.files.browse("album")], ["01 a%20b.flac", "02 Größe & more.mp3"])

    def test_it_is_bounded(self) -> None:
        for i in range(LISTED_MOST + 3):
            self.write(f"music/many/{i}.ogg")
        self.assertEqual(len(self.files.browse("many")), LISTED_MOST)

    def test_nothing_outside_and_nothing_that_is_no_folder(self) -> None:
        for url in ("..", "/etc", "album/../.."):
            self.assertRaises(FilesRefused, self.files.browse, url)
        for url in ("song.ogg", "nowhere"):
            self.assertRaises(SourceNotFound, self.files.browse, url)

    def test_it_is_off_unless_asked_for(self) -> None:
        self.assertRaises(FilesRefused, MediaRoot(self.root).browse, "")
