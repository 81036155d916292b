"""What a running daemon says of each session, and of all of them to Prometheus."""

from __future__ import annotations

import math
import struct
import wave
from pathlib import Path
from typing import Any

import msgspec
import pytest_twisted
import treq
from prometheus_client.parser import text_string_to_metric_families

from audiosvc.audio import SAMPLE_RATE
from audiosvc.session.stats import Stats
from audiosvc.wire.messages import Credit
from tests.integration.conftest import Start
from tests.integration.harness import Daemon
from tests.site import media

Samples = dict[tuple[str, ...], float]


def write_tone(path: Path, seconds: float) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        cycle = b"".join(struct.pack("<h", int(9_000 * math.sin(math.tau * i / 100))) for i in range(100))
        file.writeframes(cycle * int(seconds * SAMPLE_RATE / 100))


async def stats(daemon: Daemon, session_id: str) -> Stats:
    raw: Any = await daemon.get(f"/session/{session_id}/stats")
    return msgspec.convert(raw, Stats)


async def scrape(daemon: Daemon) -> tuple[str, Samples]:
    """The page, and its samples by name and the values of their labels."""
    answer = await treq.get(f"http://127.0.0.1:{daemon.port}/metrics", persistent=False)
    page = await answer.text()
    families = text_string_to_metric_families(page)
    samples = {(each.name, *each.labels.values()): each.value for family in families for each in family.samples}
    return page, samples


@pytest_twisted.ensureDeferred
async def test_sessions_say_how_they_are_doing_and_metrics_what_all_of_them_did(start: Start, tmp_path: Path) -> None:
    write_tone(tmp_path / "long.wav", 60)
    write_tone(tmp_path / "short.wav", 0.5)
    (tmp_path / "passed.opus").write_bytes(media.content("opus.opus"))
    daemon = await start("--media-root", str(tmp_path), "--overload", "off", "--cache-size", "64M")
    await daemon.draw("first", "short.wav")
    assert (await daemon.get("/health"))["cache"]["kept"] == 1
    client = await daemon.connect(Credit("kept", 1))
    for session_id, url in (("made", "long.wav"), ("passed", "passed.opus"), ("kept", "short.wav")):
        await daemon.play(session_id, url)
    await client.holds("made", 10)
    await client.holds("passed", 10)
    await client.holds("kept", 1)

    made = await stats(daemon, "made")
    print(f"\n{msgspec.json.encode(made).decode()}", end="")
    assert (made.mode, made.listeners, made.credit_packets, made.source_bytes) == ("transcode", 1, None, None)
    stages = msgspec.structs.astuple(made.first_packet)
    assert None not in stages and list(stages) == sorted(stages)
    assert made.packets_sent >= 10 and made.bytes_sent > made.packets_sent
    assert made.child is not None and made.child.rss_bytes > 1_000_000 and made.child.cpu_seconds > 0
    assert 0 < made.encoder_share <= 1
    assert made.deficit_packets is not None
    assert made.largest_gap_ms > 0

    passed = await stats(daemon, "passed")
    assert (passed.mode, passed.child, passed.encoder_share) == ("passthrough", None, 0)
    assert passed.source_bytes is not None and passed.source_bytes >= passed.bytes_sent

    kept = await stats(daemon, "kept")
    assert (kept.mode, kept.child, kept.source_bytes, kept.packets_sent) == ("cached", None, 0, 1)
    assert (kept.credit_packets, kept.held, kept.deficit_packets) == (0, True, None)
    assert kept.queue.ready_packets > 0

    await daemon.post("/session/made/seek", {"position": 30})
    before = len(client.packets("made"))
    await client.holds("made", before + 5)
    sought = await stats(daemon, "made")
    assert sought.seeks == 1 and sought.seek_ms is not None
    assert sought.first_packet == made.first_packet

    page, samples = await scrape(daemon)
    assert samples["audiosvc_first_packet_seconds_count", "transcode"] >= 1
    assert samples["audiosvc_first_packet_seconds_count", "passthrough"] == 1
    assert samples["audiosvc_first_packet_seconds_count", "cached"] == 1
    assert samples["audiosvc_seek_seconds_count", "transcode"] == 1
    assert samples["audiosvc_pacer_lateness_seconds_count",] > 0
    assert samples["audiosvc_ready_packets",] >= samples["audiosvc_largest_ready_packets",] > 0
    assert samples["audiosvc_children_cpu_seconds_total",] > 0
    for session_id in ("made", "passed", "kept"):
        assert f'"{session_id}"' not in page

    size = 0.0
    while not size:
        # Children are looked at one after another.
        size = (await scrape(daemon))[1]["audiosvc_children_resident_memory_bytes",]
    assert size > 1_000_000
    status, answer = await daemon.request("GET", "/session/nobody/stats")
    assert (status, answer["code"]) == (404, "not_found")


@pytest_twisted.ensureDeferred
async def test_what_a_session_says_tells_who_does_not_take_its_packets(start: Start, tmp_path: Path) -> None:
    write_tone(tmp_path / "long.wav", 60)
    daemon = await start("--media-root", str(tmp_path))
    # Frames of PCM, so that the socket is soon full.
    await daemon.play("a", "long.wav", format="pcm")

    async def now() -> Stats:
        return await stats(daemon, "a")

    while (alone := await now()).first_packet.ready_ms is None:
        pass
    assert (alone.first_packet.sent_ms, alone.queue.unsent_bytes, alone.held) == (None, None, True)
    client = await daemon.connect()
    await client.holds("a", 2)
    client.stop_reading()
    while not (stuck := await now()).held:
        pass
    assert stuck.queue.unsent_bytes is not None and stuck.queue.unsent_bytes > 0
    assert stuck.first_packet.sent_ms is not None and stuck.first_packet.ready_ms is not None
    assert stuck.first_packet.sent_ms > stuck.first_packet.ready_ms
    _, samples = await scrape(daemon)
    assert samples["audiosvc_largest_unsent_bytes",] >= stuck.queue.unsent_bytes
    # It waited for its client, so it says nothing of how soon packets come.
    assert samples["audiosvc_first_packet_seconds_count", "transcode"] == 0
