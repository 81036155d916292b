"""What every child gets before it reads a byte that somebody else wrote: an end with ours, no privileges, limits."""

from __future__ import annotations

import contextlib
import resource
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

MEMORY_MOST = 768 * 1024 * 1024
"""Bytes of address space of an FFmpeg: Debian's does not load in 256 MiB, the static one of version 9 does."""

FILES_MOST = 64

OOM_SCORE = 500
"""Added to a child's badness, of 1000: where memory runs out a child goes, which is replaced, and not the daemon."""

ANSWER_SECONDS = 5


class Hardening(NamedTuple):
    """`prefix` goes right before the child's own command line; `missing` says what is lacking, None if nothing is."""

    prefix: tuple[str, ...]
    missing: str | None = None


def find_hardening() -> Hardening:
    """The prefix that works here, tried once.

    The signal at the parent's death also ends a child that waits for a silent server, or on a pipe that nobody reads.
    It has to be asked for inside the child; limits do not, see `limit`.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return Hardening((), "setpriv (util-linux) is not installed")
    prefix = (setpriv, "--pdeathsig", "KILL", "--no-new-privs", "--")
    try:
        tried = subprocess.run(
            [*prefix, setpriv, "--version"],
            stdin=subprocess.DEVNULL, capture_output=True, env={}, timeout=ANSWER_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return Hardening((), f"setpriv does not work: {error}")
    if tried.returncode:
        return Hardening((), f"setpriv does not work: {tried.stderr[-200:].decode(errors='replace').strip()}")
    return Hardening(prefix)


def limit(pid: int, memory: int = MEMORY_MOST, files: int = FILES_MOST) -> None:
    """Bound a child that was just spawned and is not reaped: memory, descriptors, no byte into any file, no core dump.

    By prlimit(2) from outside, which saves the exec of prlimit(1), 0.6 ms of every start. What the child fetches comes
    through the door, and so from a later turn of the reactor than this. A child that has exited already is no error;
    an `OSError` says that it is not bounded.

    Processes are not bounded: RLIMIT_NPROC counts all of a user's, and none of root's. That is for TasksMax= of systemd
    or the container's limit of pids.
    """
    with contextlib.suppress(ProcessLookupError):
        for kind, most in (
            (resource.RLIMIT_AS, memory),
            (resource.RLIMIT_NOFILE, files),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
        ):
            _, hard = resource.prlimit(pid, kind)
            least = most if hard == resource.RLIM_INFINITY else min(most, hard)
            resource.prlimit(pid, kind, (least, least))


def prefer_for_oom(pid: int) -> bool:
    """Let the kernel end this child before us. False where that cannot be said now, while it enters a namespace."""
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(OOM_SCORE))
    except PermissionError:
        return False
    except (FileNotFoundError, ProcessLookupError):
        pass
    return True
