"""The HTTP API of a running daemon: what docs/http-api.rst promises, good requests and bad ones."""

from __future__ import annotations

import re
from itertools import count
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest_twisted
import treq
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent

from audiosvc.api.openapi import ENDPOINTS, Endpoint, document
from audiosvc.session.track import Snapshot
from audiosvc.vitals import Vitals
from audiosvc.wire.messages import Status
from tests.api.test_bad_input import TOKEN, good
from tests.integration.conftest import Start
from tests.integration.harness import Daemon, reactor

DOCS = Path(__file__).parents[2] / "docs/http-api.rst"
CALLERS = count()
AT_ONCE = 6
"""Rows of the table that are sent side by side."""


class Raw(Protocol):
    """Whatever is sent, and what comes back."""

    def __init__(self) -> None:
        self.received = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True

    @property
    def whole(self) -> bool:
        """Whether an answer has come to its end; one to HEAD has no body."""
        head, end, body = self.received.partition(b"\r\n\r\n")
        length = re.search(rb"Content-Length: (\d+)", head)
        return bool(end) and length is not None and len(body) >= int(length[1])


def somebody_else() -> tuple[str, int]:
    """An address of this machine that has not called yet: of one, only so many wrong tokens are answered."""
    caller = next(CALLERS)
    return f"127.2.{caller // 250 % 250}.{caller % 250 + 1}", 0


async def with_token(start: Start, folder: Path) -> Daemon:
    file = folder / "token"
    file.write_bytes(TOKEN + b"\n")
    daemon = await start("--token-file", str(file), "--media-root", str(folder), "--list-files")
    daemon.headers = {"Authorization": f"Bearer {TOKEN.decode()}"}
    return daemon


# --- bad input ------------------------------------------------------------------------------------------------


# --- good requests ----------------------------------------------------------------------------------------------


def answer_of(name: str) -> type[msgspec.Struct]:
    return next(endpoint.answer for endpoint in ENDPOINTS if endpoint.name == name and endpoint.answer)


async def ask(daemon: Daemon, endpoint: str, body: Any = None, session: str = "user:42") -> Any:
    """A good answer, checked against the type that documents it: every field there, and no other."""
    status, answer = await daemon.post(f"/session/{session}/{endpoint}", body)
    assert status == 200, answer
    assert answer.keys() == set(answer_of(endpoint).__struct_fields__)
    return msgspec.to_builtins(msgspec.convert(answer, answer_of(endpoint)))


@pytest_twisted.ensureDeferred
async def test_a_session_is_steered_as_the_docs_say(start: Start) -> None:
    daemon = await start()
    client = await daemon.connect()
    named = {"session_id": "user:42"}
    playing = await ask(daemon, "play", {"url": "demo:tone?hz=440", "volume": 0.5})
    assert playing == {"status": "playing", "track_id": playing["track_id"], **named}
    await client.holds("user:42", 10)
    snapshot = await daemon.get("/session/user:42/status")
    assert snapshot.keys() == set(Snapshot.__struct_fields__)
    assert snapshot == {
        **snapshot,
        **playing,
        "status": "streaming",
        "url": "demo:tone?hz=440",
        "format": "opus",
        "title": "Tone of 440 Hz",
        "duration": 30.0,
        "volume": 0.5,
        "bitrate": 128_000,
        "uploader": None,
        "thumbnail": None,
        "held": False,
    }
    assert snapshot["packets_sent"] >= 10
    assert snapshot["position"] == snapshot["packets_sent"] / 50
    assert snapshot["bytes_sent"] >= sum(map(len, client.packets("user:42")[:10]))
    assert 0 < snapshot["buffered"] <= 1
    listed = await daemon.get("/sessions")
    assert (listed["count"], [one["session_id"] for one in listed["sessions"]]) == (1, ["user:42"])

    assert await ask(daemon, "pause") == {"status": "paused", **named}
    assert await ask(daemon, "pause", {}) == {"status": "paused", **named}
    assert (await daemon.get("/session/user:42/status"))["status"] == "paused"
    assert (await daemon.get("/health"))["sessions"] == {"extracting": 0, "streaming": 0, "paused": 1}
    assert await ask(daemon, "seek", {"position": 12.5}) == {"status": "paused", "position": 12.5, **named}
    assert await ask(daemon, "volume", {"volume": 0.8}) == {"status": "paused", "volume": 0.8, **named}
    assert await ask(daemon, "resume") == {"status": "playing", **named}
    seeked: Any = await client.hears("user:42", "seeked")
    assert (seeked.position, seeked.previous) == (12.5, len(client.packets("user:42")) / 50)
    status, refused = await daemon.post("/session/user:42/seek", {"position": 30.5})
    assert (status, refused["code"]) == (422, "position_out_of_range")

    assert await ask(daemon, "stop") == {"status": "stopped", **named}
    await client.hears("user:42", "stopped")
    assert client.types("user:42") == ["ready", "paused", "seeked", "resumed", "stopped"]
    assert await ask(daemon, "stop") == {"status": "stopped", **named}
    for endpoint in ("pause", "resume"):
        status, gone = await daemon.post(f"/session/user:42/{endpoint}")
        assert (status, gone["code"], gone["session_id"]) == (404, "not_found", "user:42")
    status, gone = await daemon.request("GET", "/session/user:42/status")
    assert (status, gone["status"], gone["code"]) == (404, "not_found", "not_found")
    assert await daemon.get("/sessions") == {"count": 0, "sessions": []}


