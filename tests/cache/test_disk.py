"""The folder of tracks: bounded, whole or not at all, whatever the disk does and however the daemon ends."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.cache import disk
from audiosvc.cache.disk import READ_SECONDS, WAITING_MOST, Disk, Store
from audiosvc.cache.track import MalformedTrack, Track
from tests.cache.support import NAME, files, raising, to_bytes, track
from tests.fakes import FakeReactor, open_fds

NAMES = [f"{i:064x}" for i in range(8)]
SIZE = len(to_bytes(track(NAMES[0])))

ROOT = Path(__file__).parents[2]

KILLED = """
import os, sys
from pathlib import Path
from audiosvc.cache.disk import Store
from tests.cache.support import track
store = Store(Path(sys.argv[1]), 1 << 30)
store.open()
store.write(track("a" * 64))
write, left = os.write, [int(sys.argv[2])]
def dying(descriptor, data):
    if left[0] <= len(data):
        write(descriptor, data[: left[0]])
        print("there", flush=True)
        sys.stdin.read()
    left[0] -= len(data)
    return write(descriptor, data)
os.write = dying
store.write(track("b" * 64))
"""


class StoreTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name) / "made" / "tracks"
        self.fds = open_fds()

    def store(self, size: int = 100 * SIZE) -> Store:
        store = Store(self.folder, size)
        store.open()
        self.addCleanup(store.close)
        return store


class StoreTests(StoreTestCase):
    def test_what_is_written_is_there_after_a_restart_and_is_nobody_elses(self) -> None:
        store = self.store()
        store.write(track())
        self.assertEqual((NAME in store, len(store), store.bytes, store.read(NAME)), (True, 1, SIZE, track()))
        modes = [path.stat().st_mode & 0o777 for path in (self.folder, self.folder / NAME, self.folder / "lock")]
        self.assertEqual(modes, [0o700, 0o600, 0o600])
        store.close()
        again = self.store()
        self.assertEqual((len(again), again.bytes, again.read(NAME)), (1, SIZE, track()))
        again.close()
        self.assertEqual(open_fds(), self.fds)

    def test_it_is_bounded_and_the_least_recently_used_goes_first_across_restarts(self) -> None:
        store = self.store(3 * SIZE)
        for i, name in enumerate(NAMES[:3]):
            store.write(track(name))
            os.utime(self.folder / name, (i, i))
        store.read(NAMES[0])
        store.write(track(NAMES[3]))
        self.assertEqual(files(self.folder), {NAMES[0], NAMES[2], NAMES[3]})
        store.close()
        store = self.store(2 * SIZE)
        self.assertEqual(files(self.folder), {NAMES[0], NAMES[3]})
        self.assertEqual(store.bytes, 2 * SIZE)

    def test_a_track_takes_the_place_of_one_of_its_name(self) -> None:
        store = self.store()
        store.write(track())
        store.write(track(count=20))
        self.assertEqual((len(store), store.bytes), (1, (self.folder / NAME).stat().st_size))

    def test_what_is_half_written_goes_at_the_start_and_what_is_not_ours_stays(self) -> None:
        self.folder.mkdir(parents=True)
        theirs = {"letter.txt", "a" * 63, "A" * 64, "b" * 64 + ".parts"}
        for name in (*theirs, "b" * 64 + ".part"):
            (self.folder / name).write_text("x")
        (self.folder / ("c" * 64)).mkdir()
        (self.folder / ("d" * 64)).symlink_to(self.folder / "letter.txt")
        store = self.store()
        self.assertEqual(files(self.folder), theirs | {"c" * 64, "d" * 64})
        self.assertEqual(len(store), 0)
        self.assertRaises(OSError, store.read, "d" * 64)

    def test_what_is_damaged_is_not_read_and_removed(self) -> None:
        store = self.store()
        whole = to_bytes(track())
        for damaged in (b"", whole[:-1], whole + b"x", whole[:500] + bytes([whole[500] ^ 1]) + whole[501:]):
            store.write(track())
            (self.folder / NAME).write_bytes(damaged)
            self.assertRaises(MalformedTrack, store.read, NAME)
            self.assertEqual((files(self.folder), len(store), store.bytes), (set(), 0, 0))
        store.write(track(NAMES[0]))
        (self.folder / NAMES[0]).rename(self.folder / NAMES[1])
        self.assertIsNone(store.read(NAMES[0]))
        self.assertNotIn(NAMES[0], store)
        self.assertRaises(MalformedTrack, store.read, NAMES[1])

    def test_a_disk_that_fails_leaves_nothing_behind(self) -> None:
        store = self.store()
        store.write(track(NAMES[0]))
        for code in (errno.ENOSPC, errno.EIO, errno.EDQUOT):
            for call in ("write", "open"):
                with _Failing(call, code):
                    self.assertRaises(OSError, store.write, track())
                self.assertEqual((files(self.folder), store.bytes), ({NAMES[0]}, SIZE))
        self.patch(Path, "replace", raising(OSError(errno.EROFS, "")))
        self.assertRaises(OSError, store.write, track())
        self.assertEqual(files(self.folder), {NAMES[0]})

    def test_writes_that_take_a_part_at_a_time_make_a_whole(self) -> None:
        write = os.write
        self.patch(disk.os, "write", lambda descriptor, data: write(descriptor, data[:7]))
        store = self.store()
        store.write(track())
        self.assertEqual(store.read(NAME), track())

    def test_a_limit_of_the_kernels_is_a_full_disk(self) -> None:
        store = self.store()
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, before)
        resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE // 2, before[1]))
        self.assertRaises(OSError, store.write, track())
        self.assertEqual((files(self.folder), store.bytes), (set(), 0))

    def test_what_is_larger_than_all_there_may_be_pushes_nothing_out(self) -> None:
        store = self.store(2 * SIZE)
        store.write(track(NAMES[0]))
        self.assertRaises(OSError, store.write, track(count=40))
        self.assertEqual(files(self.folder), {NAMES[0]})

    def test_a_folder_is_one_daemons(self) -> None:
        self.store()
        fds = open_fds()
        self.assertRaises(OSError, Store(self.folder, SIZE).open)
        self.assertEqual(open_fds(), fds)

    def test_a_folder_that_others_write_to_is_refused(self) -> None:
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o770)
        self.assertRaises(OSError, Store(self.folder, SIZE).open)

    def test_killed_in_mid_file_it_leaves_what_is_whole(self) -> None:
        for size in (0, 1, SIZE // 2, SIZE - 1, SIZE):
            argv = [sys.executable, "-c", KILLED, str(self.folder), str(size)]
            child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
            assert child.stdout is not None and child.stdin is not None
            self.assertEqual(child.stdout.readline(), b"there\n")
            child.send_signal(signal.SIGKILL)
            child.wait()
            child.stdout.close()
            child.stdin.close()
            self.assertEqual(files(self.folder), {"a" * 64, "b" * 64 + ".part"})
            store = self.store()
            self.assertEqual(files(self.folder), {"a" * 64})
            self.assertEqual(store.read("a" * 64), track("a" * 64))
            store.close()


class _Failing:
    """While it is entered, a call of `os` fails as a disk makes it."""

    def __init__(self, call: str, code: int) -> None:
        self._call = call
        self._error = OSError(code, os.strerror(code))
        self._real = getattr(os, call)

    def __enter__(self) -> None:
        setattr(disk.os, self._call, raising(self._error))

    def __exit__(self, *_: object) -> None:
        setattr(disk.os, self._call, self._real)


class DiskTests(StoreTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.reactor = FakeReactor()
        self.inner = Store(self.folder, 100 * SIZE)
        self.disk = Disk(self.reactor.as_reactor, self.inner)
        self.addCleanup(self.disk.stop)

    def start(self) -> None:
        self.disk.start()
        self.settle()

    def settle(self) -> None:
        """All that was asked of the thread so far is done, and told."""
        done = threading.Event()
        self.disk._jobs.put(done.set)
        self.assertTrue(done.wait(10))
        self.reactor.advance(0)

    def read(self, name: str = NAME) -> Track | None:
        reading = self.disk.read(name)
        self.settle()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        return self.successResultOf(reading)

    def test_a_track_is_written_and_read_in_the_background(self) -> None:
        self.start()
        self.assertTrue(self.disk.opened)
        self.disk.write(track())
        self.settle()
        self.assertEqual((NAME in self.disk, len(self.disk), self.disk.bytes), (True, 1, SIZE))
        self.assertEqual(self.read(), track())
        self.disk.remove(NAME)
        self.settle()
        self.assertEqual((self.read(), self.disk.errors, files(self.folder)), (None, 0, set()))

    def test_a_folder_that_cannot_be_had_is_counted_and_nothing_is_written(self) -> None:
        self.folder.parent.mkdir()
        self.folder.write_text("a file")
        self.start()
        self.disk.write(track())
        self.settle()
        self.assertEqual((self.disk.opened, self.disk.errors, self.read()), (False, 1, None))
        self.assertEqual(self.folder.read_text(), "a file")

    def test_what_fails_is_counted_and_the_next_goes_well(self) -> None:
        self.start()
        with _Failing("write", errno.ENOSPC):
            self.disk.write(track())
            self.settle()
        self.assertEqual((self.disk.errors, NAME in self.disk), (1, False))
        self.disk.write(track())
        self.settle()
        (self.folder / NAME).write_bytes(b"damaged")
        self.assertIsNone(self.read())
        self.assertEqual((self.disk.errors, NAME in self.disk), (2, False))

    def block(self) -> threading.Event:
        """The disk stands still until this is set."""
        go_on = threading.Event()
        self.addCleanup(go_on.set)
        self.disk._jobs.put(lambda: go_on.wait(10) and None)
        return go_on

    def test_few_wait_to_be_written(self) -> None:
        self.start()
        go_on = self.block()
        for name in NAMES[: WAITING_MOST + 2]:
            self.disk.write(track(name))
        self.assertEqual(self.disk.errors, 2)
        go_on.set()
        self.settle()
        self.assertEqual(files(self.folder), set(NAMES[:WAITING_MOST]))
        self.disk.write(track())
        self.settle()
        self.assertIn(NAME, self.disk)

    def test_nobody_waits_long_for_a_disk_that_hangs(self) -> None:
        self.start()
        go_on = self.block()
        reading: Deferred[Track | None] = self.disk.read(NAME)
        self.reactor.advance(READ_SECONDS - 0.1)
        self.assertNoResult(reading)
        self.reactor.advance(0.2)
        self.assertIsNone(self.successResultOf(reading))
        self.assertEqual(self.disk.errors, 1)
        go_on.set()
        self.settle()

    def test_a_read_may_be_cancelled(self) -> None:
        self.start()
        go_on = self.block()
        reading = self.disk.read(NAME)
        reading.cancel()
        self.failureResultOf(reading, CancelledError)
        go_on.set()
        self.settle()
        self.assertEqual((self.disk.errors, self.reactor.getDelayedCalls()), (0, []))

    def test_the_end_waits_for_what_is_written_and_not_for_a_disk_that_hangs(self) -> None:
        self.start()
        self.disk.write(track())
        self.disk.stop()
        self.assertEqual(files(self.folder), {NAME})
        self.assertEqual(open_fds(), self.fds)
        other = Disk(self.reactor.as_reactor, self.inner)
        self.patch(disk, "STOP_SECONDS", 0.01)
        other.start()
        other._jobs.put(lambda: go_on.wait(10) and None)
        go_on = threading.Event()
        other.stop()
        go_on.set()
        other._thread.join(10)
        Disk(self.reactor.as_reactor, self.inner).stop()
