"""A daemon that is asked to end, and the next one on the same socket: what a client that comes back hears.

The packets that both daemons sent of a session are compared, as one track, with those of an uninterrupted play.
"""

from __future__ import annotations

import signal
import stat
import time
from array import array
from pathlib import Path
from statistics import median

import pytest_twisted

from audiosvc.audio import CHANNELS, FRAME_SAMPLES, FRAME_SECONDS
from audiosvc.codec.ogg import OggDemuxer
from audiosvc.codec.opus import Decoder as OpusDecoder
from audiosvc.wire.messages import Attached, Credit, Greeting, Held, Line, Subscribe
from tests.integration.conftest import Start
from tests.integration.harness import Client, Daemon, sleep, tone, until
from tests.site import media
from tests.site.server import REACHES, Site

HEARD = 60
"""Packets taken before the restart."""

SECONDS = 4
PACKETS = round(SECONDS / FRAME_SECONDS)

SECOND = 48_000
"""Samples."""


async def keeping(start: Start, state: Path, *options: str) -> tuple[Daemon, tuple[str, ...]]:
    """A daemon that keeps what plays in the file `state`, and its options."""
    options = (*options, f"--state-file={state}")
    return await start(*options), options


async def ended(daemon: Daemon) -> None:
    daemon.signal(signal.SIGTERM)
    await until(lambda: daemon.process.ended, "the daemon ends")
    assert daemon.process.status == 0, daemon.log[-2000:]
    assert "Traceback" not in daemon.log, daemon.log


async def restarted(daemon: Daemon, options: tuple[str, ...]) -> None:
    await ended(daemon)
    await daemon.start(*options)


def coming_back(held: dict[str, Held], credit: int) -> list[Line]:
    """What a client says that lost its connection while it held so much of these sessions."""
    lines: list[Line] = [Greeting("test/1", dict(held))]
    for session_id in held:
        lines += [Subscribe(session_id), Credit(session_id, credit)]
    return lines


def samples(packets: list[bytes]) -> array[int]:
    """The left channel."""
    decoder = OpusDecoder()
    return array("h", b"".join(decoder.decode(packet) for packet in packets))[::CHANNELS]


