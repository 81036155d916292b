"""More plays than the machine holds: some come in, the rest is told so at once, and who plays hears nothing of it.

The daemon has one core, and is asked for sessions that it must reckon with but that take nothing: their server does
not answer. So how fast or how busy the machine is decides little here.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import ensureDeferred, gatherResults

from audiosvc.flow.pressure import COSTS, ENCODE_CORES, FULL, REST, SHARE
from audiosvc.wire.messages import Subscribe
from tests.codec import material
from tests.integration.conftest import Start
from tests.integration.harness import Daemon, sleep, tone

MOST = FULL / (ENCODE_CORES * (COSTS[0] + REST))
"""Sessions that a core of an unknown machine is believed to hold, at the least effort."""

ASKED = int(2.8 * MOST)
"""More than a core holds on which encoding takes half of that, and fewer than the API's connections."""

RETURN_SECONDS = 120.0
"""Three steps take 15 s where nothing else goes on, and longer where the machine is busy."""


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1024)
        yield f"127.0.0.1:{listening.getsockname()[1]}"


async def on_one_core(start: Start, *options: str) -> Daemon:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        return await start(*options)
    finally:
        os.sched_setaffinity(0, before)


async def play(daemon: Daemon, session_id: str, url: str) -> None:
    """What is let in, but for moments in which the machine had no time for the daemon."""
    end = time.monotonic() + RETURN_SECONDS
    while (told := await ask(daemon, session_id, url))[0] == 503 and time.monotonic() < end:
        await sleep(1.0)
    assert told[0] == 200, told


async def ask(daemon: Daemon, session_id: str, url: str) -> tuple[int, Any, float]:
    """Status, answer, and the seconds it took."""
    began = time.monotonic()
    status, answer = await daemon.post(f"/session/{session_id}/play", {"url": url})
    return status, answer, time.monotonic() - began


@pytest_twisted.ensureDeferred
async def test_more_than_fit_are_refused_and_nobody_who_plays_hears_it(start: Start, silent: str) -> None:
    daemon = await on_one_core(start, "--overload=lower", f"--allow-host={silent}", f"--media-root={material.folder()}")

    async def overload() -> dict[str, Any]:
        return (await daemon.get("/health"))["overload"]  # type: ignore[no-any-return]

    names = [f"old:{i}" for i in range(3)]
    client = await daemon.connect(*map(Subscribe, names))
    for name in names:
        await play(daemon, name, tone(440, 300))
        await client.holds(name, 25)
    before = await overload()
    assert before["cores"] == 1.0

    plays = [ask(daemon, f"new:{i}", f"http://{silent}/{i}") for i in range(ASKED)]
    answers = await gatherResults([ensureDeferred(play) for play in plays])
    codes = Counter(answer.get("code", status) for status, answer, _ in answers)
    during = await overload()
    print(
        f"\n{ASKED} asked for: {dict(codes)}, the last answer after {max(took for *_, took in answers):.2f} s; {during}"
    )
    assert set(codes) == {200, "overloaded"}
    # How many come in follows from what the three that play were measured to take.
    assert codes[200] > SHARE * MOST - 10
    assert codes["overloaded"] == during["refused"] - before["refused"]
    assert (during["complexity"], during["reduced"], during["refusing"]) == (0, True, True)

    # In the place of what plays, or elsewhere in it, or without any work: all that still goes.
    await daemon.play("old:0", tone(550, 300))
    assert (await daemon.post("/session/old:1/seek", {"position": 30}))[0] == 200
    await play(daemon, "light", "20.opus")
    response = await daemon.request("POST", "/session/more/play", {"url": tone(440, 1)})
    assert (response[0], response[1]["code"]) == (503, "overloaded")

    # Their server never answered, so that they are gone soon.
    began = time.monotonic()
    await until_true(daemon, "not refusing", lambda seen: not seen["refusing"])
    await play(daemon, "more", tone(440, 1))
    await until_true(daemon, "full effort", lambda seen: seen["complexity"] == 10 and not seen["reduced"])
    print(f"room after {time.monotonic() - began:.1f} s; {await overload()}")
    for name in names[1:]:
        underruns = (await daemon.get(f"/session/{name}/status"))["underruns"]
        print(f"{name}: {underruns} underruns, largest gap {client.largest_gap(name) * 1000:.0f} ms")
        assert underruns == 0


async def until_true(daemon: Daemon, what: str, condition: Any) -> None:
    end = time.monotonic() + RETURN_SECONDS
    while not condition((await daemon.get("/health"))["overload"]):
        assert time.monotonic() < end, what
        await sleep(0.1)
