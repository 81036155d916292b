"""Rows 27 to 30: whatever can be sent to the API, while others play."""

from __future__ import annotations

import itertools
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import pytest_twisted
import treq
from twisted.internet.defer import gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread

from audiosvc.api.openapi import ENDPOINTS
from audiosvc.api.peers import FAILURES_MOST
from audiosvc.api.site import CONNECTIONS_MOST, REQUEST_SECONDS
from audiosvc.session.track import Snapshot
from audiosvc.vitals import Vitals
from tests.api.support import Answer, parse
from tests.api.test_bad_input import ID, TOKEN, Change, Row, change_for, good, table
from tests.faults.harness import MIB, Round
from tests.integration.conftest import Start
from tests.integration.harness import Daemon, reactor, sleep, tone, until
from tests.integration.test_api_live import Raw, somebody_else, with_token

HEAD = b"POST /session/user:42/play HTTP/1.1\r\nHost: 127.0.0.1\r\n"
JSON = b"Content-Type: application/json\r\n"
MULTIPART = b"Content-Type: multipart/form-data; boundary=x\r\n"
LENGTHS = b"Content-Length: %d\r\n\r\n" % (10 * MIB)
CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n"
MANY_LENGTHS = b"Content-Length: %d\r\n\r\n" % (300 * MIB)
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
NOWHERE = b"POST /nope HTTP/1.1\r\nHost: 127.0.0.1\r\n"
DRIPPING = 300
AT_ONCE = 6
"""Bad requests that are sent side by side."""

FIRST_USE = 2
"""Threads that a first look-up of names or of the web leaves for the next."""


async def answers_of(daemon: Daemon) -> dict[str, int]:
    """Answers since start, by status."""
    metrics = await (await treq.get(f"http://127.0.0.1:{daemon.port}/metrics", persistent=False)).text()
    found = re.findall(r'^audiosvc_http_answers_total{status="(\d+)"} (\d+)', metrics, re.MULTILINE)
    return {status: int(count) for status, count in found}


def broken(dice: random.Random) -> bytes:
    """A request with a few bytes of it changed, cut, doubled or put in."""
    data = bytearray(good(dice.choice(ENDPOINTS)).raw())
    for _ in range(dice.choice([1, 1, 2, 5, 50])):
        at = dice.randrange(len(data) + 1)
        match dice.randrange(4):
            case 0:
                data[at : at + 1] = dice.randbytes(1)
            case 1:
                del data[at : at + dice.randrange(20)]
            case 2:
                data[at:at] = data[at : at + dice.randrange(200)]
            case _:
                data[at:at] = dice.choice([b"\r\n", b"\0", b"\n\n", b": ", b"%", b"\xff\xfe", b"Content-Length: 9\r\n"])
    return bytes(data) if dice.random() < 0.9 else dice.randbytes(dice.randrange(1, 5000))


@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest_twisted.ensureDeferred
async def test_row_27_bytes_that_are_nearly_requests_are_answered_or_closed(start: Start, count: int) -> None:
    daemon: Any = await start("--extractors", "0")
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    async with Round(daemon, threads=FIRST_USE) as round:
        endpoint, asked = TCP4ClientEndpoint(reactor, "127.0.0.1", daemon.port), Counter[str]()

        async def work() -> None:
            while asked.total() < count:
                asked["all"] += 1
                raw = await connectProtocol(endpoint, Raw())
                raw.transport.write(broken(dice))
                # A half request is ended by its sender, who may still be answered.
                raw.transport.loseWriteConnection()
                await until(lambda raw=raw: raw.whole or raw.lost, f"an answer or the end, seed {seed}")  # type: ignore[misc]
                raw.transport.abortConnection()

        await gatherResults([pytest_twisted.defer.ensureDeferred(work()) for _ in range(20)])
        answers = await answers_of(daemon)
        assert not [status for status in answers if status >= "500"], (answers, seed)
        for playing in (await daemon.get("/sessions"))["sessions"]:
            if playing["session_id"] not in round.bystanders.urls:
                await daemon.post(f"/session/{playing['session_id']}/stop")
        round.report(
            27, f"{count} broken requests, seed {seed}", f"answers {answers}; the rest closed", "no 5xx, none hangs"
        )


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


# --- ids and JSON -------------------------------------------------------------------------------------------------


async def send(daemon: Daemon, data: bytes) -> Answer:
    """The one answer to `data`, on a connection of its own, from a caller who has not called before."""
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", daemon.port, 30, somebody_else())
    raw = await connectProtocol(endpoint, Raw())
    raw.transport.write(data)
    await until(lambda: raw.whole or raw.lost, f"an answer to {data[:80]!r}")
    raw.transport.abortConnection()
    (answer,) = parse(raw.received)
    return answer


async def check_row(daemon: Daemon, row: Row, asked: Counter[int]) -> None:
    """Send what the row says to every endpoint it names."""
    change: Change = change_for(row.sent)
    for endpoint in row.endpoints():
        changed = change(good(endpoint))
        answer = await send(daemon, changed if isinstance(changed, bytes) else changed.raw())
        where = (row.sent, endpoint.path)
        assert (answer.status, answer.json["code"]) == (row.status, row.code), where
        assert answer.headers["Content-Type"] == "application/json", where
        assert answer.json["message"], where
        assert answer.json.keys() <= {"status", "code", "message", "session_id"}, where
        asked[row.status] += 1


