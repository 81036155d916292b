"""Clients that die, stand still, come back, compete or never come: what they hear stays whole, and the rest goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_twisted

from audiosvc.wire.codec import Decoder, Received, encode_line
from audiosvc.wire.messages import (
    TERMINAL,
    Attached,
    Detached,
    Greeting,
    Held,
    Line,
    Packet,
    SessionEvent,
    Stopped,
    Subscribe,
    Unsubscribe,
)
from tests.integration.conftest import Start
from tests.integration.harness import Client, Daemon, cpu_seconds, sleep, tone, until

MIB = 1024 * 1024

RECORDER = """
import os, socket, sys
path, lines, out = sys.argv[1:]
connection = socket.socket(socket.AF_UNIX)
connection.connect(path)
connection.sendall(lines.encode())
file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
while data := connection.recv(65536):
    os.write(file, data)
"""


class Recorder:
    """A client in a process of its own: each piece that it gets is in its file before it takes the next."""

    def __init__(self, daemon: Daemon, name: str, *lines: Line) -> None:
        self._file = daemon.folder / name
        said = b"".join(encode_line(line) for line in lines).decode()
        argv = [sys.executable, "-c", RECORDER, str(daemon.socket), said, str(self._file)]
        self.process = subprocess.Popen(argv)

    def received(self) -> list[Received]:
        """What it holds: the messages that are whole in its file."""
        return Decoder().feed(self._file.read_bytes()) if self._file.exists() else []

    def packets(self) -> list[bytes]:
        return [message.payload for message in self.received() if isinstance(message, Packet)]

    def events(self) -> list[SessionEvent]:
        return [message for message in self.received() if isinstance(message, SessionEvent)]

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def types(events: list[SessionEvent]) -> list[str]:
    return [type(event).__name__.lower() for event in events]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("format_", ["opus", "ogg", "pcm"])
async def test_a_client_that_is_killed_and_comes_back_holds_every_packet_once(start: Start, format_: str) -> None:
    daemon = await start()
    # An Ogg stream carries its track's serial number and packets of its own in front.
    source, packets = tone(440, 8), 402 if format_ == "ogg" else 400
    reference = [] if format_ == "ogg" else await daemon.alone(source, format=format_)
    first = Recorder(daemon, "first", Greeting("recorder/1"))
    track_id = await daemon.play("s", source, format=format_)
    await until(lambda: len(first.packets()) >= 100, "the first recorder records")
    # It stands still for a while before it dies: what the daemon has sent is then more than what it holds.
    first.process.send_signal(signal.SIGSTOP)
    await sleep(0.1 if format_ == "pcm" else 1)
    first.kill()
    await sleep(0.5)
    await daemon.post("/session/s/pause")
    await daemon.post("/session/s/resume")
    await sleep(2.5)
    sent = (await daemon.get("/session/s/status"))["packets_sent"]

    held = first.packets()
    second = Recorder(daemon, "second", Greeting("recorder/1", {"s": Held(len(held), track_id)}))
    await until(lambda: len(second.packets()) >= 100, "the second recorder records")
    second.kill()
    await sleep(3)
    held += second.packets()
    third = Recorder(daemon, "third", Greeting("recorder/1", {"s": len(held)}))
    await until(lambda: third.events() and isinstance(third.events()[-1], TERMINAL), "the track ends")
    third.kill()
    held += third.packets()

    assert len(held) == packets
    assert held == reference or format_ == "ogg"
    assert len(set(held)) == packets or format_ != "ogg"
    assert types(first.events()) == ["ready"]
    assert types(second.events()) == ["attached", "paused", "resumed"]
    assert types(third.events()) == ["attached", "finished"]
    attached = second.events()[0]
    assert isinstance(attached, Attached)
    assert (attached.packets, attached.status) == (len(first.packets()), "streaming")
    resent = (await daemon.get("/health"))["delivery"]["resent"]
    lost = sent - len(first.packets())
    print(
        f"\nkilled and back ({format_}): {packets} packets held, {lost} lost with the first socket, {resent} sent again"
    )
    assert resent >= lost > 0


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
async def test_of_two_clients_one_hears_a_track_at_a_time_and_together_they_hold_it_whole(start: Start) -> None:
    daemon = await start()
    reference = await daemon.alone(tone(440, 8))
    chain: list[Client] = [await daemon.connect()]
    await daemon.play("s", tone(440, 8))
    await chain[-1].holds("s", 50)
    # The newest that hears all.
    chain.append(await daemon.connect())
    await chain[-1].holds("s", 50)
    # Whoever subscribes goes before, and a newer one that hears all does not change that.
    chain.append(await daemon.connect(Subscribe("s")))
    newest = await daemon.connect()
    await chain[-1].holds("s", 50)
    assert newest.received == newest.received[:1]
    # The later subscription before the earlier, on whatever connection.
    chain[0].send(Subscribe("s"))
    chain.append(chain[0])
    await until(lambda: len(chain[0].packets("s")) >= 100, "the first client hears it once more")
    chain[0].send(Unsubscribe("s"))
    await chain[2].holds("s", 100)
    # With the last subscriber gone, it falls to the newest that hears all.
    chain[2].close()
    await newest.hears("s", "finished")

    heard = sorted(
        (when, n, message.payload)
        for client in {*chain, newest}
        for n, (message, when) in enumerate(zip(client.received, client.times, strict=True))
        if isinstance(message, Packet)
    )
    assert [payload for _, _, payload in heard] == reference
    assert chain[0].types("s") == ["ready", "detached", "attached", "detached"]
    assert chain[1].types("s") == ["attached", "detached"]
    assert chain[2].types("s") == ["attached", "detached", "attached"]
    assert newest.types("s") == ["attached", "finished"]
    for client in (chain[0], chain[1], chain[2], newest):
        # Each is told before where in the track it comes in, and hears nothing after it was told that it is out.
        place = 0 if client is chain[0] else None
        for message in client.received:
            if isinstance(message, Attached):
                place = message.packets
            elif isinstance(message, Detached):
                place = None
            elif isinstance(message, Packet):
                assert place is not None
                assert message.payload == reference[place]
                place += 1
    shares = [len(client.packets("s")) for client in (chain[0], chain[1], chain[2], newest)]
    print(f"\ntwo clients: {len(heard)} packets in 6 spells on 4 connections {shares}, none twice, none missing")


@pytest_twisted.ensureDeferred
async def test_neither_a_still_client_nor_a_pause_of_a_minute_costs_a_packet_or_another_one_its_time(
    start: Start,
) -> None:
    daemon = await start()
    still_tones = {f"still-{n}": tone(1000 + n, 12) for n in range(5)}
    references = {session_id: await daemon.alone(url) for session_id, url in still_tones.items()}
    paused_reference = await daemon.alone(tone(440, 12))
    other_reference = await daemon.alone(tone(600, 68))
    still = await daemon.connect(*map(Subscribe, still_tones))
    paused = await daemon.connect(Subscribe("paused"))
    other = await daemon.connect(Subscribe("other"))
    await daemon.play("other", tone(600, 68))
    await daemon.play("paused", tone(440, 12))
    for session_id, url in still_tones.items():
        await daemon.play(session_id, url)
    await still.holds("still-4", 150)
    before = peak = daemon.rss()

    async def watch(seconds: float) -> None:
        nonlocal peak
        for _ in range(int(seconds * 4)):
            await sleep(0.25)
            peak = max(peak, daemon.rss())

    await daemon.post("/session/paused/pause")
    still.stop_reading()
    at_pause = len(paused.packets("paused"))
    child = daemon.child_playing(440)
    await watch(5)
    used = cpu_seconds(child)
    buffered = (await daemon.get("/session/paused/status"))["buffered"]
    await watch(25)
    held = await daemon.get("/session/still-0/status")
    assert held["held"]
    still.read_again()
    await watch(20)
    # Blocked on its pipe; its main thread looks round twice a second all the same.
    used = cpu_seconds(child) - used
    assert used < 0.05
    assert Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "S"
    await until(lambda: child not in daemon.children(), "the paused session's child is let go")
    assert len(paused.packets("paused")) == at_pause
    await daemon.post("/session/paused/resume")
    await paused.hears("paused", "finished")
    await other.hears("other", "finished")

    for session_id, reference in references.items():
        assert still.types(session_id) == ["ready", "finished"]
        assert still.packets(session_id) == reference
    assert paused.types("paused") == ["ready", "paused", "resumed", "finished"]
    assert paused.packets("paused") == paused_reference
    assert other.packets("other") == other_reference
    gap = other.largest_gap("other")
    vitals = await daemon.get("/health")
    beat, underruns = vitals["pacer"]["largest_gap_ms"], vitals["delivery"]["underruns"]
    print(
        f"\nstill for 30 s, paused for 60 s: RSS {before / MIB:.1f} MiB before, {peak / MIB:.1f} at most; "
        f"{held['packets_sent']} packets sent to the still client's first session before it was held, "
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
