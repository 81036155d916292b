"""Credit: it holds back one session alone, lets a listener's own clock be the clock, and is never exceeded."""

from __future__ import annotations

import time

import pytest
import pytest_twisted

from audiosvc.wire.messages import CREDIT_MOST, Credit, Finished, Packet, Subscribe
from tests.integration.conftest import Start
from tests.integration.harness import Client, cpu_seconds, sleep, tone, until


class Drain(Client):
    """Hears only `session_id`, and grants `grant` packets each time that all granted before have come."""

    def __init__(self, session_id: str, grant: int) -> None:
        super().__init__()
        self.session_id = session_id
        self.grant = grant
        self.granted = 0
        self.held = 0

    def connectionMade(self) -> None:
        self.send(Subscribe(self.session_id))
        self.give()

    def give(self) -> None:
        self.granted += self.grant
        self.send(Credit(self.session_id, self.grant))

    def dataReceived(self, data: bytes) -> None:
        known = len(self.received)
        super().dataReceived(data)
        self.held += sum(isinstance(message, Packet) for message in self.received[known:])
        assert self.held <= self.granted
        if self.held == self.granted:
            self.give()


@pytest_twisted.ensureDeferred
async def test_a_session_without_credit_stands_still_and_costs_nothing_while_twenty_play_on(start: Start) -> None:
    daemon = await start()
    client = await daemon.connect(Credit("still", 0))
    others = {f"s{n}": 300 + n for n in range(20)}
    await daemon.play("still", tone(440, 30))
    for session_id, hz in others.items():
        await daemon.play(session_id, tone(hz, 10))
    await client.hears("still", "ready")
    await client.holds("s19", 25)
    child = daemon.child_playing(440)
    used = cpu_seconds(child)
    status = await daemon.get("/session/still/status")
    assert (status["status"], status["held"]) == ("streaming", True)
    for session_id in others:
        await client.hears(session_id, "finished")
    used = cpu_seconds(child) - used
    assert used < 0.05
    assert client.packets("still") == []
    assert client.types("still") == ["ready"]
    assert [len(client.packets(session_id)) for session_id in others] == [500] * 20
    gaps = sorted(client.largest_gap(session_id) for session_id in others)
    vitals = await daemon.get("/health")
    underruns, beat = vitals["delivery"]["underruns"], vitals["pacer"]["largest_gap_ms"]
    print(
        f"\nno credit: 0 packets and {used:.2f} s of CPU in 9 s; 20 others' largest gap "
        f"{gaps[-1] * 1000:.1f} ms (median of theirs {gaps[10] * 1000:.1f}), the pacer's {beat:.1f} ms, "
        f"{underruns} underruns"
    )
    assert gaps[-1] < 1

    # And it can go on from there.
    client.send(Credit("still", 10))
    await client.holds("still", 10)
    await sleep(0.2)
    assert len(client.packets("still")) == 10


@pytest_twisted.ensureDeferred
async def test_a_client_that_grants_fifty_at_a_time_drains_three_minutes_faster_than_real_time(start: Start) -> None:
    daemon = await start()
    client = Drain("s", 50)
    await daemon.connect(client=client)
    began = time.monotonic()
    await daemon.play("s", tone(440, 180))
    end = await client.hears("s", "finished", patience=120)
    took = time.monotonic() - began
    assert isinstance(end, Finished)
    assert end.played == 180
    assert client.held == 9000
    assert client.types("s") == ["ready", "finished"]
    behind = client.times[-1] - client.times[-2]
    print(
        f"\n50 at a time: 180 s in {took:.2f} s, {180 / took:.0f} x real time; `finished` {behind * 1000:.1f} ms behind"
    )
    assert took < 60
    assert behind < 0.25


@pytest_twisted.ensureDeferred
async def test_a_track_of_exactly_the_packets_granted_finishes_without_another_grant(start: Start) -> None:
    daemon = await start()
    client = await daemon.connect(Credit("s", 100))
    await daemon.play("s", tone(440, 2))
    await client.hears("s", "finished")
    assert len(client.packets("s")) == 100
    await daemon.play("s", tone(440, 0.02))
    await client.hears("s", "ready", 2)
    await sleep(0.2)
    assert client.types("s") == ["ready", "finished", "ready"]
    client.send(Credit("s", 1))
    await client.hears("s", "finished", 2)
    assert len(client.packets("s")) == 101


@pytest_twisted.ensureDeferred
async def test_credit_is_given_before_the_play_capped_and_outlives_tracks(start: Start) -> None:
    daemon = await start()
    client = await daemon.connect(*[Credit("s", CREDIT_MOST)] * 3)
    await daemon.play("s", tone(440, 12))

    async def stands_at(packets: int) -> None:
        await client.holds("s", packets)
        await sleep(0.3)
        assert len(client.packets("s")) == packets

    await stands_at(500)
    client.send(Credit("s", 20), Credit("s", 0), Credit("s", 30))
    await stands_at(550)
    # Neither a pause nor a seek spends any, nor are they answered with any.
    await daemon.post("/session/s/pause")
    client.send(Credit("s", 10))
    await stands_at(550)
    await daemon.post("/session/s/resume")
    await stands_at(560)
    client.send(Credit("s", 60))
    await client.hears("s", "finished")
    assert len(client.packets("s")) == 600
    # Twenty are left, for whatever track comes next.
    await daemon.play("s", tone(440, 12))
    await stands_at(620)
    await daemon.post("/session/s/seek", {"position": 5})
    client.send(Credit("s", 5))
    await stands_at(625)
    await daemon.play("s", tone(440, 1))
    await client.hears("s", "ready", 3)
    await stands_at(625)
    client.send(Credit("s", 49))
    await stands_at(674)
    assert client.types("s")[-2:] == ["stopped", "ready"]
    client.send(Credit("s", 1))
    await client.hears("s", "finished", 2)
    assert len(client.packets("s")) == 675

    # It belongs to the connection: another one is paced.
    other = await daemon.connect(Subscribe("s"))
    await daemon.play("s", tone(440, 1))
    await other.hears("s", "finished")
    assert 0.9 < other.packet_times("s")[-1] - other.packet_times("s")[0] < 1.2
    print(f"\ncredit: {len(client.packets('s'))} packets, each of them granted, over 3 tracks")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("format_", ["opus", "pcm"])
async def test_a_silent_client_is_paced_in_real_time_and_gets_the_packets_that_credit_draws(
    start: Start, format_: str
) -> None:
    daemon = await start()
    source = "demo:nightdrive"
    drawn = await daemon.alone(source, format=format_, duration=6)
    silent = await daemon.connect()
    granting = Drain("granting", 7)
    await daemon.connect(client=granting)
    await daemon.play("paced", source, format=format_, duration=6)
    await daemon.play("granting", source, format=format_, duration=6)
    await silent.hears("paced", "finished")
    await until(lambda: granting.ends("granting"), "the granting client hears its end")
    times = silent.packet_times("paced")
    rate = (len(times) - 1) / (times[-1] - times[0])
    gap = silent.largest_gap("paced")
    print(f"\nsilent client ({format_}): {rate:.2f} packets a second, largest gap {gap * 1000:.1f} ms")
    assert len(drawn) == 300
    assert silent.packets("paced") == drawn
    assert granting.packets("granting") == drawn
    assert 49 < rate < 51
