"""Row 35: calls on one session that overtake what it is just doing."""

from __future__ import annotations

import random
from typing import Any

import pytest_twisted
from twisted.internet.defer import Deferred

from audiosvc.wire.messages import Packet, Ready, Seeked, Subscribe
from tests.faults.calls import Looks, pipeline
from tests.faults.cases import HEARD, case, warm
from tests.faults.harness import Round
from tests.integration.conftest import Start
from tests.integration.harness import sleep, tone, until
from tests.integration.hearing import Hearing
from tests.site import media
from tests.site.server import REACHES, Site

LOOK_SECONDS = 2
"""That the first look at a source takes, whose server is silent for so long."""


@pytest_twisted.ensureDeferred
async def test_row_35_calls_before_the_first_packet_are_obeyed(start: Start, site: Site) -> None:
    daemon = await start(*REACHES)
    media.content("long.mp3")
    async with Round(daemon, warm=lambda: warm(daemon, site, 4)) as round:
        control = await pipeline(daemon)
        hearing = Hearing(daemon, "sought")
        await hearing.play(site.url("stall/long.mp3", bytes=1000, seconds=LOOK_SECONDS))
        told = []
        for position in (30, 50, 20):
            told.append((await daemon.get("/session/sought/status"))["status"])
            status, answer = await daemon.post("/session/sought/seek", {"position": position})
            assert (status, answer["position"]) == (200, position)
        await hearing.draw(HEARD * 50)
        await daemon.post("/session/sought/stop")
        await hearing.end()
        first = next(e for e in hearing.events if isinstance(e, (Ready, Seeked)))
        assert first.position == 20
        _, wrong = case("sought while it is looked at", hearing, starts_at=20).look()
        assert not wrong

        client = await daemon.connect(Subscribe("early"), Subscribe("paused"))
        spawns = (await daemon.get("/health"))["spawns"]
        answers = await control.post(
            *[("/session/early/play", {"url": tone(440, 60)}), ("/session/early/stop", None)] * 20,
            ("/session/paused/play", {"url": tone(500, 3)}),
            ("/session/paused/pause", None),
        )
        assert {status for status, _ in answers} == {200}
        await until(lambda: len(client.ends("early")) == 20, "every play has its end")
        assert client.types("early") == ["stopped"] * 20 or "ready" in client.types("early")
        assert (await daemon.get("/session/paused/status"))["status"] == "paused"
        await daemon.post("/session/paused/resume")
        await client.hears("paused", "finished")
        await round.as_alone(client, "paused", tone(500, 3))
        spawned = (await daemon.get("/health"))["spawns"] - spawns
        round.report(
            35,
            f"seeks while {', '.join(told)}; 20 stops while spawning; pause before the first packet",
            f"heard from the last position; 20 ends, {spawned - 2} children for them; whole after resume",
            "the last wins",
        )


@pytest_twisted.ensureDeferred
async def test_row_35_of_fifty_seeks_in_a_burst_the_last_is_heard_as_if_played_from_there(
    start: Start,
) -> None:
    daemon = await start()
    async with Round(daemon) as round:
        before = (await daemon.get("/health"))["spawns"]
        source, last = "demo:nightdrive", 88.24
        reference = await daemon.alone(source, start_at=last)
        beginning = await daemon.alone(source, duration=2)
        client = await daemon.connect()
        control = await pipeline(daemon)
        looks = Looks(daemon, len(round.bystanders.urls))
        looking = Deferred.fromCoroutine(looks.look())
        await daemon.play("s", source)
        await client.holds("s", 50)
        seeks = [*(1 + n * 1.5 for n in range(49)), last]
        answers = await control.post(*(("/session/s/seek", {"position": position}) for position in seeks))
        assert [status for status, _ in answers] == [200] * 50
        await client.hears("s", "finished")
        looks.over = True
        await looking

        at = [n for n, message in enumerate(client.received) if isinstance(message, Seeked)]
        sought = [message.position for message in client.received if isinstance(message, Seeked)]
        old = [m.payload for m in client.received[: at[0]] if isinstance(m, Packet)]
        new = [m.payload for m in client.received[at[-1] :] if isinstance(m, Packet)]
        between = [m for m in client.received[at[0] : at[-1]] if isinstance(m, Packet)]
        vitals = await daemon.get("/health")
        seen = f"{len(sought)} told, {len(between)} packets between, {vitals['spawns'] - before - 2} children"
        round.report(35, "50 seeks in a burst", f"{seen}, at most {looks.most_live} live", "the last is heard")
        assert sought[-1] == last
        assert old == beginning[: len(old)]
        assert new == reference
        assert client.types("s")[-1] == "finished"
        assert looks.most_live <= 1