@pytest_twisted.ensureDeferred
async def test_row_28_no_bad_input_changes_anything_while_a_session_plays(start: Start, tmp_path: Path) -> None:
    daemon = await with_token(start, tmp_path)
    url = tone(440, 60)
    async with Round(daemon, bystanders=2) as round:
        client = await daemon.connect()
        track_id = await daemon.play(ID, url)
        await client.hears(ID, "ready")
        before: Vitals = msgspec.convert(await daemon.get("/health"), Vitals)
        rows, asked = iter(table()), Counter[int]()

        async def work() -> None:
            for row in rows:
                await check_row(daemon, row, asked)

        await gatherResults([pytest_twisted.defer.ensureDeferred(work()) for _ in range(AT_ONCE)])

        after: Vitals = msgspec.convert(await daemon.get("/health"), Vitals)
        status: Snapshot = msgspec.convert(await daemon.get(f"/session/{ID}/status"), Snapshot)
        assert (status.track_id, status.status, status.volume) == (track_id, "streaming", 1.0)
        assert (after.plays, after.spawns, after.sessions) == (before.plays, before.spawns, before.sessions)
        assert client.types(ID) == ["ready"]
        await daemon.post(f"/session/{ID}/stop")
        await client.hears(ID, "stopped")
        await round.as_alone(client, ID, url)
        round.report(
            28,
            f"{sum(asked.values())} bad requests, ids, bodies, queries",
            f"{dict(sorted(asked.items()))}, each with the code of the docs; nothing changed",
            "400, 4xx as documented, echoed ids legal",
        )


@pytest_twisted.ensureDeferred
async def test_row_28_wrong_tokens_past_ten_a_second_are_told_so(start: Start, tmp_path: Path) -> None:
    daemon = await with_token(start, tmp_path)
    raw = b"GET /health HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n"
    async with Round(daemon, bystanders=2) as round:
        done = await deferToThread(upload, daemon.port, raw % (b"x" * 40) * 50, [])
        statuses = [answer.status for answer in done.answers]
        assert statuses == [401] * FAILURES_MOST + [429]
        last = done.answers[-1]
        assert (last.json["code"], last.headers["Retry-After"]) == ("too_many_failures", "1")
        right = await deferToThread(upload, daemon.port, raw[:-2] % TOKEN + b"Connection: close\r\n\r\n", [])
        assert [answer.status for answer in right.answers] == [200]
        round.report(
            28, "50 wrong tokens in one piece", f"{Counter(statuses)}, then closed; a right one: 200", "10 a second"
        )


# --- bodies ---------------------------------------------------------------------------------------------------------


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


@pytest_twisted.ensureDeferred
async def test_row_29_large_bodies_are_refused_unread_and_leave_no_trace(start: Start, tmp_path: Path) -> None:
    temporary = tmp_path / "t"
    temporary.mkdir()
    daemon = await start(TMPDIR=str(temporary))
    async with Round(daemon) as round:
        open_files, most, slowest = files_of(daemon), 0, 0.0
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
                f"{done.sent / MIB:.2f} MB taken by the kernels, peak RSS +{grown / MIB:.2f} MB",
                end="",
            )
            assert answer.json["code"] == code
            assert answer.headers["Connection"] == "close"
            assert grown < 2 * MIB
            assert files_of(daemon) == open_files
            most, slowest = max(most, grown), max(slowest, done.seconds)
        assert list(temporary.iterdir()) == []
        round.report(
            29,
            "10 and 300 MB, announced, in chunks, multipart, forms, to nowhere",
            f"413 or 415 after {slowest * 1000:.0f} ms at most, peak {most / MIB:+.2f} MiB, no file",
            "413/415 within 50 ms, +2 MiB, no temp file",
        )


@pytest_twisted.ensureDeferred
async def test_row_30_slow_drips_keep_nobody_waiting_and_are_cut_off(start: Start) -> None:
    daemon = await start()
    async with Round(daemon) as round:
        drips, begun, ends = [Raw() for _ in range(DRIPPING)], dict[Raw, float](), dict[Raw, float]()
        beginnings = (
            HEAD,
            HEAD + JSON + b"Content-Length: 1000\r\n\r\n",
            b"",
            HEAD + JSON + b"Transfer-Encoding: chunked\r\n\r\n",
        )
        began, most = time.monotonic(), 0
        for drip, beginning in zip(drips, itertools.cycle(beginnings)):
            await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", daemon.port), drip)
            begun[drip] = time.monotonic()
            drip.transport.write(beginning)

        def a_byte_each() -> None:
            nonlocal most
            most = max(most, sum(not drip.lost for drip in drips))
            for drip in drips:
                if drip.lost:
                    ends.setdefault(drip, time.monotonic() - begun[drip])
                else:
                    drip.transport.write(b"x")

        dripping = LoopingCall(a_byte_each)
        # Not at once: it takes a while until this end of a connection knows that it was closed.
        dripping.start(1.0, now=False)
        answered: list[float] = []
        while len(ends) < DRIPPING and time.monotonic() - began < 3 * REQUEST_SECONDS:
            asked = time.monotonic()
            # Each on a connection of its own: those there are already taken care of.
            response = await treq.get(f"http://127.0.0.1:{daemon.port}/health", persistent=False, timeout=10)
            assert (await response.json())["status"] in ("ok", "degraded")
            answered.append(time.monotonic() - asked)
            await sleep(0.2)
        dripping.stop()
        assert len(ends) == DRIPPING
        assert most <= CONNECTIONS_MOST
        round.report(
            30,
            f"{DRIPPING} connections that send a byte a second",
            f"closed after {min(ends.values()):.1f} to {max(ends.values()):.1f} s, {most} at once; meanwhile "
            f"{len(answered)} x /health on new connections, the slowest {max(answered) * 1000:.0f} ms",
            "all closed within 15 s, /health within 100 ms",
        )
