"""Rows 15 and 16: plays and stops in a heap, on one id and on many at once."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from audiosvc.wire.messages import TERMINAL, Credit, Packet, Ready, SessionEvent, Stopped, Subscribe
from tests.faults.calls import Looks, pipeline
from tests.faults.harness import MIB, Round
from tests.integration.conftest import Start
from tests.integration.harness import Client, sleep, tone, until

NOTES = (300, 500, 700, 900)


def tracks_in_order(client: Client, session_id: str) -> dict[str, list[Any]]:
    """What came of each track, in order; each track's messages follow each other, none of another in between."""
    tracks: dict[str, list[Any]] = {}
    current = ""
    for message in client.received:
        if isinstance(message, Packet) and message.session_id == session_id:
            tracks[current].append(message.payload)
        elif isinstance(message, SessionEvent) and message.session_id == session_id:
            assert message.track_id == current or message.track_id not in tracks
            current = message.track_id
            tracks.setdefault(current, []).append(message)
    return tracks


@pytest.mark.parametrize("calls", [300, pytest.param(1000, marks=pytest.mark.slow)])
@pytest_twisted.ensureDeferred
async def test_row_15_plays_and_stops_on_one_id_end_once_each_and_the_last_call_wins(start: Start, calls: int) -> None:
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    daemon: Any = await start()
    references = {tone(hz, 10): await daemon.alone(tone(hz, 10)) for hz in NOTES}
    # What an ended track held outside Python's heap, its encoder above all, is let go at once.
    async with Round(daemon) as round:
        client = await daemon.connect(Subscribe("s"))
        control = await pipeline(daemon)
        looks = Looks(daemon, len(round.bystanders.urls))
        looking = Deferred.fromCoroutine(looks.look())
        urls: dict[str, str] = {}
        made = bursts = 0
        while made < calls:
            size = min(dice.choice([1, 2, 3, 10, 40]), calls - made)
            ops = [dice.choice(["play", "play", "stop"]) for _ in range(size)]
            asked = [tone(dice.choice(NOTES), 10) for _ in ops]
            bodies = [{"url": url} if op == "play" else None for op, url in zip(ops, asked, strict=True)]
            answers = await control.post(*((f"/session/s/{op}", body) for op, body in zip(ops, bodies, strict=True)))
            assert [status for status, _ in answers] == [200] * size
            urls |= {a["track_id"]: url for (_, a), url in zip(answers, asked, strict=True) if "track_id" in a}
            status, now = await daemon.request("GET", "/session/s/status")
            if ops[-1] == "stop":
                assert (status, now["status"]) == (404, "not_found")
            else:
                assert (status, now["track_id"], now["url"]) == (200, answers[-1][1]["track_id"], asked[-1])
            made, bursts = made + size, bursts + 1
            await sleep(dice.choice([0, 0, 0.005, 0.02, 0.05, 0.1]))
        ((_, last),) = await control.post(("/session/s/play", {"url": tone(300, 10)}))
        urls[last["track_id"]] = tone(300, 10)
        await until(lambda: len(tracks_in_order(client, "s").get(last["track_id"], [])) > 25, "the last play is heard")
        await control.post(("/session/s/stop", None))
        await until(lambda: len(client.ends("s")) == len(urls), "every play ends")
        looks.over = True
        await looking
        control.transport.loseConnection()  # type: ignore[union-attr]

        tracks = tracks_in_order(client, "s")
        assert list(tracks) == list(urls)
        heard = 0
        for track_id, messages in tracks.items():
            ends = [m for m in messages if isinstance(m, TERMINAL)]
            assert ends == messages[-1:]
            assert isinstance(ends[0], Stopped)
            packets = [m for m in messages if isinstance(m, bytes)]
            assert packets == references[urls[track_id]][: len(packets)]
            assert isinstance(messages[0], Ready) or len(messages) == 1
            heard += isinstance(messages[0], Ready)
        assert looks.most_live <= 1
        round.report(
            15,
            f"{calls} plays and stops on one id in {bursts} bursts (seed {seed})",
            f"{calls} answers, {len(urls)} plays, {heard} heard, {len(urls)} ends, the last call won; at most "
            f"{looks.most_live} child in {looks.count} looks",
            "an answer each, the last wins, 1 child",
        )


@pytest.mark.parametrize("number", [100, pytest.param(200, marks=pytest.mark.slow)])
@pytest_twisted.ensureDeferred
async def test_row_16_many_ids_at_once_all_play_and_leave_nothing_behind(start: Start, number: int) -> None:
    daemon: Any = await start("--max-sessions", str(number))
    names = [f"s{n}" for n in range(number)]

    async def once() -> None:
        """What the heap keeps of so many at once it keeps for the next."""
        client = await daemon.connect(*[line for name in names for line in (Subscribe(name), Credit(name, 0))])
        for name in names:
            await daemon.play(name, tone(300, 30))
        await until(lambda: len(daemon.live_children()) == number, "they play", 60)
        for name in names:
            await daemon.post(f"/session/{name}/stop")
        await daemon.disconnect(client)

    async with Round(daemon, warm=once) as round:
        # Nothing is asked of them beyond their beginning, so that what is seen is what starting them costs.
        client = await daemon.connect(*[line for name in names for line in (Subscribe(name), Credit(name, 0))])
        control = await pipeline(daemon)
        before, began = daemon.rss(), time.monotonic()
        wanted = [(f"/session/{name}/play", {"url": tone(300 + n, 30)}) for n, name in enumerate(names)]
        answers = await control.post(*wanted)
        answered = time.monotonic() - began
        refused = [answer["code"] for status, answer in answers if status != 200]
        assert refused == ["too_many_sessions"] * len(round.bystanders.urls)
        played = names[: len(names) - len(refused)]
        await until(lambda: all("ready" in client.types(name) for name in played), "all are ready", 60)
        ready = time.monotonic() - began
        held, children, fds = daemon.rss() - before, len(daemon.live_children()), daemon.fds()
        assert children == number
        await control.post(*((f"/session/{name}/stop", None) for name in played))
        await until(lambda: all(client.ends(name) for name in played), "all end")
        control.transport.loseConnection()  # type: ignore[union-attr]
        for name, (_, answer) in zip(played, answers, strict=False):
            assert client.types(name) == ["ready", "stopped"]
            assert {event.track_id for event in client.events(name)} == {answer["track_id"]}
        health = await daemon.get("/health")
        round.report(
            16,
            f"{number} ids at once, {number} sessions allowed, 3 of them there",
            f"answered in {answered:.2f} s, {len(played)} play within {ready:.2f} s, {len(refused)} x 503; "
            f"{children} children, {fds} fds, {held / MIB:+.1f} MiB; the pacer's gap "
            f"{health['pacer']['largest_gap_ms']:.0f} ms",
            "all play within 15 s, or 503",
        )