@pytest_twisted.ensureDeferred
async def test_row_35_any_interleaving_of_calls_on_one_id_does_what_they_say_in_their_order(start: Start) -> None:
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    daemon = await start()
    async with Round(daemon) as round:
        client = await daemon.connect()
        control = await pipeline(daemon)
        looks = Looks(daemon, len(round.bystanders.urls))
        looking = Deferred.fromCoroutine(looks.look())
        tracks: list[str] = []
        playing, paused, at = False, False, 0.0

        async def call(*ops: str) -> None:
            """Make the calls, in one burst, and hold what they and the status afterwards say against what must be."""
            nonlocal playing, paused, at
            requests: list[tuple[str, Any]] = []
            expected: list[int] = []
            for op in ops:
                body: Any = None
                expected.append(200 if playing or op in ("play", "stop") else 404)
                if op == "play":
                    playing, paused, at, body = True, False, 0.0, {"url": tone(440, 60)}
                elif op == "stop":
                    playing = paused = False
                elif op == "seek":
                    at = dice.randrange(1000) * 0.02
                    body = {"position": at}
                else:
                    paused = op == "pause" and playing
                requests.append((f"/session/s/{op}", body))
            answers = await control.post(*requests)
            assert [status for status, _ in answers] == expected
            tracks.extend(answer["track_id"] for _, answer in answers if "track_id" in answer)
            status, now = await daemon.request("GET", "/session/s/status")
            assert status == (200 if playing else 404)
            assert now["status"] in (
                ["paused"] if paused else ["extracting", "streaming"] if playing else ["not_found"]
            )

        calls = 0
        while calls < 500:
            burst = dice.choices(
                ["play", "stop", "seek", "pause", "resume"], [3, 1, 5, 3, 3], k=dice.choice([1, 2, 5, 30])
            )
            await call(*burst)
            calls += len(burst)
            await sleep(dice.choice([0, 0.01, 0.03, 0.1]))
        await call("play", *dice.choices(["seek", "pause", "resume"], k=9))
        await call("seek", "resume")
        last = at

        def latest() -> list[bytes]:
            """The packets behind the last change of position."""
            after = 0
            for n, message in enumerate(client.received):
                if isinstance(message, (Ready, Seeked)):
                    there = message.track_id == tracks[-1] and abs(message.position - last) < 0.001
                    after = n if there else len(client.received)
            return [message.payload for message in client.received[after:] if isinstance(message, Packet)]

        await until(lambda: len(latest()) >= 50, "the last position is heard")
        heard = latest()
        await call("stop")
        await until(lambda: len(client.ends("s")) >= len(tracks), "every play ends")
        await until(lambda: len(daemon.children()) == len(round.bystanders.urls), "every child is reaped")
        looks.over = True
        await looking
        assert [end.track_id for end in client.ends("s")] == tracks
        assert heard == (await daemon.alone(tone(440, 60), start_at=last, duration=5))[: len(heard)]
        assert looks.most_live <= 1
        round.report(
            35,
            f"{calls} calls of all kinds on one id (seed {seed})",
            f"{len(tracks)} plays and ends, {client.types('s').count('seeked')} seeks told, "
            f"at most {looks.most_live} live child",
            "answers as documented, the last wins",
        )
