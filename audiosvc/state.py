"""The file that carries what plays from one daemon to the next: written at its end, and gone as soon as it is read."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from twisted.logger import Logger

from audiosvc.session.memory import BYTES_MOST, MAGIC, Memory, NoMemory, pack, unpack


class StateFile:
    """The file at `path`. `ignored` counts files and memories in them that were not fit to be used.

    `now` is the wall clock. No failure here is anybody else's: it is logged, and what plays then ends with the daemon.
    """

    log = Logger()

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self.ignored = 0
        self._path = path
        self._now = now
        self._kept: dict[str, Memory] = {}

    def take(self) -> list[Memory]:
        """What the file holds, which is removed before anybody acts on it: a start that fails is not tried for ever."""
        try:
            data = self._read()
            if data is None:
                return []
            self._path.unlink()
            kept = unpack(data, self._now())
        except (OSError, NoMemory) as error:
            self.ignored += 1
            self.log.warn("{path}: {error}; nothing is taken up", path=str(self._path), error=error)
            return []
        if kept.bad:
            self.ignored += kept.bad
            self.log.warn("{path}: {bad} sessions in it are damaged", path=str(self._path), bad=kept.bad)
        return kept.memories

    def save(self, memories: Iterable[Memory]) -> set[str]:
        """Write `memories` in the place of what is there; returns the ids of the sessions that will be taken up again.

        It is on the disk when this returns. A file that is not of this kind is left as it is.
        """
        try:
            self._check()
            data, kept = pack(memories := list(memories), self._now())
            self._replace(data)
        except (OSError, NoMemory) as error:
            self.log.error("{path}: {error}; what plays is not kept", path=str(self._path), error=error)
            return set()
        self._kept = {memory.session_id: memory for memory in memories if memory.session_id in kept}
        return kept

    def forget(self, session_id: str) -> None:
        """Its user has stopped it after all: it is out of the file when this returns."""
        if self._kept.pop(session_id, None) is None:
            return
        data, _ = pack(self._kept.values(), self._now())
        try:
            self._replace(data)
        except OSError as error:
            self.log.error("{path}: {error}; nothing is kept", path=str(self._path), error=error)
            with suppress(OSError):
                self._path.unlink()

    def _check(self) -> None:
        """Raise where something else has this name."""
        try:
            opened = self._open()
        except FileNotFoundError:
            return
        os.close(opened)

    def _read(self) -> bytes | None:
        try:
            opened = self._open()
        except FileNotFoundError:
            return None
        with os.fdopen(opened, "rb") as file:
            return file.read(BYTES_MOST + 1)

    def _open(self) -> int:
        """The file, once it is known to be of this kind and nobody else's; what is empty is."""
        opened = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(opened)
            if not stat.S_ISREG(found.st_mode):
                raise NoMemory("it is no regular file")
            if found.st_uid != os.geteuid() or found.st_mode & 0o022:
                raise NoMemory("others may write to it")
            if found.st_size and os.pread(opened, len(MAGIC), 0) != MAGIC:
                raise NoMemory("it is no file of sessions")
        except BaseException:
            os.close(opened)
            raise
        return opened

    def _replace(self, data: bytes) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self._path.with_name(f".{self._path.name}.new")
        with suppress(FileNotFoundError):
            new.unlink()
        opened = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(opened, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except BaseException:
            with suppress(OSError):
                new.unlink()
            raise
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
