"""Row 26: media with bytes changed, cut out and put in."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.web.server import Site as WebFactory
from twisted.web.static import File

from tests.faults.harness import MIB, Round
from tests.integration.conftest import Start
from tests.integration.harness import reactor
from tests.integration.hearing import Hearing, together
from tests.integration.test_hostile_sources import CHILD_MOST, Memory
from tests.site import media
from tests.site.server import PUBLIC, REACHES

KINDS = ("mp3.mp3", "ogg.ogg", "webm.webm", "m4a.m4a", "flac.flac", "ts.ts", "hls/index.m3u8")
NOISE_BYTES = 2 * MIB
PATIENCE = media.SECONDS + 60
"""Seconds; what has to be decoded is, with 15 more to find out, but on a machine that has other things to do."""


def mutated(data: bytes, dice: random.Random) -> bytes:
    """A few of its bytes changed, removed, doubled, or the rest cut off; its beginning more often than its end."""
    held = bytearray(data)
    for _ in range(dice.choice([1, 3, 10, 100])):
        if not held:
            break
        at = int(len(held) * dice.random() ** dice.choice([1, 4]))
        span = dice.choice([1, 1, 4, 100, 5000])
        match dice.randrange(5):
            case 0 | 1:
                held[at : at + span] = dice.randbytes(min(span, len(held) - at))
            case 2:
                del held[at : at + span]
            case 3:
                held[at:at] = held[at : at + span]
            case _:
                held[at : at + 4] = dice.choice([b"\0" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff"])[: len(held) - at]
    return bytes(held[: int(len(held) * dice.random())] if dice.random() < 0.1 else held)


@pytest.mark.parametrize("each", [2, pytest.param(50, marks=pytest.mark.slow)])
@pytest_twisted.ensureDeferred
async def test_row_26_whatever_is_done_to_media_it_ends_and_others_play(
    start: Start, tmp_path: Path, each: int
) -> None:
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    for n in range(8):
        (tmp_path / f"index{n}.ts").write_bytes(media.content(f"hls/index{n}.ts"))
    # A playlist may lead FFmpeg round for half a minute: not on each push.
    kinds = KINDS if each > 2 else KINDS[:-1]
    names = [f"{n}-{Path(kind).name}" for kind in kinds for n in range(each)]
    for name in names:
        kind = next(kind for kind in KINDS if Path(kind).name == name.partition("-")[2])
        (tmp_path / name).write_bytes(mutated(media.content(kind), dice))
    (tmp_path / "noise.mp3").write_bytes(media.content("mp3.mp3")[:4096] + os.urandom(NOISE_BYTES))
    names.append("noise.mp3")
    served = reactor.listenTCP(0, WebFactory(File(str(tmp_path))), interface=PUBLIC)
    base = f"http://{PUBLIC}:{served.getHost().port}"
    daemon: Any = await start(*REACHES, "--extractors", "0")

    async def tried(name: str, session_id: str) -> tuple[str, str, list[str], float]:
        hearing = await Hearing(daemon, session_id).play(f"{base}/{name}")
        await hearing.end(PATIENCE)
        hearing.client.close()
        return name, hearing.outcome, hearing.types, time.monotonic() - hearing.began

    async def warm() -> None:
        await together([tried("index0.ts", f"warm-{n}") for n in range(8)])

    async with Round(daemon, warm=warm) as round:
        before = len(daemon.log)
        with Memory(daemon) as memory:
            found = await together([tried(name, f"m{n}") for n, name in enumerate(names)], most=8)
        outcomes = Counter(outcome for _, outcome, _, _ in found)
        assert {name: types for name, _, types, _ in found if len({*types} & {"finished", "error"}) != 1} == {}
        assert "internal" not in outcomes, (seed, [name for name, outcome, _, _ in found if outcome == "internal"])
        assert max(memory._peaks.values(), default=0) <= CHILD_MOST, str(memory)
        said = len(daemon.log) - before
        name, _, _, slowest = max(found, key=lambda one: one[3])
        round.report(
            26,
            f"{each} mutations of {len(kinds)} kinds of media, seed {seed}; {NOISE_BYTES / MIB:g} MiB of noise",
            f"{dict(outcomes)}, slowest {slowest:.1f} s ({name}); {memory}; {said / 1024:.0f} KiB of log",
            f"each ends within {media.SECONDS + 15} s, a child has 300 MB",
        )
    await served.stopListening()
