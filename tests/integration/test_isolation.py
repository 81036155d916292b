"""Three sessions at once: each hears its own, and nothing done to one changes a packet of another."""

from __future__ import annotations

import math
from array import array

import pytest_twisted

from tests.integration.conftest import Start
from tests.integration.harness import Daemon, decode, until

GUILD, PERSON, USER = "guild-a", "0b0e7a5e-8c8c-4a54-9f5d-1d2f3a4b5c6d", "user:42"
HZ = {GUILD: 440, PERSON: 1000, USER: 2000}


def power(samples: array[int], hz: float) -> float:
    """The share of a mono signal's power that is at `hz` (Goertzel)."""
    turn = 2 * math.cos(2 * math.pi * hz / 48_000)
    one = two = 0.0
    for sample in samples:
        one, two = sample + turn * one - two, one
    at_hz = 2 * (one * one + two * two - turn * one * two) / len(samples)
    return at_hz / sum(sample * sample for sample in samples)


def tone(hz: int, seconds: int) -> str:
    return f"demo:tone?hz={hz}&seconds={seconds}"


async def played_alone(daemon: Daemon, hz: int, seconds: int) -> list[bytes]:
    client = await daemon.connect()
    await daemon.play("alone", tone(hz, seconds))
    await client.hears("alone", "finished")
    return client.packets("alone")


@pytest_twisted.ensureDeferred
async def test_each_of_three_sessions_hears_only_its_own_tone_and_no_session_notices_another(start: Start) -> None:
    daemon = await start()
    reference = await played_alone(daemon, HZ[USER], 6)
    client = await daemon.connect()
    for session_id, hz in HZ.items():
        await daemon.play(session_id, tone(hz, 6))
    await client.holds(USER, 100)
    await daemon.post(f"/session/{GUILD}/stop")
    await client.holds(USER, 200)
    replacement = await daemon.play(PERSON, tone(HZ[PERSON], 1))
    await client.hears(USER, "finished")
    await until(lambda: len(client.ends(PERSON)) == 2, "the replacement finishes")

    assert client.packets(USER) == reference
    assert len(reference) == 300
    assert client.types(GUILD) == ["ready", "stopped"]
    assert client.types(PERSON) == ["ready", "stopped", "ready", "finished"]
    assert [getattr(end, "reason", None) for end in client.ends(PERSON)] == ["replaced", None]
    assert client.ends(PERSON)[1].track_id == replacement
    for session_id, hz in HZ.items():
        stereo = array("h", decode(client.packets(session_id)[:60]))[10 * 1920 :]
        left, right = stereo[::2], stereo[1::2]
        for other in HZ.values():
            share = power(left, other)
            assert share > 0.99 if other == hz else share < 0.001, (session_id, other, share)
        assert max(abs(a - b) for a, b in zip(left, right, strict=True)) < 200
    times = client.packet_times(USER)
    rate = (len(times) - 1) / (times[-1] - times[0])
    print(f"\n{USER}: {len(times)} packets, {rate:.2f} a second, largest gap {client.largest_gap(USER) * 1000:.1f} ms")
    assert 49 < rate < 51