def lag(heard: array[int], reference: array[int], at: int, most: int = 400) -> int:
    """Samples by which what is heard from `at` on, for half a second, is behind the reference."""
    part = heard[at : at + SECOND // 2 : 7]
    return min(
        range(-most, most + 1),
        key=lambda by: sum(
            abs(a - b) for a, b in zip(part, reference[at - by : at - by + SECOND // 2 : 7], strict=True)
        ),
    )


@pytest_twisted.ensureDeferred
async def test_what_played_goes_on_where_it_was(start: Start, tmp_path: Path) -> None:
    state = tmp_path / "state" / "sessions"
    daemon, options = await keeping(start, state, f"--media-root={tmp_path}")
    (tmp_path / "passed.opus").write_bytes(b"".join(await daemon.alone("demo:prelude", format="ogg", duration=SECONDS)))
    plays: dict[str, tuple[str, dict[str, object]]] = {
        "tone": (tone(440, SECONDS), {}),
        "piece": ("demo:prelude", {"duration": SECONDS, "volume": 0.8}),
        "later": ("demo:nightdrive", {"duration": SECONDS, "start_at": 7.0}),
        "pcm": ("demo:nightdrive", {"duration": SECONDS, "format": "pcm"}),
        "passed": ("passed.opus", {}),
        "ogg": (tone(660, SECONDS), {"format": "ogg"}),
        "paused": (tone(880, SECONDS), {"format": "pcm"}),
    }
    references = {name: await daemon.alone(url, **body) for name, (url, body) in plays.items()}
    over = {"stopped": tone(500, 60), "finished": tone(550, 1), "failed": "nothing.ogg"}
    client = await daemon.connect(
        *[line for name in (*plays, *over) for line in (Subscribe(name), Credit(name, HEARD))]
    )
    tracks = {name: await daemon.play(name, url, **body) for name, (url, body) in plays.items()}
    for name, url in over.items():
        await daemon.play(name, url)
    for name in plays:
        await client.holds(name, HEARD)
    await client.hears("finished", "finished")
    await client.hears("failed", "error")
    await client.holds("stopped", HEARD)
    assert (await daemon.post("/session/stopped/stop"))[0] == 200
    assert (await daemon.post("/session/paused/pause"))[0] == 200
    await client.hears("paused", "paused")
    await ended(daemon)
    await until(lambda: client.lost, "the connection is closed")
    # To the client it is a connection that was lost.
    assert all(not client.ends(name) for name in plays)
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    assert b'"stopped"' not in state.read_bytes()
    await daemon.start(*options)
    health = await daemon.get("/health")
    assert not state.exists(), "a start that fails would be tried for ever"
    assert health["restart"] == {"taken_up": len(plays), "left_out": 0}
    assert health["sessions"]["paused"] == 1
    sessions = {found["session_id"]: found for found in (await daemon.get("/sessions"))["sessions"]}
    assert sessions.keys() == plays.keys()
    for name, found in sessions.items():
        assert (found["track_id"], found["packets_sent"]) == (tracks[name], HEARD), found
    assert (sessions["paused"]["status"], sessions["paused"]["position"]) == ("paused", 1.2)
    assert sessions["paused"]["title"] == "Tone of 880 Hz"

    again = await daemon.connect(*coming_back({name: Held(HEARD, track) for name, track in tracks.items()}, 500))
    for name in plays.keys() - {"paused"}:
        await until(lambda name=name: again.ends(name), f"the end of {name}")  # type: ignore[misc]
        assert again.types(name) == ["attached", "finished"]
    assert again.types("paused") == ["attached"]
    assert not again.packets("paused")
    assert len(daemon.live_children()) == 0, "what is paused has a child"
    assert (await daemon.post("/session/paused/resume"))[0] == 200
    await until(lambda: again.ends("paused"), "the end of what was paused")
    assert again.types("paused") == ["attached", "resumed", "finished"]

    for name, reference in references.items():
        packets = client.packets(name) + again.packets(name)
        (attached,) = [event for event in again.events(name) if isinstance(event, Attached)]
        assert attached.packets == HEARD
        assert len(packets) == len(reference), name
        same = sum(a == b for a, b in zip(packets, reference, strict=True))
        line = f"{name:8} {len(packets)} packets, {same} of them as they would have been"
        if name == "ogg":
            demuxer = OggDemuxer()
            pages = [packet for page in packets for packet in demuxer.feed(page)][2:]
            assert [page.granule for page in pages] == [FRAME_SAMPLES * n for n in range(1, PACKETS + 1)]
            assert len({page.serial for page in pages}) == 1
        elif name in ("pcm", "passed", "paused"):
            assert packets == reference, name
        else:
            heard, whole = samples(packets), samples(reference)
            if name == "tone":
                worst = max(abs(a - b) for a, b in zip(heard, whole, strict=True))
                line += f", at most {worst} of {max(whole)} from what it would have been"
                assert worst < max(whole) / 50, "something is missing between the encoders"
            else:
                off = lag(heard, whole, HEARD * FRAME_SAMPLES)
                line += f", off by {off} samples"
                # FFmpeg finds its place in Vorbis to some milliseconds, as for any seek.
                assert abs(off) <= 240, f"{name}: {off} samples"
        print(line)


@pytest_twisted.ensureDeferred
async def test_a_station_goes_on_at_its_edge_and_a_client_that_had_not_read_all_gets_it_again(
    start: Start, site: Site, tmp_path: Path
) -> None:
    media.content("piece.mp3")
    daemon, options = await keeping(start, tmp_path / "sessions", *REACHES)
    reference = await daemon.alone(tone(440, SECONDS), format="pcm")
    url = site.url("radio")
    client = await daemon.connect(
        *[line for name in ("radio", "slow") for line in (Subscribe(name), Credit(name, HEARD))]
    )
    tracks = {
        "radio": await daemon.play("radio", url),
        "slow": await daemon.play("slow", tone(440, SECONDS), format="pcm"),
    }
    for name in tracks:
        await client.holds(name, HEARD)
    await restarted(daemon, options)
    found = await daemon.get("/session/radio/status")
    assert (found["live"], found["position"], found["status"]) == (True, 1.2, "streaming")
    held = {"radio": Held(HEARD, tracks["radio"]), "slow": Held(20, tracks["slow"])}
    again = await daemon.connect(*coming_back(held, 200))
    await again.holds("radio", 100)
    assert again.types("radio")[0] == "attached"
    await until(lambda: again.ends("slow"), "the end")
    assert client.packets("slow")[:20] + again.packets("slow") == reference
    # What goes on is a session like any other, and can be carried over once more.
    await restarted(daemon, options)
    assert [found["session_id"] for found in (await daemon.get("/sessions"))["sessions"]] == ["radio"]


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_read_is_ignored_and_what_nobody_asked_for_is_not_kept(
    start: Start, tmp_path: Path
) -> None:
    state = tmp_path / "sessions"
    daemon, options = await keeping(start, state)
    client = await daemon.connect(Subscribe("a"), Credit("a", HEARD))
    await daemon.play("a", tone(440, 60))
    await client.holds("a", HEARD)
    await ended(daemon)
    data = state.read_bytes()
    for damaged in (data.replace(b"440", b"441"), b"\xff" * 100):
        state.write_bytes(damaged)
        await daemon.start(*options)
        assert (await daemon.get("/health"))["restart"] == {"taken_up": 0, "left_out": 1}
        assert (await daemon.get("/sessions"))["count"] == 0
        assert "nothing is taken up" in daemon.log
        state.unlink(missing_ok=True)
        await ended(daemon)
    # Without the option all are told, and nothing is written.
    await daemon.start(STATE_DIRECTORY="")
    client = await daemon.connect()
    await daemon.play("a", tone(440, 60))
    await client.holds("a", 5)
    state.unlink(missing_ok=True)
    await ended(daemon)
    await client.hears("a", "stopped")
    assert not state.exists()
    # systemd's folder is as good as the option.
    folder = tmp_path / "systemd"
    await daemon.start(STATE_DIRECTORY=str(folder))
    await daemon.play("a", tone(440, 60))
    await ended(daemon)
    assert [path.name for path in folder.iterdir()] == ["sessions"]


@pytest_twisted.ensureDeferred
async def test_twenty_listeners_hear_little_of_a_restart(start: Start, tmp_path: Path) -> None:
    """In real time, to a client that tries to come back every 20 ms. Prints the silence of each."""
    daemon, options = await keeping(start, tmp_path / "sessions")
    names = [f"s-{n}" for n in range(20)]
    plays = {name: tone(300 + 20 * n, 30) if n % 2 else "demo:prelude" for n, name in enumerate(names)}
    client = await daemon.connect(*[Subscribe(name) for name in names])
    tracks = {name: await daemon.play(name, url) for name, url in plays.items()}
    for name in names:
        await client.holds(name, HEARD)
    began = time.monotonic()
    await ended(daemon)
    down = time.monotonic()
    held = {name: Held(len(client.packets(name)), tracks[name]) for name in names}
    lines: list[Line] = [Greeting("test/1", dict(held)), *[Subscribe(name) for name in names]]
    daemon.spawn(*options)
    again = Client()
    while not daemon.socket.exists():
        await sleep(0.02)
    up = time.monotonic()
    await daemon.listens()
    await daemon.connect(*lines, client=again)
    for name in names:
        await again.holds(name, 50)
    silences, errors = [], []
    for name in names:
        (attached,) = [event for event in again.events(name) if isinstance(event, Attached)]
        before = held[name].packets
        silence = again.packet_times(name)[0] - client.packet_times(name)[-1] - FRAME_SECONDS
        errors.append(round((attached.position - before * FRAME_SECONDS) * 1000))
        silences.append(silence)
        assert attached.packets == before
        assert again.types(name) == ["attached"]
        print(f"{name:5} {plays[name][:16]:16} silent for {silence:.3f} s, position off by {errors[-1]} ms")
    print(
        f"20 sessions: the daemon ended in {down - began:.3f} s and listened {up - down:.3f} s later; silence "
        f"{min(silences):.3f} to {max(silences):.3f} s, median {median(silences):.3f} s"
    )
    assert not any(errors)
