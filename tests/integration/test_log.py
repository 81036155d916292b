"""What the log tells, to whom it is of no harm, and that nobody waits for it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
from pathlib import Path
from typing import Any

import pytest_twisted
from treq.client import HTTPClient
from twisted.internet.endpoints import quoteStringArgument
from twisted.web.client import Agent

from audiosvc.audio import FRAMES_PER_SECOND
from audiosvc.log.writer import WAITING_MOST
from audiosvc.remote import UnixEndpoints
from audiosvc.wire.messages import Subscribe
from tests.integration.conftest import Start
from tests.integration.harness import RUN, Daemon, TwistdProcess, environment, reactor, sleep, tone, until
from tests.integration.hearing import Hearing
from tests.site.server import REACHES, Site

TEXT_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \[\S+#(debug|info|warn|error|critical)\] \S")
PIPE_BYTES = 4096


class Logged(Daemon):
    """Logs to `path`, by twistd's own option, and answers on a Unix socket, as its log need not tell a port."""

    def __init__(self, folder: Path, path: Path) -> None:
        super().__init__(folder)
        self.path = path
        self._api = folder / "api.sock"
        self._http = HTTPClient(Agent.usingEndpointFactory(reactor, UnixEndpoints(reactor, str(self._api))))

    @property
    def log(self) -> str:
        return self.path.read_text("utf-8") if self.path.is_file() else ""

    def spawn(self, *options: str, **environ: str) -> None:
        argv = [*RUN[:-1], "--logfile", str(self.path), RUN[-1], "--socket", str(self.socket), "--cache-size=0"]
        argv += ["--overload=off", "--api", f"unix:{quoteStringArgument(str(self._api))}:mode=600", *options]
        self.process = TwistdProcess()
        reactor.spawnProcess(self.process, argv[0], argv, environment(**environ), str(self.folder))

    async def start(self, *options: str, **environ: str) -> Logged:
        self.spawn(*options, **environ)
        await until(lambda: self.socket.exists() or self.process.ended, "the daemon listens")
        assert not self.process.ended, self.process.log
        return self

    async def request(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        if body is not None:
            options["json"] = body
        response = await self._http.request(method, f"http://localhost{path}", timeout=30, **options)
        return response.code, await response.json()


def told(daemon: Daemon) -> list[dict[str, Any]]:
    """Every whole line that has come so far; they are not waited for by what they tell of."""
    return [json.loads(line) for line in daemon.log.rpartition("\n")[0].splitlines()]


def of(daemon: Daemon, session_id: str) -> list[dict[str, Any]]:
    return [line for line in told(daemon) if line.get("session") == session_id]


async def lost(daemon: Daemon, least: int) -> dict[str, Any]:
    """The daemon's health once it has lost so many lines."""
    while (health := await daemon.get("/health"))["log"]["dropped"] < least:
        await sleep(0.05)
    return dict(health)


@pytest_twisted.ensureDeferred
async def test_json_lines_tell_each_step_of_the_session_that_is_asked_about_and_no_secret(
    start: Start, site: Site
) -> None:
    daemon = await start(*REACHES, "--log-format", "json")
    assert await daemon.post("/session/loud/log", {"level": "debug"}) == (200, {"session_id": "loud", "level": "debug"})
    url = site.url("media/mp3.mp3", token="sesame")
    for name in ("quiet", "loud"):
        hearing = await Hearing(daemon, name).play(url)
        await hearing.draw(100)
        await daemon.post(f"/session/{name}/seek", {"position": 0.5})
        await hearing.end()
        assert hearing.outcome == "finished"
    missing = await Hearing(daemon, "quiet").play(site.url("status/404", key="sesame"))
    await missing.end()
    await until(lambda: of(daemon, "quiet"), "the log tells what failed")
    loud = [line["message"] for line in of(daemon, "loud")]
    print("\n" + "\n".join(loud))
    for step in ("is to be played", "it is http", "opened at", "FFmpeg is started", "runs as process", "gives sound",
                 "there is sound", "ready at", "first packet is sent", "seeked at", "finished at"):  # fmt: skip
        assert any(step in line for line in loud), step
    assert [(line["level"], line["code"]) for line in of(daemon, "quiet")] == [("warn", missing.events[-1].code)]
    assert {"time", "level", "logger", "message"} <= set.intersection(*(set(line) for line in told(daemon)))
    assert (await daemon.get("/health"))["log"]["sessions"] == {"loud": "debug"}
    assert (await daemon.post("/session/loud/log", {"level": None}))[0] == 200
    hearing = await Hearing(daemon, "loud").play(url)
    await hearing.end()
    missing = await Hearing(daemon, "quiet").play(site.url("status/404", key="sesame"))
    await missing.end()
    await until(lambda: len(of(daemon, "quiet")) == 2, "the log tells what came after that")
    assert len(of(daemon, "loud")) == len(loud)
    assert "sesame" not in daemon.log


@pytest_twisted.ensureDeferred
async def test_a_load_balancer_learns_that_plays_would_be_refused_and_that_they_are_taken_again(start: Start) -> None:
    daemon = await start("--max-sessions", "1", "--isolation", "off", "--extractors", "0")
    assert await daemon.request("GET", "/health/ready") == (200, {"status": "ready"})
    await daemon.play("only", tone(440, 60))
    status, answer = await daemon.request("GET", "/health/ready")
    assert (status, answer["code"]) == (503, "not_ready")
    assert [reason["code"] for reason in answer["reasons"]] == ["too_many_sessions"]
    health = await daemon.get("/health")
    assert health["status"] == "degraded"
    assert "too_many_sessions" in [reason["code"] for reason in health["reasons"] if reason["refuses"]]
    assert await daemon.request("GET", "/health/live") == (200, {"status": "live"})
    await daemon.post("/session/only/stop")
    assert await daemon.request("GET", "/health/ready") == (200, {"status": "ready"})


@pytest_twisted.ensureDeferred
async def test_a_log_on_a_full_disk_is_counted_and_not_heard(start: Start, tmp_path: Path) -> None:
    wanted = await (await start()).alone(tone(440, 3))
    folder = tmp_path / "full"
    folder.mkdir()
    daemon = await Logged(folder, Path("/dev/full")).start("--log-level", "debug")
    try:
        packets = await daemon.alone(tone(440, 3))
        health = await lost(daemon, 10)
        print(f"\n{len(packets)} packets; {health['log']}")
        assert packets == wanted
        assert (health["log"]["written"], health["status"]) == (0, "degraded")
        assert "log_dropped" in [reason["code"] for reason in health["reasons"] if not reason["refuses"]]
        assert (await daemon.request("GET", "/health/ready"))[0] == 200
    finally:
        await daemon.stop()
    assert daemon.process.status == 0


@pytest_twisted.ensureDeferred
async def test_a_log_whose_disk_has_room_again_goes_on_with_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "audiosvc.log"
    daemon = await Logged(tmp_path, path).start("--log-level", "debug")
    try:
        await daemon.alone(tone(440, 0.5))
        await until(lambda: "finished" in daemon.log, "the log tells the end")
        # As a disk that has 30 bytes left.
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (path.stat().st_size + 30, resource.RLIM_INFINITY))
        await daemon.alone(tone(550, 0.5))
        vitals = (await lost(daemon, 6))["log"]
        resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await daemon.alone(tone(660, 0.5))
        await until(lambda: "demo:tone?hz=660" in daemon.log, "it goes on")
    finally:
        await daemon.stop()
    lines = daemon.log.splitlines()
    torn = [line for line in lines if not TEXT_LINE.match(line)]
    print(f"\n{len(lines)} lines, {vitals['dropped']} lost; cut short: {[*torn]}")
    assert len(torn) <= 1 and all(len(line) <= 30 for line in torn)
    assert daemon.process.status == 0


