from __future__ import annotations

import ctypes
import os
import platform
import struct
import threading

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.slice import SLICE_NS, shorten_slice

GET = {"x86_64": 315, "aarch64": 275}
"""sched_getattr(2)."""

UNKNOWN = 0
"""What kernels tell that know of no slices."""


class SliceTests(SynchronousTestCase):
    def in_a_thread(self) -> list[tuple[bool, tuple[int, ...]]]:
        """Whether it was had, and the thread's attributes after that; the thread that runs the tests keeps its own."""
        found: list[tuple[bool, tuple[int, ...]]] = []

        def run() -> None:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 3)
            had = shorten_slice()
            said = ctypes.create_string_buffer(48)
            ctypes.CDLL(None).syscall(GET.get(platform.machine(), -1), 0, said, 48, 0)
            found.append((had, struct.unpack("=IIQiIQQQ", said.raw)))

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return found

    def test_a_thread_gets_it_and_stays_what_it_was_in_all_else(self) -> None:
        if platform.machine() not in GET:
            return
        ((had, (_, policy, flags, nice, _, runtime, _, _)),) = self.in_a_thread()
        self.assertTrue(had)
        self.assertEqual((policy, flags, nice), (os.SCHED_OTHER, 0, 3))
        self.assertIn(runtime, (SLICE_NS, UNKNOWN))

    def test_where_the_call_is_not_known_it_is_not_made(self) -> None:
        self.patch(platform, "machine", lambda: "riscv64")
        self.assertFalse(shorten_slice())
