"""Callers that send too much or too slowly, while a session plays and others want their answers."""

from __future__ import annotations

import itertools
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pytest_twisted
import treq
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread

from audiosvc.api.site import REQUEST_SECONDS
from tests.api.support import Answer, parse
from tests.integration.conftest import Start
from tests.integration.harness import Client, Daemon, reactor, sleep, tone, until
from tests.integration.test_api_live import Raw

HEAD = b"POST /session/user:42/play HTTP/1.1\r\nHost: 127.0.0.1\r\n"
JSON = b"Content-Type: application/json\r\n"
MULTIPART = b"Content-Type: multipart/form-data; boundary=x\r\n"
MEGABYTE = 1024 * 1024
DRIPPING = 300
LENGTHS = b"Content-Length: %d\r\n\r\n" % (10 * MEGABYTE)
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n"
MANY_LENGTHS = b"Content-Length: %d\r\n\r\n" % (300 * MEGABYTE)
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
NOWHERE = b"POST /nope HTTP/1.1\r\nHost: 127.0.0.1\r\n"


class Upload(NamedTuple):
    answers: list[Answer]
    sent: int
    """Bytes of the body that the kernel took before the connection was closed."""
    seconds: float


def upload(port: int, head: bytes, body: Iterable[bytes]) -> Upload:
    """Send everything, or as much as is taken, as a client that looks at the answer afterwards."""
    began, sent, raw = time.monotonic(), 0, b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(head)
            for piece in body:
                connection.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
        try:
            while data := connection.recv(65536):
                raw += data
        except ConnectionResetError:
            pass
    return Upload(parse(raw), sent, time.monotonic() - began)


def megabytes(count: int, chunked: bool = False) -> Iterable[bytes]:
    piece = b" " * 32768
    return itertools.repeat(b"8000\r\n" + piece + b"\r\n" if chunked else piece, count * 32)


def files_of(daemon: Daemon) -> list[str]:
    """What the daemon has open besides sockets, pipes and the like, deleted files too."""
    links = [link.readlink() for link in Path(f"/proc/{daemon.pid}/fd").iterdir()]
    return sorted(str(link) for link in links if link.is_absolute() and not link.is_relative_to("/dev"))


async def playing(daemon: Daemon, url: str) -> Client:
    client = await daemon.connect()
    await daemon.play("listener", url)
    await client.holds("listener", 5)
    return client


@pytest_twisted.ensureDeferred
async def test_ten_megabytes_are_refused_unread_and_leave_no_trace(start: Start, tmp_path: Path) -> None:
    temporary = tmp_path / "t"
    temporary.mkdir()
    daemon = await start(TMPDIR=str(temporary))
    url = tone(440, 6)
    reference = await daemon.alone(url)
    client = await playing(daemon, url)
    open_files, begins = files_of(daemon), time.monotonic()
    for name, head, chunked, code in (
        ("10 MB announced", HEAD + JSON + LENGTHS, False, "body_too_large"),
        ("10 MB in chunks", HEAD + JSON + CHUNKS, True, "body_too_large"),
        ("10 MB multipart", HEAD + MULTIPART + LENGTHS, False, "body_too_large"),
        ("10 MB multipart in chunks", HEAD + MULTIPART + CHUNKS, True, "unsupported_media_type"),
        ("10 MB, waiting for 100", HEAD + JSON + b"Expect: 100-continue\r\n" + LENGTHS, False, "body_too_large"),
        ("300 MB multipart", HEAD + MULTIPART + MANY_LENGTHS, False, "body_too_large"),
        ("300 MB of a form", HEAD + FORM + MANY_LENGTHS, False, "body_too_large"),
        ("a form in chunks", HEAD + FORM + CHUNKS, True, "unsupported_media_type"),
        ("300 MB to nowhere", NOWHERE + JSON + MANY_LENGTHS, False, "body_too_large"),
        ("10 MB in chunks to nowhere", NOWHERE + JSON + CHUNKS, True, "body_too_large"),
    ):
        daemon.forget_peak()
        before = daemon.rss()
        done = await deferToThread(upload, daemon.port, head, megabytes(10, chunked))
        grown = daemon.peak_rss() - before
        (answer,) = done.answers
        print(
            f"\n{name}: {answer.status} {answer.json['code']} after {done.seconds * 1000:.0f} ms, "
            f"{done.sent / MEGABYTE:.2f} MB taken by the kernels, peak RSS +{grown / MEGABYTE:.2f} MB",
            end="",
        )
        assert answer.json["code"] == code
        assert answer.headers["Connection"] == "close"
        assert grown < 2 * MEGABYTE
        assert files_of(daemon) == open_files
    assert client.types("listener") == ["ready"]
    took = time.monotonic() - begins
    await client.hears("listener", "finished")
    assert client.packets("listener") == reference
    assert list(temporary.iterdir()) == []
    print(
        f"\nthe listener's largest gap in those {took:.1f} s and after: {client.largest_gap('listener') * 1000:.1f} ms"
    )


