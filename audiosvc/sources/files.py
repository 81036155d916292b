"""Files below the media root, as paths or `file:` URLs; nothing outside it, whatever links lead there."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from audiosvc.errors import FilesRefused, SourceNotFound, UnsupportedUrl
from audiosvc.sources import kinds
from audiosvc.sources.kinds import AUDIO_SUFFIXES
from audiosvc.sources.model import File, Source
from audiosvc.sources.text import is_plain

LISTED_MOST = 500
"""Entries of a folder that a playlist of it holds at most."""

_HALF_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True)
class Listed:
    """An entry of a folder below the media root. `url` is what plays or lists it; `size` is in bytes, of a file."""

    name: str
    url: str
    kind: Literal["folder", "file"]
    size: int | None = None


class MediaRoot:
    """The folder whose files are played; None refuses every file. The folder's own path may be a link.

    `listed` says whether `browse` may be asked.
    """

    def __init__(self, root: Path | None, *, listed: bool = False) -> None:
        self._root = None if root is None else os.path.realpath(root)
        self._listed = listed

    def locate(self, url: str) -> Path:
        """The path that `url` leads to, below the root with every link followed; whether it is there is not asked.

        Raises `FilesRefused` where it leads out, or there is no root, and `UnsupportedUrl` where it is no path.
        """
        path = _path(url)
        if self._root is None:
            raise FilesRefused("files are not played here: no --media-root was given")
        real = os.path.realpath(Path(self._root) / path)
        if os.path.commonpath((self._root, real)) != self._root or not is_plain(real):
            raise FilesRefused()
        return Path(real)

    def find(self, url: str) -> Source:
        """The file that `url` names; raises `SourceNotFound`, and `FilesRefused` for what is not a regular file."""
        source, path = self._find(url)
        first, last = _ends(path)
        return replace(source, media=File(path, counted=kinds.is_chained(first, last)), opus=kinds.tell_file(first))

    def browse(self, url: str) -> list[Listed]:
        """What lies in the folder that `url` names ("" is the root): folders, then audio files, `LISTED_MOST` in all.

        Links that lead out of the root are left out, as is what is neither a folder nor a file, and hidden names.
        """
        if not self._listed:
            raise FilesRefused("files are not listed here: --list-files was not given")
        folder = self.locate(url or ".")
        if not stat.S_ISDIR(_mode(folder)):
            raise SourceNotFound("there is no such folder")
        try:
            names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        except OSError:
            raise SourceNotFound("the folder cannot be read") from None
        found = [entry for name in names if is_plain(name) and (entry := self._entry(folder / name))]
        return sorted(found, key=lambda entry: entry.kind != "folder")[:LISTED_MOST]

    def _find(self, url: str) -> tuple[Source, Path]:
        path = self.locate(url)
        if not stat.S_ISREG(_mode(path)):
            raise FilesRefused("only regular files are played")
        return Source(url, File(path), title=_title(url)), path

    def list(self, url: str) -> list[Source]:
        """The audio files of the folder that `url` names, sorted, at most `LISTED_MOST`; of a file, that file."""
        folder = self.locate(url)
        if not stat.S_ISDIR(_mode(folder)):
            return [self._find(url)[0]]
        try:
            paths = sorted(path for path in folder.iterdir() if _is_audio(path.name))
        except OSError:
            raise SourceNotFound("the folder cannot be read") from None
        return list(islice(self._playable(paths), LISTED_MOST))

    def _entry(self, path: Path) -> Listed | None:
        assert self._root is not None
        place = path.relative_to(self._root)
        # What has a colon before its first slash would be taken for a URL, what begins with a dash for an option.
        url = f"./{place}" if ":" in place.parts[0] or place.parts[0].startswith("-") else str(place)
        try:
            status = self.locate(url).stat()
        except (FilesRefused, OSError):
            return None
        if stat.S_ISDIR(status.st_mode):
            return Listed(path.name, url, "folder")
        if stat.S_ISREG(status.st_mode) and _is_audio(path.name):
            return Listed(path.name, url, "file", status.st_size)
        return None

    def _playable(self, paths: Iterable[Path]) -> Iterator[Source]:
        for path in paths:
            with suppress(FilesRefused, SourceNotFound):
                yield self._find(str(path))[0]


def _path(url: str) -> str:
    """The path in `url`: itself, or what a `file:` URL says, percent-decoded once."""
    if not url.lower().startswith("file:"):
        return url
    rest = url[len("file:") :]
    for prefix in ("//localhost/", "///", "/"):
        if rest.lower().startswith(prefix):
            rest = rest[len(prefix) - 1 :]
            break
    else:
        raise UnsupportedUrl("a file: URL holds an absolute path and no host")
    if rest.startswith("//") or "?" in rest or "#" in rest or _HALF_ESCAPE.search(rest):
        raise UnsupportedUrl("a file: URL holds an absolute path, its special characters percent-encoded")
    try:
        path = unquote(rest, errors="strict")
    except UnicodeDecodeError:
        raise UnsupportedUrl("a file: URL is UTF-8, percent-encoded") from None
    if not is_plain(path):
        raise UnsupportedUrl("a path holds no control characters")
    return path


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        raise SourceNotFound("there is no such file") from None


def _ends(path: Path) -> tuple[bytes, bytes]:
    """What the file begins and ends with; nothing if it cannot be read, which FFmpeg will say better."""
    try:
        # Not to wait, should it have become a pipe by now.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return b"", b""
    try:
        last = max(0, os.fstat(descriptor).st_size - kinds.LAST_BYTES)
        return os.read(descriptor, kinds.FIRST_BYTES), os.pread(descriptor, kinds.LAST_BYTES, last)
    except OSError:
        return b"", b""
    finally:
        os.close(descriptor)


def _is_audio(name: str) -> bool:
    return Path(name).suffix.lower() in AUDIO_SUFFIXES and is_plain(name)


def _title(url: str) -> str:
    return Path(_path(url)).stem
