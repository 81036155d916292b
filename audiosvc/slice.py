"""The time slice Linux gives the thread that paces: a short one, so that it is let in before those that work ahead.

Since Linux 6.12 (EEVDF) a thread may name its slice, for which it needs no privilege. Who names a short one gets no
more of a processor by it, but does not wait until others have used up theirs, one after another where more children
start than there are cores. A child has the short one until its policy is set: until it is exec'd the reactor waits.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import threading

SLICE_NS = 100_000
"""The least that the kernel accepts. A beat of 20 sessions takes three times as long; it is an order, not a limit."""

_SYSCALLS = {"x86_64": 314, "aarch64": 274}
"""sched_setattr(2), which libc has no function for."""

_ATTRIBUTES = "=IIQiIQQQ"
"""struct sched_attr of 48 bytes: its size, policy, flags, niceness, priority, runtime, deadline, period."""


def shorten_slice() -> bool:
    """For the calling thread, and what it starts; False where it cannot be had, which older kernels do not tell."""
    number = _SYSCALLS.get(platform.machine())
    if number is None:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    size = struct.calcsize(_ATTRIBUTES)
    wanted = struct.pack(_ATTRIBUTES, size, os.SCHED_OTHER, 0, nice, 0, SLICE_NS, 0, 0)
    return bool(ctypes.CDLL(None).syscall(number, 0, wanted, 0) == 0)