@pytest_twisted.ensureDeferred
async def test_slow_drips_keep_nobody_waiting_and_are_cut_off(start: Start) -> None:
    daemon = await start()
    client = await playing(daemon, tone(440, 30))
    threads, fds = daemon.threads(), daemon.fds()
    drips, begun, ends = [Raw() for _ in range(DRIPPING)], dict[Raw, float](), dict[Raw, float]()
    beginnings = (
        HEAD,
        HEAD + JSON + b"Content-Length: 1000\r\n\r\n",
        b"",
        HEAD + JSON + b"Transfer-Encoding: chunked\r\n\r\n",
    )
    began = time.monotonic()
    for drip, beginning in zip(drips, itertools.cycle(beginnings)):
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", daemon.port), drip)
        begun[drip] = time.monotonic()
        drip.transport.write(beginning)

    def a_byte_each() -> None:
        for drip in drips:
            if drip.lost:
                ends.setdefault(drip, time.monotonic() - begun[drip])
            else:
                drip.transport.write(b"x")

    dripping = LoopingCall(a_byte_each)
    dripping.start(1.0)
    answered: list[float] = []
    while len(ends) < DRIPPING and time.monotonic() - began < 2 * REQUEST_SECONDS:
        asked = time.monotonic()
        # Each on a connection of its own: those there are already taken care of.
        response = await treq.get(f"http://127.0.0.1:{daemon.port}/health", persistent=False, timeout=5)
        assert (await response.json())["status"] == "ok"
        answered.append(time.monotonic() - asked)
        await sleep(0.2)
    dripping.stop()
    print(
        f"\n{DRIPPING} drips: closed after {min(ends.values()):.1f} to {max(ends.values()):.1f} s; meanwhile "
        f"{len(answered)} answers of /health on new connections, the slowest after {max(answered) * 1000:.1f} ms; "
        f"the listener's largest gap {client.largest_gap('listener') * 1000:.1f} ms"
    )
    assert len(ends) == DRIPPING
    assert max(ends.values()) < REQUEST_SECONDS + 2.5
    assert client.largest_gap("listener") < 1
    assert client.types("listener") == ["ready"]
    await until(lambda: daemon.fds() <= fds + 1, "the connections are gone")
    assert daemon.threads() == threads


@pytest_twisted.ensureDeferred
async def test_requests_in_one_piece_are_answered_in_order(start: Start) -> None:
    daemon = await start()
    client = await daemon.connect()
    play = b'{"url": "demo:tone", "volume": 0.5}'
    post = b"POST /session/user:42/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    requests = [HEAD + JSON + b"Content-Length: %d\r\n\r\n" % len(play) + play]
    requests += [post % name for name in (b"pause", b"resume", b"resume", b"stop")]
    requests.append(b"GET /session/user:42/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
    done = await deferToThread(upload, daemon.port, b"".join(requests * 20)[:-2] + b"Connection: close\r\n\r\n", [])
    assert [answer.json["status"] for answer in done.answers] == [
        *["playing", "paused", "playing", "playing", "stopped", "not_found"] * 20
    ]
    await until(lambda: len(client.ends("user:42")) == 20, "every play has its end")
    tracks = [answer.json["track_id"] for answer in done.answers[::6]]
    assert [end.track_id for end in client.ends("user:42")] == tracks
    # What stands behind a refused body is not taken for a request.
    hidden = b"POST /session/b/play HTTP/1.1\r\nHost: localhost\r\n\r\n"
    refused = await deferToThread(
        upload, daemon.port, HEAD + b"Content-Type: text/plain\r\nContent-Length: 9\r\n\r\n" + hidden, []
    )
    assert [answer.status for answer in refused.answers] == [415]
