"""`twistd audiosvc` with options and environment variables, right and wrong, as an operator sees it."""

from __future__ import annotations

import re
import socket
import stat
from pathlib import Path

import pytest
import pytest_twisted

from audiosvc.options import Options
from tests.integration.conftest import Start
from tests.integration.harness import tone, twistd, until

LOOPBACK = "tcp:0:interface=127.0.0.1"
WRONG = {
    "api": {
        "tcp:0": "--token-file is required",
        "tcp:0:interface=0.0.0.0": "--token-file is required",
        "tcp:0:interface=192.0.2.1": "--token-file is required",
        "tcp6:0": "--token-file is required",
        "tcp:x:interface=127.0.0.1": "is no endpoint",
        "tcp": "is no endpoint",
        "carrier-pigeon:1": "is no endpoint",
        "ssl:0:interface=127.0.0.1:privateKey=none.pem": "is no endpoint",
        "tcp:65536:interface=127.0.0.1": "port must be 0-65535",
    },
    "socket": {"x" * 200: "at most 107 bytes", "/proc/none/audio.sock": "No such file", "/": ""},
    "media-root": {"none": "is not a folder", "file": "is not a folder"},
    "max-sessions": {"0": "from 1 to", "-1": "from 1 to", "10001": "from 1 to", "1.5": "whole number", "x": "whole"},
    "consumer-timeout": {"0": "from 1 to", "nan": "from 1 to", "inf": "from 1 to", "x": "not a number"},
    "idle-timeout": {"0.5": "from 1 to", "": "not a number", "1e9": "from 1 to"},
    "bitrate": {"5999": "from 6000 to 510000", "510001": "from 6000 to 510000", "128k": "whole number"},
    "opus-complexity": {"-1": "from 0 to 10", "11": "from 0 to 10", "high": "whole number"},
    "encoder-threads": {"0": "from 1 to", "257": "from 1 to"},
    "overload": {"": "none of lower", "on": "none of lower, refuse, off"},
    "ffmpeg": {"none": "is not a file", ".": "is not a file", "file": "may not be executed", "/bin/true": "not FFmpeg"},
    "isolation": {"": "none of auto", "maybe": "none of auto, require, off"},
    "allow-host": {"a b": "HOST or HOST:PORT", "host:x": "HOST or HOST:PORT", "host:0": "no port from 1 to 65535"},
    "allow-net": {"192.168.7.1/24": "not a network", "home": "not a network", "::ffff:1.2.3.0/120": "IPv4 addresses"},
    "extractors": {"-1": "from 0 to 32", "33": "from 0 to 32", "two": "whole number"},
    "cookies": {"none": "cannot be read", ".": "cannot be read", "file": "no cookie in Netscape's format"},
    "token-file": {"none": "No such file", ".": "directory", "file": "at least 32 bytes", "spaced": "without spaces"},
    "cache-size": {"x": "not a number of bytes", "-1": "not a number of bytes", "1.5G": "not a number of bytes"},
    "cache-dir": {"file": "is not a folder"},
    "cache-dir-size": {"x": "not a number of bytes"},
    "state-file": {".": "is a folder"},
    "allowed-host": {"a b": "not a host name", "host:80": "not a host name", "ok,b/d": "not a host name"},
    "log-format": {"": "none of text", "xml": "none of text, json"},
    "log-level": {"": "none of debug", "critical": "none of debug, info, warn, error"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("short")
    (tmp_path / "spaced").write_text("a token of many words, which none is")
    return tmp_path


def last_line(text: str) -> str:
    return text.rstrip().rpartition("\n")[2]


def test_every_option_is_tried() -> None:
    assert list(WRONG) == [name for name, *_ in Options.optParameters]


@pytest.mark.parametrize("option", WRONG)
def test_a_wrong_value_is_told_in_one_line(folder: Path, option: str) -> None:
    for value, reason in WRONG[option].items():
        wanted = {"api": LOOPBACK, "socket": str(folder / "s"), option: value}
        by_option = twistd(folder, *(f"--{name}={value}" for name, value in wanted.items()))
        told = last_line(by_option.stdout)
        assert by_option.returncode == 1, value
        assert reason in told, value
        assert f"--{option}" in told or "audiosvc: " in told
        assert "Traceback" not in by_option.stdout + by_option.stderr
        assert not (folder / "s").exists()
    names = {f"AUDIOSVC_{name.upper().replace('-', '_')}": value for name, value in wanted.items()}
    by_variable = twistd(folder, **names)
    assert by_variable.returncode == 1
    assert reason in last_line(by_variable.stdout)


def test_help_lists_every_option_and_its_default(folder: Path) -> None:
    shown = re.sub(r"\s+", " ", twistd(folder, "--help").stdout)
    for name, _, default, text, *_ in Options.optParameters:
        assert f"--{name}= {text}" in shown
        assert default is None or f"{text} [default: {default}]" in shown
    for words in (["--loud"], ["extra"], ["--bitrate"]):
        done = twistd(folder, *words)
        assert done.returncode == 1
        assert "Traceback" not in done.stdout + done.stderr


def test_a_port_in_use_is_told_and_nothing_is_left_behind(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = twistd(folder, "--api", f"tcp:{port}:interface=127.0.0.1", "--socket", "s")
    assert done.returncode == 1
    assert f"audiosvc: Couldn't listen on 127.0.0.1:{port}" in last_line(done.stdout)
    assert "Address already in use" in last_line(done.stdout)
    assert "Traceback" not in done.stdout + done.stderr
    assert not (folder / "s").exists()


@pytest_twisted.ensureDeferred
async def test_variables_set_what_the_command_line_does_not(start: Start, tmp_path: Path) -> None:
    music = tmp_path / "music"
    music.mkdir()
    daemon = await start(
        "--bitrate=32000",
        AUDIOSVC_BITRATE="64000",
        AUDIOSVC_MAX_SESSIONS="1",
        AUDIOSVC_ENCODER_THREADS="3",
        AUDIOSVC_IDLE_TIMEOUT="2",
        AUDIOSVC_CONSUMER_TIMEOUT="1",
        AUDIOSVC_MEDIA_ROOT=str(music),
        AUDIOSVC_OPUS_COMPLEXITY="0",
        AUDIOSVC_ALLOWED_HOST="bot.example, localhost",
        AUDIOSVC_API="tcp:0",
    )
    client = await daemon.connect()
    await daemon.play("a", tone(440, 30))
    assert (await daemon.get("/session/a/status"))["bitrate"] == 32_000
    assert (await daemon.get("/health"))["encoder"]["threads"] == 3
    status, refused = await daemon.post("/session/b/play", {"url": "demo:tone"})
    assert (status, refused["code"]) == (503, "too_many_sessions")
    status, refused = await daemon.request("GET", "/metadata?url=none.wav")
    assert (status, refused["code"]) == (404, "source_not_found")
    for host, expected in (("bot.example:80", 200), ("other.example", 421)):
        status, _ = await daemon.request("GET", "/health", headers={"Host": host})
        assert status == expected
    await daemon.post("/session/a/pause")
    stopped = await client.hears("a", "stopped")
    assert getattr(stopped, "reason", None) == "idle_timeout"
    await daemon.play("a", tone(440, 30))
    await daemon.disconnect(client)
    await until(lambda: not daemon.children(), "the play without a client ends")
    assert (await daemon.get("/health"))["ends"] == {"stopped:idle_timeout": 1, "stopped:consumer_timeout": 1}


@pytest_twisted.ensureDeferred
async def test_the_socket_is_in_the_run_time_folder_unless_told_otherwise(start: Start, tmp_path: Path) -> None:
    run_time, fresh = tmp_path / "run", tmp_path / "a" / "new: one=two"
    run_time.mkdir(mode=0o700)
    for environ, options, expected in (
        ({"XDG_RUNTIME_DIR": str(run_time), "RUNTIME_DIRECTORY": ""}, ["--socket="], run_time / "audiosvc/audio.sock"),
        ({}, [f"--socket={fresh}/s"], fresh / "s"),
    ):
        daemon = await start(*options, **environ)
        daemon.socket = expected
        client = await daemon.connect()
        await daemon.play("a", tone(440, 0.1))
        await client.hears("a", "finished")
        assert stat.S_IMODE(expected.lstat().st_mode) == 0o600
        assert stat.S_ISSOCK(expected.lstat().st_mode)
        assert stat.S_IMODE(expected.parent.stat().st_mode) == 0o700
        await daemon.stop()
        assert [path.name for path in expected.parent.iterdir()] == [f"{expected.name}.lock"]


@pytest_twisted.ensureDeferred
async def test_with_a_token_it_listens_beyond_this_machine(start: Start, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x" * 40)
    daemon = await start("--api=tcp:0:interface=0.0.0.0", f"--token-file={tmp_path / 'token'}")
    assert (await daemon.request("GET", "/health"))[0] == 401
    assert (await daemon.request("GET", "/health", headers={"Authorization": "Bearer " + "x" * 40}))[0] == 200
    local = await start("--api=tcp6:0:interface=\\:\\:1")
    assert local.port