@pytest_twisted.ensureDeferred
async def test_a_log_that_nobody_reads_holds_up_neither_sound_nor_end(start: Start) -> None:
    daemon = await start("--log-level", "debug")
    wanted = await daemon.alone(tone(440, 60))
    client = await daemon.connect(Subscribe("steady"))
    pipe = daemon.process.transport.pipes[1]  # type: ignore[union-attr]
    fcntl.fcntl(pipe.fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    pipe.stopReading()
    await daemon.play("steady", tone(440, 60))
    health: dict[str, Any] = {}
    # Each is four lines and more.
    for number in range(WAITING_MOST):
        await daemon.play(f"s{number % 5}", tone(440, 60))
        await daemon.post(f"/session/s{number % 5}/stop")
        if number % 20 == 0 and (health := await daemon.get("/health"))["log"]["dropped"]:
            break
    heard = len(client.packets("steady"))
    await client.holds("steady", heard + FRAMES_PER_SECOND)
    packets = client.packets("steady")
    print(f"\n{health['log']}; {len(packets)} packets heard")
    assert health["log"]["dropped"] > 0
    assert packets == wanted[: len(packets)]
    os.kill(daemon.pid, 15)
    await until(lambda: not Path(f"/proc/{daemon.pid}").exists(), "it ends")
    pipe.startReading()
    await until(lambda: daemon.process.ended, "its end is seen")
    assert daemon.process.status == 0
