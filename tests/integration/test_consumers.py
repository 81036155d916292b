"""Clients that die, stand still, come back, compete or never come: what they hear stays whole, and the rest goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted

from audiosvc.wire.messages import (
    Attached,
    Greeting,
    Stopped,
    Subscribe,
)
from tests.integration.conftest import Start
from tests.integration.harness import cpu_seconds, sleep, tone, until

MIB = 1024 * 1024


@pytest_twisted.ensureDeferred
async def test_a_plain_client_that_comes_back_goes_on_with_the_next_unsent_packet(start: Start) -> None:
    daemon = await start()
    reference = await daemon.alone(tone(440, 5))
    first = await daemon.connect()
    await daemon.play("s", tone(440, 5))
    await first.holds("s", 100)
    first.stop_reading()
    await sleep(0.5)
    await daemon.disconnect(first)
    await sleep(1)
    status = await daemon.get("/session/s/status")
    sent = status["packets_sent"]
    assert status["held"]
    assert status["buffered"] > 0
    await sleep(1)
    assert (await daemon.get("/session/s/status"))["packets_sent"] == sent

    second = await daemon.connect()
    await second.hears("s", "finished")
    attached = second.events("s")[0]
    assert isinstance(attached, Attached)
    assert (attached.packets, attached.position) == (sent, pytest.approx(sent * 0.02))
    assert first.packets("s") == reference[: len(first.packets("s"))]
    assert second.packets("s") == reference[sent:]
    lost = sent - len(first.packets("s"))
    print(f"\nplain client back: {sent} packets sent before, {lost} of them lost with the socket, {250 - sent} after")


@pytest_twisted.ensureDeferred
async def test_a_pause_of_a_minute_costs_neither_a_packet_nor_another_session_its_time(
    start: Start,
) -> None:
    daemon = await start()
    paused_reference = await daemon.alone(tone(440, 12))
    other_reference = await daemon.alone(tone(600, 68))
    paused = await daemon.connect(Subscribe("paused"))
    other = await daemon.connect(Subscribe("other"))
    await daemon.play("other", tone(600, 68))
    await daemon.play("paused", tone(440, 12))
    await paused.holds("paused", 150)
    before = peak = daemon.rss()

    async def watch(seconds: float) -> None:
        nonlocal peak
        for _ in range(int(seconds * 4)):
            await sleep(0.25)
            peak = max(peak, daemon.rss())

    await daemon.post("/session/paused/pause")
    at_pause = len(paused.packets("paused"))
    child = daemon.child_playing(440)
    await watch(5)
    used = cpu_seconds(child)
    buffered = (await daemon.get("/session/paused/status"))["buffered"]
    await watch(45)
    # Blocked on its pipe; its main thread looks round twice a second all the same.
    used = cpu_seconds(child) - used
    assert used < 0.05
    assert Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "S"
    await until(lambda: child not in daemon.children(), "the paused session's child is let go")
    assert len(paused.packets("paused")) == at_pause
    await daemon.post("/session/paused/resume")
    await paused.hears("paused", "finished")
    await other.hears("other", "finished")

    assert paused.types("paused") == ["ready", "paused", "resumed", "finished"]
    assert paused.packets("paused") == paused_reference
    assert other.packets("other") == other_reference
    gap = other.largest_gap("other")
    vitals = await daemon.get("/health")
    beat, underruns = vitals["pacer"]["largest_gap_ms"], vitals["delivery"]["underruns"]
    print(
        f"\npaused for 60 s: RSS {before / MIB:.1f} MiB before, {peak / MIB:.1f} at most; "
        f"{buffered:.2f} s ready in the paused one and {used:.2f} s of CPU in its child; "
        f"another's largest gap {gap * 1000:.1f} ms, the pacer's {beat:.1f} ms, {underruns} underruns"
    )
    assert peak - before < 16 * MIB
    assert gap < 1


@pytest_twisted.ensureDeferred
async def test_a_session_that_no_client_takes_ends_by_the_consumer_timeout_and_a_late_client_is_told(
    start: Start,
) -> None:
    daemon = await start("--consumer-timeout", "1")
    await daemon.play("s", tone(440, 30))
    await until(daemon.live_children, "FFmpeg runs")
    await sleep(0.7)
    assert (await daemon.get("/session/s/status"))["held"]
    await sleep(0.6)
    status, answer = await daemon.request("GET", "/session/s/status")
    assert (status, answer["status"]) == (404, "not_found")
    client = await daemon.connect()
    end = await client.hears("s", "stopped")
    assert isinstance(end, Stopped)
    assert (end.reason, end.played) == ("consumer_timeout", 0.0)
    assert client.types("s") == ["ready", "stopped"]
    assert client.packets("s") == []
    await until(lambda: not daemon.children(), "the child is reaped")

    # A track in the middle of which the client was lost.
    await daemon.play("t", tone(440, 30))
    await client.holds("t", 50)
    await daemon.disconnect(client)
    await sleep(1.3)
    late = await daemon.connect(Greeting("late/1", {"t": len(client.packets("t"))}))
    end = await late.hears("t", "stopped")
    assert isinstance(end, Stopped)
    assert end.reason == "consumer_timeout"
    assert end.played == pytest.approx(len(client.packets("t") + late.packets("t")) * 0.02)
    assert late.types("t") == ["attached", "stopped"]
    print(f"\nconsumer timeout: told {end.reason} after {end.played:.2f} s played, {len(daemon.children())} children")


@pytest_twisted.ensureDeferred
async def test_a_session_that_stands_still_ends_by_the_idle_timeout_and_a_playing_one_does_not(start: Start) -> None:
    daemon = await start("--idle-timeout", "1")
    client = await daemon.connect(Subscribe("paused"), Subscribe("playing"))
    await daemon.play("unheard", tone(440, 30))
    await daemon.play("playing", tone(500, 5))
    await daemon.play("paused", tone(600, 30))
    await client.holds("paused", 25)
    await daemon.post("/session/paused/pause")
    await sleep(1.5)
    assert daemon.live_children() == [daemon.child_playing(500)]
    late = await daemon.connect(Subscribe("unheard"))
    ends = await client.hears("paused", "stopped"), await late.hears("unheard", "stopped")
    assert [getattr(end, "reason", None) for end in ends] == ["idle_timeout", "idle_timeout"]
    assert client.types("paused") == ["ready", "paused", "stopped"]
    assert late.types("unheard") == ["ready", "stopped"]
    await client.hears("playing", "finished")
    await until(lambda: not daemon.children(), "every child is reaped")
    counted = (await daemon.get("/health"))["ends"]
    print(f"\nidle timeout: {counted}")
    assert counted == {"stopped:idle_timeout": 2, "finished": 1}
