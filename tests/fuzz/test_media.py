"""Damaged media of every container against the real daemon and FFmpeg, many at once, beside somebody who listens.

`AUDIOSVC_FUZZ_MEDIA` is how many of each container, `AUDIOSVC_FUZZ_SEED` makes the same ones again.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest_twisted
import treq
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.server import Site as WebFactory
from twisted.web.static import File

from audiosvc.wire.codec import Decoder
from audiosvc.wire.messages import CREDIT_MOST, TERMINAL, Credit, Error, Finished, Packet, SessionEvent, Subscribe
from tests.fuzz.media import CONTAINERS, make
from tests.fuzz.mutate import Mutator
from tests.fuzz.test_targets import SEED, VECTORS
from tests.integration.conftest import Start
from tests.integration.harness import Client, Daemon, reactor, sleep, tone
from tests.site.server import PUBLIC, REACHES

EACH = int(os.environ.get("AUDIOSVC_FUZZ_MEDIA", "8"))
AT_ONCE = 8

PATIENCE = 150.0
"""Seconds for one to end, on a busy machine: twice what opening, stalling and opening again may take, thrice over."""

SOUND_MOST = 20.0
"""Seconds of each that are asked for: some say that they are very long, and are."""

RSS_MOST = 300 * 1024 * 1024
"""Bytes that a child may have resident."""

SONG = 20


class Drinker(Client):
    """Takes whatever comes as fast as it comes, and keeps only how each track ended."""

    def __init__(self) -> None:
        super().__init__()
        self.packets_of: Counter[str] = Counter()
        self.ended: dict[str, Deferred[SessionEvent]] = {}
        self._messages = Decoder()

    def dataReceived(self, data: bytes) -> None:
        for message in self._messages.feed(data):
            if isinstance(message, Packet):
                self.packets_of[message.session_id] += 1
                if self.packets_of[message.session_id] % 100 == 0:
                    self.send(Credit(message.session_id, 100))
            elif isinstance(message, SessionEvent):
                if isinstance(message, TERMINAL):
                    self.ended.pop(message.session_id).callback(message)
            else:
                self.received.append(message)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        for ending in self.ended.values():
            ending.errback(reason)

    async def drink(self, daemon: Daemon, session_id: str, url: str) -> SessionEvent:
        """Play to its end."""
        self.ended[session_id] = ending = Deferred[SessionEvent]()
        self.send(Credit(session_id, CREDIT_MOST))
        await daemon.play(session_id, url, duration=SOUND_MOST)
        return await ending.addTimeout(PATIENCE, reactor)


class Folder(File):
    """Of files; damaged playlists ask for names that are none."""

    def getChild(self, path: bytes, request: Any) -> Any:
        name = path.decode("utf-8", "replace").replace("\0", "_").encode()
        return super().getChild(name, request)  # type: ignore[no-untyped-call]


class Watch:
    """The most that any child of the daemon had resident, looked at now and then until `over`."""

    def __init__(self, daemon: Daemon) -> None:
        self.most = 0
        self.over = False
        self._daemon = daemon

    async def look(self) -> None:
        while not self.over:
            for pid in self._daemon.children():
                with suppress(OSError):
                    status = Path(f"/proc/{pid}/status").read_text()
                    self.most = max([self.most, *(int(kB) * 1024 for kB in re.findall(r"VmHWM:\s+(\d+) kB", status))])
            await sleep(0.03)


async def listen(daemon: Daemon, watch: Watch, reference: list[bytes]) -> int:
    """Hear the same song again and again; how often."""
    client = await daemon.connect(Subscribe("bystander"))
    times = 0
    while not watch.over:
        before = len(client.packets("bystander"))
        await daemon.play("bystander", tone(440, SONG))
        while len(client.ends("bystander")) == times and not watch.over:
            await sleep(0.05)
        heard = client.packets("bystander")[before:]
        assert heard == reference[: len(heard)]
        times += 1
        assert watch.over or len(heard) == len(reference)
    assert not [end for end in client.ends("bystander") if not isinstance(end, Finished)]
    return times


def write_damaged(folder: Path) -> Iterator[str]:
    """The names of files of every container, in turns, damaged in every way there is."""
    whole = make(folder)
    mutators = {name: Mutator(random.Random(f"{SEED} {name}"), [data]) for name, data in whole.items()}
    for kept in sorted((VECTORS / "media").glob("*")):
        shutil.copy(kept, folder)
        yield kept.name
    for i in range(EACH):
        for container in CONTAINERS:
            name = f"{i}.{container}"
            (folder / name).write_bytes(mutators[container].next())
            yield name


@pytest_twisted.ensureDeferred
async def test_whatever_is_wrong_with_a_file_it_ends_and_harms_nobody(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "media"
    folder.mkdir()
    names, began = write_damaged(folder), time.monotonic()
    site = reactor.listenTCP(0, WebFactory(Folder(str(folder))), interface=PUBLIC)
    base = f"http://{PUBLIC}:{site.getHost().port}"
    daemon = await start(*REACHES, "--extractors=0", "--media-root", str(folder))
    reference = await daemon.alone(tone(440, SONG))
    watch, drinker = Watch(daemon), Drinker()
    drinking = [Subscribe(f"m{i}") for i in range(AT_ONCE)]
    await daemon.connect(*drinking, client=drinker)
    ends: Counter[str] = Counter()
    slowest, played = (0.0, ""), 0

    async def work(session_id: str) -> None:
        nonlocal slowest, played
        for number, name in enumerate(names):
            # Playlists are not played from files.
            url = f"{base}/{name}" if number % 2 or name.endswith("m3u8") else str(folder / name)
            begun = time.monotonic()
            try:
                end = await drinker.drink(daemon, session_id, url)
            except Exception as error:
                kept = VECTORS / "media" / f"{SEED}-{name}"
                kept.parent.mkdir(exist_ok=True)
                shutil.copy(folder / name, kept)
                raise AssertionError(f"seed {SEED}, kept as {kept}: {error!r}\n{daemon.log[-3000:]}") from error
            assert isinstance(end, (Finished, Error)), (name, end)
            ends[f"{end.code}" if isinstance(end, Error) else "finished"] += 1
            slowest = max(slowest, (time.monotonic() - begun, name))
            played += 1

    looking, listening = ensureDeferred(watch.look()), ensureDeferred(listen(daemon, watch, reference))
    try:
        await gatherResults([ensureDeferred(work(f"m{i}")) for i in range(AT_ONCE)], consumeErrors=True)
    finally:
        watch.over = True
        await looking
        songs = await listening
        await site.stopListening()
    assert watch.most < RSS_MOST
    metrics = await (await treq.get(f"http://127.0.0.1:{daemon.port}/metrics", persistent=False)).text()
    statuses = set(re.findall(r'^audiosvc_http_answers_total{status="(\d+)"}', metrics, re.MULTILINE))
    assert statuses and max(statuses) < "500", statuses
    assert await daemon.complaints() == []
    print(
        f"\nmedia, seed {SEED}: {played} damaged files in {time.monotonic() - began:.0f} s: {dict(ends.most_common())}"
        f"; the slowest ({slowest[1]}) took {slowest[0]:.1f} s; the largest child {watch.most / 2**20:.0f} MiB; "
        f"the bystander heard {songs} songs, each packet as alone; daemon {daemon.rss() / 2**20:.0f} MiB"
    )
