"""What is heard: volume, pauses, seeks, formats and bit rates, judged by the decoded sound."""

from __future__ import annotations

import math
import subprocess
import wave
from array import array
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from audiosvc.audio import FRAME_BYTES, FRAME_SAMPLES, SAMPLE_RATE
from audiosvc.codec.ogg import OggDemuxer, OggPacket
from audiosvc.ffmpeg.binary import find_ffmpeg
from audiosvc.ffmpeg.command import TONE_AMPLITUDE
from tests.integration.conftest import Start
from tests.integration.harness import PIECES, decode, sleep, tone

END_OF_STREAM = 4
HZ = 440
PEAK = TONE_AMPLITUDE * 32_768
STEEPEST = 2 * math.pi * HZ / SAMPLE_RATE * PEAK
"""The largest step between two samples of the tone at volume 1."""


def left(pcm: bytes) -> array[int]:
    return array("h", pcm)[::2]


def rms(samples: array[int]) -> float:
    return math.sqrt(sum(sample * sample for sample in samples) / len(samples))


def largest_step(samples: array[int]) -> int:
    return max(abs(b - a) for a, b in pairwise(samples))


def unpacked(pages: list[bytes]) -> list[OggPacket]:
    """The packets of an Ogg stream but for its serial number, which every track has its own of."""
    return [packet._replace(serial=0) for packet in OggDemuxer().feed(b"".join(pages))]


def ffmpeg(*arguments: object) -> bytes:
    """Its output, given that it complains of nothing."""
    argv = [find_ffmpeg(), "-v", "warning", "-nostdin", *map(str, arguments)]
    done = subprocess.run(argv, capture_output=True, check=True, timeout=60)
    assert done.stderr == b""
    return done.stdout


@pytest_twisted.ensureDeferred
async def test_the_volume_changes_in_the_middle_without_a_gap_or_a_click(start: Start) -> None:
    daemon = await start()
    client = await daemon.connect()
    await daemon.play("v", tone(HZ, 8))
    changes = {1.0: 1, 0.25: 75, 2.0: 150, 0.0: 225, 1.5: 300}
    for volume, packet in changes.items():
        await client.holds("v", packet)
        status, answer = await daemon.post("/session/v/volume", {"volume": volume})
        assert (status, answer["volume"]) == (200, volume)
    await client.hears("v", "finished")
    assert client.types("v") == ["ready", "finished"]
    assert len(client.packets("v")) == 400
    samples = left(decode(client.packets("v")))
    frames = [samples[at : at + FRAME_SAMPLES] for at in range(0, len(samples), FRAME_SAMPLES)]
    levels = [rms(frame) / (PEAK / math.sqrt(2)) for frame in frames]
    late = []
    for volume, packet in changes.items():
        reached = next(i for i in range(packet, 400) if levels[i] == pytest.approx(volume, rel=0.05, abs=0.02))
        late.append((reached - packet) * 20)
        assert levels[reached + 2 : packet + 74] == pytest.approx(
            [volume] * (72 - reached + packet), rel=0.05, abs=0.02
        )
    step = largest_step(samples)
    gap = client.largest_gap("v")
    print(
        f"\nvolume 1 -> 0.25 -> 2 -> 0 -> 1.5: heard {late} ms behind the call; largest step {step}, the sine's own at "
        f"volume 2 {STEEPEST * 2:.0f}; largest gap between packets {gap * 1000:.1f} ms"
    )
    assert max(late) <= 800
    assert step < STEEPEST * 2 * 1.05
    assert gap < 1


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("format_", ["opus", "ogg", "pcm"])
async def test_a_pause_changes_no_packet(start: Start, format_: str) -> None:
    daemon = await start()
    client = await daemon.connect()
    await daemon.play("p", tone(HZ, 4), format=format_)
    for packets in (40, 90):
        await client.holds("p", packets)
        await daemon.post("/session/p/pause")
        paused: Any = await client.hears("p", "paused", times=1 if packets == 40 else 2)
        held = len(client.packets("p"))
        assert paused.position == (held - 2 * (format_ == "ogg")) / 50
        await sleep(0.7)
        assert len(client.packets("p")) == held
        await daemon.post("/session/p/resume")
    await client.hears("p", "finished")
    assert client.types("p") == ["ready", "paused", "resumed", "paused", "resumed", "finished"]
    reference = await daemon.alone(tone(HZ, 4), format=format_)
    if format_ == "ogg":
        assert unpacked(client.packets("p")) == unpacked(reference)
    else:
        assert client.packets("p") == reference