@pytest_twisted.ensureDeferred
async def test_what_there_is_to_play_is_told_as_the_docs_say(start: Start) -> None:
    daemon = await start("--extractors", "0")
    described = await daemon.get("/metadata?url=demo:tone%3Fhz%3D440")
    assert described == {
        "url": "demo:tone?hz=440",
        "title": "Tone of 440 Hz",
        "duration": 30.0,
        "thumbnail": None,
        "is_playlist": False,
    }
    playlist = await daemon.get("/playlist?url=demo:")
    assert playlist["url"] == "demo:"
    assert playlist["count"] == len(playlist["entries"]) >= 3
    assert all(entry.keys() == {"url", "title", "duration", "thumbnail"} for entry in playlist["entries"])
    found = await daemon.get("/search?q=demo:&limit=2")
    assert (found["query"], found["count"], len(found["results"])) == ("demo:", 2, 2)
    for result in (await daemon.get("/search?q=demo:"))["results"]:
        assert result.keys() == {"id", "url", "title", "duration", "thumbnail", "channel"}
        assert (await daemon.get(f"/metadata?url={result['url']}"))["duration"] == result["duration"] > 0
        await daemon.play("each", result["url"])
    for path, code in (
        ("/search?q=anything+else", "extraction_unavailable"),
        ("/playlist?url=http://127.0.0.1:8000/", "blocked_address"),
    ):
        status, refused = await daemon.request("GET", path)
        assert (status, refused["code"]) == (422, code)

    health = await daemon.get("/health")
    assert health.keys() == set(Vitals.__struct_fields__)
    vitals = msgspec.convert(health, Vitals)
    assert (vitals.status != "stopping", vitals.plays) == (True, 3)
    assert set(vitals.sessions) <= set(get_args(Status))
    assert await daemon.get("/openapi.json") == document()
    metrics = await treq.get(f"http://127.0.0.1:{daemon.port}/metrics", persistent=False)
    assert metrics.headers.getRawHeaders("content-type")[0].startswith("text/plain")
    text = await metrics.text()
    assert "\naudiosvc_plays_total 3.0\n" in text
    assert "\nprocess_open_fds " in text


def test_the_docs_show_every_field_of_a_status() -> None:
    example = DOCS.read_text("utf-8").split("/session/user:42/status\n")[1].split("\n\n")[0]
    assert list(msgspec.json.decode(example)) == list(Snapshot.__struct_fields__)


@pytest_twisted.ensureDeferred
async def test_the_docs_examples_are_what_the_daemon_answers(start: Start, tmp_path: Path) -> None:
    (tmp_path / "music" / "albums").mkdir(parents=True)
    with (tmp_path / "music" / "albums" / "01.flac").open("wb") as file:
        file.truncate(20_971_520)
    daemon = await start("--media-root", str(tmp_path / "music"), "--list-files")
    example = r"-G --data-urlencode '(.+)'(?: -d (.+))? http://[^/]+(/\w+)\n((?: +[{\"].*\n)+)"
    shown = re.findall(example, DOCS.read_text("utf-8"))
    assert [path for _, _, path, _ in shown] == ["/metadata", "/search", "/files"]
    for parameter, more, path, answer in shown:
        name, _, value = parameter.partition("=")
        url = f"http://127.0.0.1:{daemon.port}{path}?{more}"
        assert await (await treq.get(url, params={name: value}, persistent=False)).json() == msgspec.json.decode(answer)


# --- who may call ------------------------------------------------------------------------------------------------


@pytest_twisted.ensureDeferred
async def test_a_token_is_asked_for_and_shown_nowhere(start: Start, tmp_path: Path) -> None:
    daemon = await with_token(start, tmp_path)
    half = TOKEN.decode()[:16]
    for endpoint in ENDPOINTS:
        assert (await call(daemon, endpoint, daemon.headers)) in (200, 404)
        assert (await call(daemon, endpoint, {})) == 401
        assert (await call(daemon, endpoint, {"Authorization": f"Bearer {half}"})) == 401
        assert (await call(daemon, endpoint, {"Authorization": f"Basic {TOKEN.decode()}"})) == 401
    await daemon.stop()
    seen = daemon.log.encode()
    assert half.encode() not in seen
    other = await with_token(start, tmp_path)
    for name in ("cmdline", "environ"):
        assert half.encode() not in Path(f"/proc/{other.pid}/{name}").read_bytes()


async def call(daemon: Daemon, endpoint: Endpoint, headers: dict[str, str]) -> int:
    ask = good(endpoint)
    body: Any = {"data": ask.body} if ask.body else {}
    typed = {"Content-Type": "application/json"} if ask.body else {}
    url = f"http://127.0.0.1:{daemon.port}{ask.target}"
    agent = Agent(reactor, bindAddress=somebody_else())
    response = await treq.request(ask.method, url, headers={**typed, **headers}, agent=agent, **body)
    await response.content()
    return int(response.code)
