"""`python -m audiosvc.play` as a user runs it: a real daemon, real FFmpeg, real libopus."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import wave
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from audiosvc.audio import CHANNELS, FRAME_SAMPLES, SAMPLE_BYTES, SAMPLE_RATE
from audiosvc.codec.ogg import OggDemuxer

ROOT = Path(__file__).resolve().parents[2]
END_OF_STREAM = 4


class Run:
    """The command's surroundings: a folder for what it keeps, one for what it must not leave behind."""

    def __init__(self, folder: Path) -> None:
        self.recordings = folder / "recordings"
        self.temporary = folder / "t"
        self.temporary.mkdir()
        self.environment = {**os.environ, "TMPDIR": str(self.temporary)}
        for name in ("COLUMNS", "LINES"):
            self.environment.pop(name, None)

    def start(self, *arguments: object, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
        argv = [sys.executable, "-m", "audiosvc.play", "--no-page", "--record", self.recordings, *arguments]
        return subprocess.Popen(
            [str(word) for word in argv],
            cwd=ROOT,
            env=self.environment,
            stdout=stdout,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )

    def __call__(self, *arguments: object) -> tuple[int, str, str]:
        """Exit status, output and errors."""
        with self.start(*arguments) as process:
            out, errors = process.communicate(timeout=60)
        return process.returncode, out, errors

    def daemons(self) -> list[int]:
        """Processes that were told of our temporary folder."""
        found = []
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                found += [int(command.parent.name)] if os.fsencode(self.temporary) in command.read_bytes() else []
        return found

    def heard(self) -> dict[str, int]:
        """Packets of each recording, all of which must be whole."""
        counts = {}
        for path in self.recordings.iterdir():
            data = path.read_bytes()
            assert data[data.rindex(b"OggS") + 5] & END_OF_STREAM, path
            counts[path.stem] = len(OggDemuxer().feed(data)) - 2
        return counts


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Run]:
    run = Run(tmp_path)
    yield run
    assert run.daemons() == []
    assert list(run.temporary.iterdir()) == []


def until_playing(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    while "playing" not in process.stdout.readline():
        assert process.poll() is None


def silence(path: Path, frames: int) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((CHANNELS, SAMPLE_BYTES, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes(bytes(frames * FRAME_SAMPLES * CHANNELS * SAMPLE_BYTES))
    return path


def test_two_built_in_pieces_play_at_once_for_as_long_as_was_said(play: Run) -> None:
    status, out, errors = play("--seconds", 2)
    assert (status, errors) == (0, "")
    assert "\x1b" not in out
    counts = play.heard()
    assert len(counts) == 2
    assert all(90 <= count <= 125 for count in counts.values()), counts
    assert all(f"{title}.ogg" in out for title in counts)


def test_a_file_plays_to_its_end_beside_one_that_cannot(play: Run, tmp_path: Path) -> None:
    status, out, errors = play(silence(tmp_path / "still.wav", 50), "demo:nosuch")
    assert (status, errors) == (0, "")
    assert "finished: 1.00 s" in out
    assert "(unknown_demo): nothing heard" in out
    assert list(play.heard().values()) == [50]


def test_where_nothing_can_be_played_that_is_said_and_the_status_is_1(play: Run) -> None:
    status, out, _ = play("demo:nosuch")
    assert status == 1
    assert "(unknown_demo): nothing heard" in out


def test_a_daemon_that_cannot_start_is_quoted(play: Run) -> None:
    play.environment["AUDIOSVC_MAX_SESSIONS"] = "none"
    status, _, errors = play()
    assert status == 1
    assert "the daemon failed" in errors
    assert "max-sessions" in errors


def test_a_daemon_that_dies_is_quoted_and_what_was_heard_is_kept(play: Run) -> None:
    with play.start() as process:
        until_playing(process)
        (daemon,) = play.daemons()
        os.kill(daemon, signal.SIGKILL)
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the daemon failed" in errors
    assert "listening on" in errors
    assert len(play.heard()) == 2
    assert all(f"{title}.ogg" in out for title in play.heard())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_it_in_order(play: Run, number: signal.Signals) -> None:
    with play.start() as process:
        until_playing(process)
        # A terminal signals the whole group, and tox passes it on once more.
        os.killpg(process.pid, number)
        process.send_signal(number)
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert out.count(": stopped: ") == 2
    assert len(play.heard()) == 2


def test_on_a_terminal_the_lines_are_drawn_in_place_and_fit(play: Run) -> None:
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    shown = b""
    with play.start("--seconds", 1, stdout=terminal) as process:
        os.close(terminal)
        # An OSError is how Linux says that the other end is closed.
        with os.fdopen(main, "rb", buffering=0) as screen, suppress(OSError):
            while piece := screen.read(4096):
                shown += piece
    assert process.returncode == 0
    pictures = shown.decode().split("\x1b[2A")
    assert len(pictures) >= 4
    for picture in pictures[:-1]:
        lines = picture.split("\x1b[K\r\n")
        assert [len(line) for line in lines] == [79, 79, 0]