@pytest_twisted.ensureDeferred
async def test_a_seek_goes_on_exactly_there(start: Start) -> None:
    daemon = await start()
    for url, seconds in ((tone(HZ, 6), 6), ("demo:prelude", 93.456349)):
        client = await daemon.connect()
        await daemon.play("s", url)
        for position in (seconds - 2, 1.5, seconds - 1):
            told = client.types("s").count("seeked")
            await client.holds("s", len(client.packets("s")) + 20)
            await daemon.post("/session/s/seek", {"position": position})
            seeked: Any = await client.hears("s", "seeked", times=told + 1)
            assert seeked.position == position
        await client.hears("s", "finished", patience=5)
        at = max(i for i, m in enumerate(client.received) if type(m).__name__ == "Seeked")
        tail = [m.payload for m in client.received[at:] if hasattr(m, "payload")]
        assert tail == await daemon.alone(url, start_at=seconds - 1)
        assert len(tail) in (50, 51)
        await daemon.disconnect(client)


@pytest_twisted.ensureDeferred
async def test_start_and_duration_cut_the_track(start: Start) -> None:
    daemon = await start()
    whole = left(b"".join(await daemon.alone(tone(HZ, 8), format="pcm")))
    for start_at, duration, frames in ((5.0, 2.0, 100), (0.0, 0.001, 1), (7.5, 2.0, 25), (0.0, 1.25, 63)):
        client = await daemon.draw("cut", tone(HZ, 8), format="pcm", start_at=start_at, duration=duration)
        ready, finished = client.events("cut")
        assert getattr(ready, "position", None) == start_at
        assert getattr(finished, "played", None) == frames / 50
        cut = left(b"".join(client.packets("cut")))
        assert len(cut) == frames * FRAME_SAMPLES
        sound = min(len(cut), max(FRAME_SAMPLES, round(duration * SAMPLE_RATE)))
        assert cut[:sound] == whole[round(start_at * SAMPLE_RATE) :][:sound]
        assert not any(cut[sound:])
    client = await daemon.draw("past", tone(HZ, 8), start_at=9)
    (end,) = client.events("past")
    assert getattr(end, "code", None) == "position_out_of_range"


@pytest_twisted.ensureDeferred
async def test_ogg_is_a_file_that_ffmpeg_and_we_can_read(start: Start, tmp_path: Path) -> None:
    daemon = await start()
    url, file = "demo:nightdrive", tmp_path / "heard.ogg"
    packets = await daemon.alone(url, duration=5)
    for format_ in ("ogg", "web"):
        pages = await daemon.alone(url, duration=5, format=format_)
        assert [page[5] & END_OF_STREAM for page in pages] == [0] * 251 + [END_OF_STREAM]
        assert [packet.data for packet in unpacked(pages)[2:]] == packets
        file.write_bytes(b"".join(pages))
        decoded = ffmpeg("-i", file, "-f", "s16le", "-ar", SAMPLE_RATE, "-ac", 2, "-")
        assert len(decoded) / FRAME_BYTES == pytest.approx(250, abs=0.5)
        assert "TITLE=Night Drive" in file.read_bytes()[:2000].decode("ascii", "replace")
    print(f"\nogg: 250 packets, {len(decoded) / 4 / SAMPLE_RATE:.4f} s as FFmpeg decodes it")


@pytest_twisted.ensureDeferred
async def test_pcm_is_the_source_bit_by_bit(start: Start, tmp_path: Path) -> None:
    daemon = await start("--media-root", str(tmp_path))
    pcm = ffmpeg("-i", PIECES / "prelude.ogg", "-t", 3.005, "-f", "s16le", "-ar", SAMPLE_RATE, "-ac", 2, "-")
    with wave.open(str(tmp_path / "piece.wav"), "wb") as file:
        file.setparams((2, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(pcm)
    frames = await daemon.alone("piece.wav", format="pcm")
    assert {len(frame) for frame in frames} == {FRAME_BYTES}
    assert b"".join(frames) == pcm + bytes(-len(pcm) % FRAME_BYTES)


@pytest_twisted.ensureDeferred
async def test_the_bitrate_asked_for_is_the_bitrate_sent(start: Start) -> None:
    daemon = await start("--bitrate", "64000")
    measured = {}
    for bitrate in (24_000, 64_000, 96_000, 256_000):
        asked = {} if bitrate == 64_000 else {"bitrate": bitrate}
        packets = await daemon.alone("demo:nightdrive", duration=10, start_at=20, **asked)
        measured[bitrate] = sum(map(len, packets)) * 8 / (len(packets) / 50)
    print("\nbit/s asked and sent: " + ", ".join(f"{asked} {sent:.0f}" for asked, sent in measured.items()))
    for asked, sent in measured.items():
        assert 0.85 < sent / asked < 1.15, asked
