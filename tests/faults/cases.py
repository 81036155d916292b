"""Cases of rows that one daemon plays at the same time: what each heard, and whether that is what it must be."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import NamedTuple

from audiosvc.audio import FRAME_SECONDS
from tests.faults.harness import Round
from tests.integration.harness import Daemon
from tests.integration.hearing import Hearing, together
from tests.site.server import Site

NEAR = 0.06
"""Seconds by which sound may be off its place."""

HEARD = 9
"""Seconds played of a track that lasts longer, where its end does not matter."""

Expected = tuple[bool, str]
"""Whether it is so, and what to say if it is not."""


class Case(NamedTuple):
    """One hearing that is over. In any case the sound is in its place, and there was one end."""

    name: str
    hearing: Hearing
    expected: Sequence[Expected]
    starts_at: float = 0

    def look(self) -> tuple[float, list[str]]:
        """Seconds that it is off its place, and what is not as it must be. Not while others are timed."""
        hearing = self.hearing
        off = hearing.off(self.starts_at) if hearing.packets else 0.0
        line = f"  {self.name:22} {hearing.outcome:20} {hearing.seconds:6.2f} s, silent for {hearing.gap:5.2f} s"
        print(f"{line}, off {off * 1000:5.1f} ms, {', '.join(hearing.types)}")
        wrong = [f"{self.name}: {what}" for right, what in self.expected if not right]
        if not abs(off) <= NEAR:
            wrong.append(f"{self.name}: off by {off:.3f} s")
        ends = [kind for kind in hearing.types if kind in ("finished", "stopped", "error")]
        if len(ends) != 1:
            wrong.append(f"{self.name}: ended {ends}")
        return off, wrong


def case(name: str, hearing: Hearing, *expected: Expected, starts_at: float = 0) -> Case:
    return Case(name, hearing, expected, starts_at)


class Row(NamedTuple):
    number: int
    injected: str
    bound: str
    cases: Sequence[Awaitable[Case]]


def whole(hearing: Hearing, seconds: float = HEARD) -> Expected:
    right = hearing.outcome == "finished" and abs(hearing.seconds - seconds) <= FRAME_SECONDS + 1e-9
    return right, f"{hearing.outcome} after {hearing.seconds} s of {seconds}"


async def play_out(round: Round, rows: Sequence[Row]) -> None:
    """All cases of all rows at once; a line for each row in the round's report."""
    done = await together([case for row in rows for case in row.cases])
    wrong = []
    print()
    for row in rows:
        cases, done = done[: len(row.cases)], done[len(row.cases) :]
        print(f"row {row.number}: {row.injected}")
        looks = [case.look() for case in cases]
        wrong += [f"row {row.number}: {what}" for _, found in looks for what in found]
        off = max(abs(off) for off, _ in looks)
        silent = max((case.hearing.gap for case in cases if case.hearing.outcome == "finished"), default=0.0)
        seen = f"{len(cases)} cases, off by {off * 1000:.1f} ms at most, silent for {silent:.2f} s in what finished"
        round.report(row.number, row.injected, seen, row.bound)
    assert not wrong, "\n".join(wrong)


async def warm(daemon: Daemon, site: Site, number: int = 20) -> None:
    """So many sessions at once, by http and https, with as much of each in memory as a client may come back for."""

    async def one(n: int) -> None:
        url = site.url("media/long.mp3", ("http", "https")[n % 2], k=f"warm{n}")
        hearing = await Hearing(daemon, f"warm-{n}").play(url, duration=13)
        await hearing.end()
        hearing.client.close()

    await together([one(n) for n in range(number)])
