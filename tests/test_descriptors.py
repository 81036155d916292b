"""Descriptors that there must be for a play."""

from __future__ import annotations

import errno
import os
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.descriptors import NEEDED, check_descriptors
from audiosvc.errors import NoFds


class DescriptorTests(SynchronousTestCase):
    def leave(self, count: int) -> set[int]:
        """Let so many be open at once, and no more; what is open is in the set."""
        real_open, real_close, held = os.open, os.close, set[int]()

        def open_(*args: Any) -> int:
            if len(held) == count:
                raise OSError(errno.EMFILE, "Too many open files")
            held.add(fd := real_open(*args))
            return fd

        def close(fd: int) -> None:
            held.remove(fd)
            real_close(fd)

        self.patch(os, "open", open_)
        self.patch(os, "close", close)
        return held

    def test_enough_is_enough_and_nothing_is_kept(self) -> None:
        held = self.leave(NEEDED)
        check_descriptors()
        check_descriptors()
        self.assertEqual(held, set())

    def test_one_too_few_is_refused_and_nothing_is_kept(self) -> None:
        held = self.leave(NEEDED - 1)
        self.assertRaises(NoFds, check_descriptors)
        self.assertRaises(NoFds, check_descriptors)
        self.assertEqual(held, set())
        check_descriptors(NEEDED - 1)
