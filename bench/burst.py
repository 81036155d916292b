"""Many plays at once beside some that play already: what those hear of it, who gets in, and how soon the rest is told.

The daemon handles overload as it does by itself, which no other measurement here lets it.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from bench.daemon import LOOK_SECONDS, Setup, running
from bench.measure import Delivery, delivery
from bench.scenarios import Workload

BURST_SECONDS = 1.0
"""In which all plays are asked for."""

CALLERS = 64
"""Connections that they are asked for on; one that waits for its answer sends nothing else."""

ANSWER_MOST = 30.0


@dataclass(frozen=True)
class Size:
    """`playing` sessions, and `asked` plays more."""

    playing: int
    asked: int

    @classmethod
    def of(cls, text: str) -> Size:
        """Of "20+200"; ValueError where it is none."""
        playing, asked = map(int, text.split("+"))
        if playing < 0 or asked < 1:
            raise ValueError
        return cls(playing, asked)


@dataclass(frozen=True)
class Answer:
    code: str
    """`ok`, or the error's."""
    took: float
    """Milliseconds from when it was due to be asked for."""


@dataclass(frozen=True)
class Burst:
    """Times in milliseconds. The plays are watched for as long as any run is measured."""

    playing: int
    asked: int
    answers: dict[str, int]
    """How many plays were answered how."""
    admitted_ms: list[float]
    refused_ms: list[float]
    """From when a play was due until its answer."""
    first_packet_ms: list[float]
    """Of those admitted, in the order in which they were asked for."""
    silent: int
    """Of those admitted, how many were never heard."""
    before: Delivery
    """Of those that played already, from the first play asked for on."""
    new: Delivery
    """Of those admitted, all of them together, from each one's first packet on."""
    underruns: int
    complexity: int
    """At the end."""


async def burst(reactor: Any, setup: Setup, workload: Workload, size: Size) -> Burst:
    """Raises `BenchFailed`."""
    old = [f"old:{number}" for number in range(size.playing)]
    new = [f"new:{number}" for number in range(size.asked)]
    async with running(reactor, setup, size.playing + size.asked, overload="lower") as it:
        for number, name in enumerate(old):
            await it.control.play(name, workload.part(number).address(number))
        while (await it.control.vitals())["sessions"]["extracting"]:
            await deferLater(reactor, LOOK_SECONDS)
        await deferLater(reactor, setup.excerpt.at)
        underruns = (await it.control.vitals())["delivery"]["underruns"]
        began = time.monotonic()
        plays = [(name, workload.part(number).address(number)) for number, name in enumerate(new)]
        api = it.socket.with_name("api.sock")
        answers = await deferToThread(ask_all, api, plays, BURST_SECONDS / size.asked)
        await deferLater(reactor, max(0.0, began + BURST_SECONDS + setup.excerpt.seconds - time.monotonic()))
        ended = time.monotonic()
        vitals = await it.control.vitals()
    noted = it.receiver.noted
    admitted = [number for number, answer in enumerate(answers) if answer.code == "ok"]
    heard = {number: times for number in admitted if (times := noted.packets.get(new[number]))}
    return Burst(
        playing=size.playing,
        asked=size.asked,
        answers=dict(Counter(answer.code for answer in answers)),
        admitted_ms=[answers[number].took for number in admitted],
        refused_ms=[answer.took for answer in answers if answer.code != "ok"],
        first_packet_ms=[
            times[0] / 1e6 - (began + number * BURST_SECONDS / size.asked) * 1e3 for number, times in heard.items()
        ],
        silent=len(admitted) - len(heard),
        before=delivery([noted.packets.get(name, ()) for name in old], int(began * 1e9), int(ended * 1e9)),
        new=delivery(heard.values(), 0, int(ended * 1e9)),
        underruns=vitals["delivery"]["underruns"] - underruns,
        complexity=vitals["overload"]["complexity"],
    )


def ask_all(api: Path, plays: Sequence[tuple[str, str]], interval: float) -> list[Answer]:
    """Ask for each of `plays`, a session's id and a URL, `interval` seconds after the one before. Blocks."""
    callers = threading.local()

    def caller() -> http.client.HTTPConnection:
        if not hasattr(callers, "connection"):
            callers.connection = _Connection(api)
        return callers.connection  # type: ignore[no-any-return]

    def ask(due: float, play: tuple[str, str]) -> Answer:
        session_id, url = play
        try:
            connection = caller()
            body = json.dumps({"url": url})
            connection.request("POST", f"/session/{session_id}/play", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
            code = "ok" if response.status == 200 else answer["code"]
        except (OSError, http.client.HTTPException) as error:
            del callers.connection
            code = type(error).__name__
        return Answer(code, (time.monotonic() - due) * 1e3)

    began = time.monotonic()
    with ThreadPoolExecutor(CALLERS) as pool:
        asked = []
        for number, play in enumerate(plays):
            due = began + number * interval
            time.sleep(max(0.0, due - time.monotonic()))
            asked.append(pool.submit(ask, due, play))
        return [answer.result() for answer in asked]


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_MOST)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
