"""Files as sources, good ones in every usual container and bad ones of every kind: what is heard and told."""

from __future__ import annotations

import os
import random
import subprocess
import wave
from array import array
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from audiosvc.audio import FRAME_SAMPLES, SAMPLE_RATE
from audiosvc.ffmpeg.binary import find_ffmpeg
from audiosvc.wire.messages import CREDIT_MOST, Credit, Subscribe
from tests.integration.conftest import Start
from tests.integration.harness import tone

SECONDS = 6
LOW, HIGH = 500, 2000
"""Hz of the signal in seconds of even and odd number, so that the sound tells its time."""

ENCODERS = {
    "wav": ["-c:a", "copy"],
    "flac": [],
    "mp3": ["-c:a", "libmp3lame"],
    "ogg": ["-c:a", "libvorbis"],
    "opus": ["-c:a", "libopus"],
    "m4a": ["-c:a", "aac"],
    "webm": ["-c:a", "libopus"],
}
FRAMES_OFF = {"mp3": 2, "m4a": 2}
"""Frames by which a container that cannot state its length exactly may be off; others by one."""


def ffmpeg(*arguments: object) -> None:
    subprocess.run([find_ffmpeg(), "-v", "error", "-nostdin", *map(str, arguments)], check=True, timeout=60)


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the signal in every container, each with a title, and odd files."""
    folder = tmp_path_factory.mktemp("media")
    expression = f"0.3*sin(2*PI*n/{SAMPLE_RATE}*if(mod(floor(t),2),{HIGH},{LOW}))".replace(",", "\\,")
    signal = f"aevalsrc={expression}|{expression}:s={SAMPLE_RATE}:d={SECONDS}"
    ffmpeg("-f", "lavfi", "-i", signal, "-c:a", "pcm_s16le", folder / "source.wav")
    for suffix, encoder in ENCODERS.items():
        argv = ["-i", folder / "source.wav", *encoder, "-metadata", f"title=Tick in {suffix}"]
        ffmpeg(*argv, "-metadata", "artist=A Clock", folder / f"tick.{suffix}")
    (folder / "text.mp3").write_text("This is no music.\n" * 1000)
    (folder / "empty.mp3").touch()
    (folder / "folder.mp3").mkdir()
    (folder / "half.m4a").write_bytes((folder / "tick.m4a").read_bytes()[:20_000])
    (folder / "noise.ogg").write_bytes(random.Random(1).randbytes(50_000))
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXTINF:6,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n")
    (folder / "concat.txt").write_text("ffconcat version 1.0\nfile tick.wav\n")
    os.mkfifo(folder / "fifo.wav")
    (folder / "out.wav").symlink_to("/etc/hostname")
    (folder / "in.wav").symlink_to(folder / "tick.wav")
    (folder / "loop.wav").symlink_to("loop.wav")
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=1:s=64x64", "-c:v", "mpeg4", folder / "silent-film.mp4")
    return folder


def changes(packets: list[bytes]) -> list[int]:
    """Frames of PCM at which the signal goes from one pitch to the other."""
    crossings = []
    for packet in packets:
        left = array("h", packet)[::2]
        crossings.append(sum((a < 0) != (b < 0) for a, b in pairwise(left)))
    edge = FRAME_SAMPLES / SAMPLE_RATE * (LOW + HIGH)
    return [i for i in range(1, len(crossings)) if (crossings[i] > edge) != (crossings[i - 1] > edge)]


# --- good files -----------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_every_container_has_its_length_its_title_and_its_places(start: Start, media: Path) -> None:
    daemon = await start("--media-root", str(media))
    lengths, landed = {}, {}
    for suffix in ENCODERS:
        url, off = f"tick.{suffix}", FRAMES_OFF.get(suffix, 1)
        client = await daemon.draw("whole", url, format="pcm")
        ready: Any
        finished: Any
        ready, finished = client.events("whole")
        assert ready.title == f"Tick in {suffix}"
        assert ready.uploader == "A Clock"
        assert ready.duration == pytest.approx(SECONDS, abs=0.06)
        packets = client.packets("whole")
        lengths[suffix] = len(packets)
        assert abs(len(packets) - SECONDS * 50) <= off, suffix
        assert finished.played == len(packets) / 50
        assert changes(packets) == pytest.approx([50, 100, 150, 200, 250], abs=off), suffix
        described = await daemon.get(f"/metadata?url={url}")
        assert (described["title"], described["duration"]) == (ready.title, ready.duration)

        client = await daemon.connect(Subscribe("seek"), Credit("seek", 20))
        await daemon.play("seek", url, format="pcm")
        await client.holds("seek", 20)
        await daemon.post("/session/seek/seek", {"position": 3.5})
        seeked: Any = await client.hears("seek", "seeked")
        assert (seeked.position, seeked.previous) == (3.5, 0.4)
        client.send(Credit("seek", CREDIT_MOST))
        await client.hears("seek", "finished")
        tail = client.packets("seek")[20:]
        # The last frame may be padded with silence.
        landed[suffix] = [frame for frame in changes(tail) if frame < 124]
        assert landed[suffix] == pytest.approx([25, 75], abs=off), suffix
        assert abs(len(tail) - 125) <= off, suffix
        await daemon.disconnect(client)
    print(f"\nframes of {SECONDS} s: {lengths}; changes due at frames 25 and 75 after a seek: {landed}")


@pytest_twisted.ensureDeferred
async def test_files_are_named_by_path_or_url_and_listed_by_folder(start: Start, media: Path) -> None:
    daemon = await start("--media-root", str(media))
    reference = await daemon.alone("tick.wav", format="pcm")
    with wave.open(str(media / "source.wav")) as file:
        assert b"".join(reference) == file.readframes(file.getnframes())
    for url in (str(media / "tick.wav"), f"file://{media}/tick.wav", f"file://localhost{media}/tick%2Ewav", "in.wav"):
        assert await daemon.alone(url, format="pcm") == reference
    listed = await daemon.get("/playlist?url=.")
    assert {f"tick.{suffix}" for suffix in ENCODERS if suffix != "webm"} <= {
        Path(entry["url"]).name for entry in listed["entries"]
    }


# --- bad files ------------------------------------------------------------------------------------------------------

BAD_FILES = {
    "none.mp3": "source_not_found",
    "tick.wav/more": "source_not_found",
    "loop.wav": "source_not_found",
    "folder.mp3": "files_refused",
    "fifo.wav": "files_refused",
    "text.mp3": "not_audio",
    "empty.mp3": "not_audio",
    "noise.ogg": "not_audio",
    "silent-film.mp4": "not_audio",
    "half.m4a": "not_audio",
    "list.m3u8": "not_audio",
    "concat.txt": "not_audio",
}
REFUSED_AT_ONCE = {
    "/etc/hostname": "files_refused",
    "../media/../../etc/hostname": "files_refused",
    "file:///etc/hostname": "files_refused",
    "out.wav": "files_refused",
    "file:tick.wav": "unsupported_url",
    "concat:tick.wav|tick.mp3": "unsupported_url",
    "subfile,,start,0,end,9,,:tick.wav": "unsupported_url",
    "-i": "unsupported_url",
    "ftp://127.0.0.1/a.mp3": "unsupported_url",
    "data:audio/wav;base64,AAAA": "unsupported_url",
    "rtmp://127.0.0.1/a": "unsupported_url",
    "http://": "unsupported_url",
    "http://user:secret@127.0.0.1/a.mp3": "unsupported_url",
    "http://127.0.0.1:99999/a.mp3": "unsupported_url",
    "http://exa mple/a.mp3": "unsupported_url",
    "tick.wav\n": "unsupported_url",
    "demo:none": "unknown_demo",
    "demo:tone?hz=0": "unsupported_url",
    "demo:tone?hz=440&seconds=1e9": "unsupported_url",
}


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_played_ends_in_an_error_that_says_why(start: Start, media: Path) -> None:
    daemon = await start("--media-root", str(media))
    client = await daemon.connect()
    for url, code in BAD_FILES.items():
        track_id = await daemon.play("bad", url)
        count = list(BAD_FILES).index(url) + 1
        end: Any = await client.hears("bad", "error", times=count)
        assert (end.track_id, end.code, end.played) == (track_id, code, 0), (url, end)
        assert str(media) not in end.message
    assert client.types("bad") == ["error"] * len(BAD_FILES)
    for url, code in {"text.mp3": "not_audio", "none.mp3": "source_not_found"}.items():
        _, answer = await daemon.request("GET", f"/metadata?url={url}")
        assert answer["code"] == code


@pytest_twisted.ensureDeferred
async def test_a_file_that_breaks_off_is_played_as_far_as_it_goes(start: Start, media: Path) -> None:
    daemon = await start("--media-root", str(media))
    told = {}
    for suffix in ("wav", "flac", "mp3", "ogg", "opus", "webm"):
        whole = (media / f"tick.{suffix}").read_bytes()
        cut = media / f"cut.{suffix}"
        cut.write_bytes(whole[: len(whole) // 2])
        client = await daemon.draw("cut", cut.name)
        ready: Any = client.events("cut")[0]
        (end,) = client.ends("cut")
        told[suffix] = (getattr(end, "code", "finished"), getattr(end, "played", None), ready.duration)
        cut.unlink()
    print("\nfiles cut in half, of 6 s: " + ", ".join(f"{k} {c} {p} of {d} s" for k, (c, p, d) in told.items()))
    # FFmpeg takes a length from the size of a WAV, whose head says otherwise, and from the last page of an Ogg.
    for suffix, (code, played, duration) in told.items():
        assert 2 <= played <= 4
        assert code == ("finished" if suffix in ("ogg", "opus") else "source_ended_early"), suffix
        known = suffix not in ("wav", "ogg", "opus")
        assert duration == pytest.approx(SECONDS if known else played, abs=0.06), suffix


@pytest_twisted.ensureDeferred
async def test_what_is_refused_leaves_the_running_session_alone(start: Start, media: Path) -> None:
    daemon = await start("--media-root", str(media))
    reference = await daemon.alone(tone(440, 3))
    client = await daemon.connect()
    track_id = await daemon.play("a", tone(440, 3))
    await client.holds("a", 5)
    for url, code in REFUSED_AT_ONCE.items():
        status, answer = await daemon.post("/session/a/play", {"url": url})
        assert (status, answer["code"]) == (422, code), url
    status = await daemon.get("/session/a/status")
    assert (status["track_id"], status["status"]) == (track_id, "streaming")
    await client.hears("a", "finished")
    assert client.types("a") == ["ready", "finished"]
    assert client.packets("a") == reference


@pytest_twisted.ensureDeferred
async def test_without_a_media_root_no_file_is_played(start: Start, media: Path) -> None:
    daemon = await start()
    for url in (str(media / "tick.wav"), f"file://{media}/tick.wav", "tick.wav"):
        status, answer = await daemon.post("/session/a/play", {"url": url})
        assert (status, answer["code"]) == (422, "files_refused")
