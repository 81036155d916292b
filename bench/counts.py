"""From what valgrind and strace write to numbers, and from numbers to a verdict. No I/O."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

Counts = Mapping[str, float]
"""Per packet, by name."""

NOT_COUNTED = ("syscall", "total", "futex")
"""The table's head and foot. Of futex there is much or little as the machine is busy or not."""

_TOTAL = re.compile(r"Total:\s+([\d,]+) bytes in ([\d,]+) blocks")


def instructions_by_object(lines: Iterable[str]) -> dict[str, int]:
    """Instructions of each library and program, those of what it calls not counted, from a file of callgrind's.

    With names in full; the line behind `calls=` is what the call cost.
    """
    spent: defaultdict[str, int] = defaultdict(int)
    where, called = "", False
    for line in lines:
        if line.startswith("ob="):
            where = line[3:].rstrip()
        elif line.startswith("calls="):
            called = True
        elif line[:1] in "0123456789+-*":
            if not called:
                spent[where] += int(line.split()[-1])
            called = False
    return dict(spent)


def copied(text: str) -> int:
    """Bytes, from what valgrind's DHAT says at its end."""
    match = _TOTAL.search(text)
    if match is None:
        raise ValueError("valgrind did not say what was copied")
    return int(match[1].replace(",", ""))


def system_calls(text: str) -> dict[str, int]:
    """How often each was made, from the table that `strace -c` writes. Without threads' waits for one another."""
    calls = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 5 and words[3].isdigit() and words[-1] not in NOT_COUNTED:
            calls[words[-1]] = int(words[3])
    if not calls:
        raise ValueError("strace did not see anything")
    return calls


def exceeded(bounds: Counts, counted: Counts, slack: Counts) -> list[str]:
    """What is above its bound by more than the share of it that `slack` allows, by what the name begins with.

    What has no bound is above it; what was not counted is too.
    """
    said = []
    for name in sorted({*bounds, *counted}):
        if name not in bounds or name not in counted:
            said.append(f"{name}: {'no bound' if name in counted else 'not counted'}")
        elif counted[name] > bounds[name] * (1 + slack[name.partition(" ")[0]]):
            said.append(f"{name}: {counted[name]:,.2f} a packet, bound {bounds[name]:,.2f}")
    return said
