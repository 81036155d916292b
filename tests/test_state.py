"""The file that carries what plays across a restart: what is written, what is read, and what is let alone."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from msgspec.structs import replace
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.session.memory import AGE_MOST, BYTES_MOST
from audiosvc.state import StateFile
from tests.session.test_memory import NOW, SONG, plain, written

OTHER = replace(SONG, session_id="guild-b")


class StateFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)
        self.path = self.folder / "sessions"
        self.now = NOW
        self.state = self.another()

    def another(self) -> StateFile:
        return StateFile(self.path, lambda: self.now)

    def ignored(self, data: bytes) -> None:
        """`data` is not taken up, which is logged in one line, and counted."""
        self.path.write_bytes(data)
        state = self.another()
        with capturedLogs() as events:
            self.assertEqual(state.take(), [])
        self.assertEqual(state.ignored, 1)
        self.assertEqual([event["log_level"].name for event in events], ["warn"])

    def test_what_was_saved_is_taken_once(self) -> None:
        self.assertEqual(self.state.save([SONG, OTHER]), {"guild-a", "guild-b"})
        state = self.another()
        self.assertEqual(state.take(), [SONG, OTHER])
        self.assertFalse(self.path.exists())
        self.assertEqual(state.take(), [])
        self.assertEqual(state.ignored, 0)

    def test_without_a_file_there_is_nothing_to_take(self) -> None:
        self.assertEqual(self.state.take(), [])
        self.assertEqual(self.state.ignored, 0)

    def test_it_is_for_nobody_elses_eyes_and_nothing_is_left_beside_it(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        deep = StateFile(self.folder / "a" / "b" / "sessions", lambda: NOW)
        deep.save([SONG])
        (found,) = (self.folder / "a" / "b").iterdir()
        self.assertEqual(stat.S_IMODE(found.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(found.parent.stat().st_mode), 0o700)

    def test_what_a_killed_daemon_left_half_written_is_in_nobodys_way(self) -> None:
        (self.folder / ".sessions.new").write_bytes(b"half")
        self.state.save([SONG])
        self.assertEqual([path.name for path in self.folder.iterdir()], ["sessions"])
        self.assertEqual(self.another().take(), [SONG])

    def test_a_link_of_that_name_is_not_followed(self) -> None:
        victim = self.folder / "victim"
        victim.write_bytes(b"mine")
        (self.folder / ".sessions.new").symlink_to(victim)
        self.state.save([SONG])
        self.path.unlink()
        self.path.symlink_to(victim)
        self.assertEqual(self.state.save([SONG]), set())
        self.assertEqual(self.state.take(), [])
        self.assertEqual(victim.read_bytes(), b"mine")
        self.assertTrue(self.path.is_symlink())

    def test_what_is_saved_later_takes_the_place(self) -> None:
        self.state.save([SONG])
        self.state.save([OTHER])
        self.assertEqual(self.another().take(), [OTHER])

    def test_one_that_is_stopped_after_all_is_out_of_it_at_once(self) -> None:
        self.state.save([SONG, OTHER])
        self.state.forget("guild-a")
        self.state.forget("guild-a")
        self.state.forget("unheard-of")
        self.assertEqual(self.another().take(), [OTHER])

    def test_if_it_cannot_be_taken_out_nothing_is_kept(self) -> None:
        self.state.save([SONG, OTHER])
        (self.folder / ".sessions.new").mkdir()
        with capturedLogs() as events:
            self.state.forget("guild-a")
        self.assertEqual([event["log_level"].name for event in events], ["error"])
        self.assertFalse(self.path.exists())

    def test_what_is_no_such_file_is_ignored_and_left_as_it_is(self) -> None:
        for data in (b"root:x:0:0:root:/root:/bin/bash\n", b"{}", b"\0" * 100):
            self.ignored(data)
            with capturedLogs() as events:
                self.assertEqual(self.state.save([SONG]), set())
            self.assertEqual([event["log_level"].name for event in events], ["error"])
            self.assertEqual(self.path.read_bytes(), data)

    def test_what_is_damaged_or_old_is_ignored_and_removed(self) -> None:
        self.state.save([SONG])
        data = self.path.read_bytes()
        for bad in (data[:-1], data[:40], data + b"x", b"", data.replace(b"440", b"441"), data + b" " * BYTES_MOST):
            self.ignored(bad)
            self.assertFalse(self.path.exists())
        self.now += AGE_MOST + 1
        self.ignored(data)
        self.assertFalse(self.path.exists())

    def test_one_damaged_session_is_counted_and_the_others_are_taken(self) -> None:
        self.path.write_bytes(written(plain(track_id="x"), plain()))
        with capturedLogs() as events:
            self.assertEqual(self.state.take(), [SONG])
        self.assertEqual(self.state.ignored, 1)
        self.assertEqual([event["log_level"].name for event in events], ["warn"])

    def test_what_others_may_write_to_is_not_believed(self) -> None:
        self.state.save([SONG])
        self.path.chmod(0o620)
        self.ignored(self.path.read_bytes())
        self.assertTrue(self.path.exists())

    def test_a_pipe_or_a_folder_is_not_waited_for(self) -> None:
        for make in (os.mkfifo, os.mkdir):
            make(self.path)
            with capturedLogs() as events:
                self.assertEqual(self.state.take(), [])
                self.assertEqual(self.state.save([SONG]), set())
            self.assertEqual([event["log_level"].name for event in events], ["warn", "error"])
            self.path.unlink() if self.path.is_fifo() else self.path.rmdir()
        self.assertEqual(self.state.ignored, 2)

    def test_a_file_that_cannot_be_removed_is_not_taken_up(self) -> None:
        self.state.save([SONG])

        def stay(path: Path) -> None:
            raise PermissionError(13, "Permission denied")

        self.patch(Path, "unlink", stay)
        with capturedLogs() as events:
            self.assertEqual(self.another().take(), [])
        self.assertEqual(len(events), 1)

    def test_on_a_full_disk_nothing_is_kept_and_nothing_is_left_behind(self) -> None:
        def full(fd: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(os, "fsync", full)
        with capturedLogs() as events:
            self.assertEqual(self.state.save([SONG]), set())
        self.assertEqual([event["log_level"].name for event in events], ["error"])
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_where_nothing_can_be_written_nothing_is_kept(self) -> None:
        state = StateFile(Path("/proc/sessions"), lambda: NOW)
        with capturedLogs() as events:
            self.assertEqual(state.save([SONG]), set())
        self.assertEqual([event["log_level"].name for event in events], ["error"])
