"""Bytes at the API's port that are hardly requests: refused or cut off, and nobody else is any the worse for it.

`AUDIOSVC_FUZZ` makes it as many times more, `AUDIOSVC_FUZZ_SEED` makes the same ones again.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter

import pytest_twisted
from twisted.internet.defer import ensureDeferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol

from tests.fuzz.mutate import Mutator
from tests.fuzz.test_targets import LONGER, SEED
from tests.integration.conftest import Start
from tests.integration.harness import reactor, sleep, tone
from tests.integration.test_api_live import Raw

COUNT = int(2000 * LONGER)
AT_ONCE = 20

ANSWER_SECONDS = 0.05
"""How long an answer is waited for: what is no whole request has none before its deadline."""

JSON = b"Content-Type: application/json\r\n"
PLAY = b'{"url": "demo:tone?seconds=1", "format": "ogg", "volume": 0.5}'

REQUESTS = [
    b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /sessions HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: keep-alive\r\n\r\n" * 3,
    b"POST /session/a:1/play HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n%s" % (JSON, len(PLAY), PLAY),
    b"POST /session/b/play HTTP/1.1\r\nHost: localhost\r\n%sTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n"
    % (JSON, len(PLAY), PLAY),
    b"POST /session/a:1/seek HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: 17\r\n\r\n" % JSON + b'{"position": 1.5}',
    b"POST /session/a:1/stop HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n",
    b"GET /metadata?url=demo%3Atone&x=%C3%A9 HTTP/1.1\r\nHost: [::1]:80\r\nOrigin: http://localhost\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n",
    b"POST /session/%00%0d%0a/play HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    b"Content-Length: 30\r\n\r\n--x\r\nContent-Disposition: a\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)),
]


@pytest_twisted.ensureDeferred
async def test_whatever_comes_in_is_refused_or_cut_off_and_nobody_else_notices(start: Start) -> None:
    daemon = await start("--extractors=0")
    song = tone(440, 10)
    reference = await daemon.alone(song)
    client = await daemon.connect()
    await daemon.play("listener", song)
    mutator = Mutator(random.Random(f"{SEED} http"), REQUESTS)
    cases, began, healthy = 0, time.monotonic(), 0
    answers: Counter[str] = Counter()

    async def send() -> None:
        nonlocal cases
        while cases < COUNT:
            cases += 1
            data = mutator.next()
            raw = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", daemon.port), Raw())
            for piece in mutator.cuts(data):
                if not raw.lost and piece:
                    raw.transport.write(piece)
                    await sleep(0)
            end = time.monotonic() + ANSWER_SECONDS
            while not (raw.lost or raw.whole) and time.monotonic() < end:
                await sleep(0.005)
            statuses = re.findall(rb"HTTP/1\.[01] (\d{3}) ", raw.received)
            answers.update(status.decode() for status in statuses)
            answers["closed" if raw.lost else "open"] += not statuses
            assert all(status < b"500" or status == b"503" for status in statuses), (SEED, data, raw.received)
            assert b"Traceback" not in raw.received and b"<html" not in raw.received, (SEED, data, raw.received)
            raw.transport.abortConnection()

    async def ask() -> None:
        nonlocal healthy
        while cases < COUNT:
            assert await daemon.complaints() == []
            healthy += 1
            await sleep(0.05)

    await gatherResults([ensureDeferred(send()) for _ in range(AT_ONCE)] + [ensureDeferred(ask())], consumeErrors=True)
    took = time.monotonic() - began
    await client.hears("listener", "finished")
    assert client.packets("listener") == reference
    print(
        f"\nhttp, seed {SEED}: {cases} connections in {took:.0f} s, answers {dict(answers.most_common())}; /health "
        f"answered {healthy} times meanwhile; each of {len(reference)} packets of a listener came"
    )
