"""Many plays, stops and seeks in a heap: the last call wins, each track ends once, and nothing is left behind."""

from __future__ import annotations

import json
import os
import random
import signal
from typing import Any

import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from audiosvc.wire.messages import TERMINAL, Packet, Ready, Seeked, SessionEvent, Stopped, Subscribe
from tests.integration.conftest import Start
from tests.integration.harness import PATIENCE, Client, Daemon, reactor, sleep, tone, until

MIB = 1024 * 1024


class Pipeline(Protocol):
    """Sends requests without waiting for answers, so that the daemon takes them in this order and as fast as it can."""

    def __init__(self) -> None:
        self._rest = b""
        self._answers: list[tuple[int, Any]] = []
        self._wanted = 0
        self._waiting: Deferred[list[tuple[int, Any]]] = Deferred()

    async def post(self, *requests: tuple[str, Any]) -> list[tuple[int, Any]]:
        """(path, body) each; returns status and decoded JSON of each."""
        self._answers, self._wanted, self._waiting = [], len(requests), Deferred()
        sent = b""
        for path, body in requests:
            said = b"" if body is None else json.dumps(body).encode()
            sent += f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(said)}\r\n".encode()
            sent += (b"Content-Type: application/json\r\n" if said else b"") + b"\r\n" + said
        self.transport.write(sent)  # type: ignore[union-attr]
        return await self._waiting.addTimeout(PATIENCE, reactor)

    def dataReceived(self, data: bytes) -> None:
        self._rest += data
        while b"\r\n\r\n" in self._rest:
            head, _, rest = self._rest.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            (length,) = (int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:"))
            if len(rest) < length:
                return
            self._answers.append((int(lines[0].split()[1]), json.loads(rest[:length])))
            self._rest = rest[length:]
        if len(self._answers) == self._wanted:
            self._waiting.callback(self._answers)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._waiting.called:
            self._waiting.errback(reason)


async def pipeline(daemon: Daemon) -> Pipeline:
    control = await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", daemon.port), Pipeline())
    await control.post(("/session/nobody/stop", None))
    return control


class Looks:
    """What was seen of the daemon's children, every few milliseconds until `over`."""

    def __init__(self, daemon: Daemon) -> None:
        self.count = self.most_live = self.most = 0
        self.over = False
        self._daemon = daemon

    async def look(self) -> None:
        while not self.over:
            self.count += 1
            self.most = max(self.most, len(self._daemon.children()))
            self.most_live = max(self.most_live, len(self._daemon.live_children()))
            await sleep(0.003)


async def settled(daemon: Daemon, fds: int) -> None:
    """Wait until the daemon has no child and no more file descriptors than before."""
    await until(lambda: not daemon.children() and daemon.fds() <= fds, "children and descriptors are gone")


def tracks_in_order(client: Client, session_id: str) -> dict[str, list[Any]]:
    """What came of each track, in order; each track's messages follow each other, none of another in between."""
    tracks: dict[str, list[Any]] = {}
    current = ""
    for message in client.received:
        if isinstance(message, Packet) and message.session_id == session_id:
            tracks[current].append(message.payload)
        elif isinstance(message, SessionEvent) and message.session_id == session_id:
            assert message.track_id == current or message.track_id not in tracks
            current = message.track_id
            tracks.setdefault(current, []).append(message)
    return tracks


@pytest_twisted.ensureDeferred
async def test_five_hundred_plays_and_stops_on_one_id_end_once_each_and_the_last_call_wins(start: Start) -> None:
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    daemon = await start()
    notes = [300, 500, 700, 900]
    references = {tone(hz, 10): await daemon.alone(tone(hz, 10)) for hz in notes}
    client = await daemon.connect()
    control = await pipeline(daemon)
    fds, threads, rss = daemon.fds(), daemon.threads(), daemon.rss()
    looks = Looks(daemon)
    looking = Deferred.fromCoroutine(looks.look())
    urls: dict[str, str] = {}
    calls = bursts = 0
    while calls < 500:
        size = min(dice.choice([1, 2, 3, 10, 40]), 500 - calls)
        ops = [dice.choice(["play", "play", "stop"]) for _ in range(size)]
        asked = [tone(dice.choice(notes), 10) for _ in ops]
        bodies = [{"url": url} if op == "play" else None for op, url in zip(ops, asked, strict=True)]
        answers = await control.post(*((f"/session/s/{op}", body) for op, body in zip(ops, bodies, strict=True)))
        assert [status for status, _ in answers] == [200] * size
        urls.update(
            {answer["track_id"]: url for (_, answer), url in zip(answers, asked, strict=True) if "track_id" in answer}
        )
        status, now = await daemon.request("GET", "/session/s/status")
        if ops[-1] == "stop":
            assert (status, now["status"]) == (404, "not_found")
        else:
            assert (status, now["track_id"], now["url"]) == (200, answers[-1][1]["track_id"], asked[-1])
        calls, bursts = calls + size, bursts + 1
        if dice.random() < 0.5:
            await sleep(dice.choice([0.005, 0.02, 0.05, 0.2]))
    ((_, last),) = await control.post(("/session/s/play", {"url": tone(300, 10)}))
    urls[last["track_id"]] = tone(300, 10)
    await until(lambda: len(tracks_in_order(client, "s").get(last["track_id"], [])) > 25, "the last play is heard")
    await control.post(("/session/s/stop", None))
    await until(lambda: len(client.ends("s")) == len(urls), "every play ends")
    await sleep(0.1)
    looks.over = True
    await looking
    await settled(daemon, fds)

    tracks = tracks_in_order(client, "s")
    assert list(tracks) == list(urls)
    heard = 0
    for track_id, messages in tracks.items():
        ends = [m for m in messages if isinstance(m, TERMINAL)]
        assert ends == messages[-1:]
        assert isinstance(ends[0], Stopped)
        packets = [m for m in messages if isinstance(m, bytes)]
        assert packets == references[urls[track_id]][: len(packets)]
        assert isinstance(messages[0], Ready) or len(messages) == 1
        heard += isinstance(messages[0], Ready)
    vitals = await daemon.get("/health")
    print(
        f"\n500 calls on one id (seed {seed}): {len(urls)} plays in {bursts} bursts, {heard} of them heard, "
        f"{len(urls)} ends, {vitals['spawns']} children started, at most {looks.most_live} live, {looks.most} in all "
        f"({looks.count} looks); afterwards {len(daemon.children())} children, {daemon.zombies()} zombies, "
        f"fds {fds} -> {daemon.fds()}, threads {threads} -> {daemon.threads()}, "
        f"RSS {rss / MIB:.1f} -> {daemon.rss() / MIB:.1f} MiB"
    )
    assert looks.most_live <= 1
    assert daemon.threads() == threads
    # What an ended track held outside Python's heap, its encoder above all, is let go at once.
    assert daemon.rss() - rss < 8 * MIB


@pytest_twisted.ensureDeferred
async def test_a_hundred_ids_at_once_end_once_each_and_leave_nothing_behind(start: Start) -> None:
    daemon = await start()
    names = [f"s{n}" for n in range(100)]
    client = await daemon.connect()
    await daemon.alone(tone(440, 0.1))
    control = await pipeline(daemon)
    fds, threads, rss = daemon.fds(), daemon.threads(), daemon.rss()
    answers = await control.post(
        *((f"/session/{name}/play", {"url": tone(300 + n, 30)}) for n, name in enumerate(names))
    )
    accepted = {name: answer["track_id"] for name, (_, answer) in zip(names, answers, strict=True)}
    await until(lambda: all("ready" in client.types(name) for name in names), "all are ready")
    playing = len(daemon.live_children()), daemon.zombies(), daemon.fds(), daemon.threads(), daemon.rss()
    await control.post(*((f"/session/{name}/stop", None) for name in names))
    await until(lambda: all(client.ends(name) for name in names), "all end")
    await settled(daemon, fds)
    await sleep(0.2)
    for name in names:
        assert client.types(name) == ["ready", "stopped"]
        assert {event.track_id for event in client.events(name)} == {accepted[name]}
    vitals = await daemon.get("/health")
    assert (vitals["children"], sum(vitals["sessions"].values())) == (0, 0)
    assert vitals["ends"] == {"stopped:stop": 100, "finished": 1}
    print(
        f"\n100 ids: children 0 -> {playing[0]} -> {len(daemon.children())}, zombies {daemon.zombies()}, "
        f"fds {fds} -> {playing[2]} -> {daemon.fds()}, threads {threads} -> {playing[3]} -> {daemon.threads()}, "
        f"RSS {rss / MIB:.1f} -> {playing[4] / MIB:.1f} -> {daemon.rss() / MIB:.1f} MiB"
    )
    assert playing[0] == 100
    assert daemon.threads() == threads


@pytest_twisted.ensureDeferred
async def test_of_fifty_seeks_in_a_burst_the_last_position_is_heard_as_if_played_from_there(start: Start) -> None:
    daemon = await start()
    source, last = "demo:nightdrive", 88.24
    reference = await daemon.alone(source, start_at=last)
    beginning = await daemon.alone(source, duration=2)
    client = await daemon.connect()
    control = await pipeline(daemon)
    looks = Looks(daemon)
    looking = Deferred.fromCoroutine(looks.look())
    await daemon.play("s", source)
    await client.holds("s", 50)
    seeks = [*(1 + n * 1.5 for n in range(49)), last]
    answers = await control.post(*(("/session/s/seek", {"position": position}) for position in seeks))
    assert [status for status, _ in answers] == [200] * 50
    await client.hears("s", "finished")
    looks.over = True
    await looking

    at = [n for n, message in enumerate(client.received) if isinstance(message, Seeked)]
    sought = [message.position for message in client.received if isinstance(message, Seeked)]
    old = [m.payload for m in client.received[: at[0]] if isinstance(m, Packet)]
    new = [m.payload for m in client.received[at[-1] :] if isinstance(m, Packet)]
    between = [m for m in client.received[at[0] : at[-1]] if isinstance(m, Packet)]
    vitals = await daemon.get("/health")
    print(
        f"\n50 seeks in a burst: {len(sought)} told, {len(between)} packets between, {len(new)} packets from {last} s "
        f"on, {vitals['spawns'] - 2} children started, at most {looks.most_live} live"
    )
    assert sought[-1] == last
    assert old == beginning[: len(old)]
    assert new == reference
    assert client.types("s")[-1] == "finished"
    assert looks.most_live <= 1


@pytest_twisted.ensureDeferred
async def test_any_interleaving_of_calls_on_one_id_does_what_they_say_in_their_order(start: Start) -> None:
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    daemon = await start()
    client = await daemon.connect()
    control = await pipeline(daemon)
    looks = Looks(daemon)
    looking = Deferred.fromCoroutine(looks.look())
    tracks: list[str] = []
    playing, paused, at = False, False, 0.0

    async def call(*ops: str) -> None:
        """Make the calls, in one burst, and hold what they and the status afterwards say against what must be."""
        nonlocal playing, paused, at
        requests: list[tuple[str, Any]] = []
        expected: list[int] = []
        for op in ops:
            body: Any = None
            expected.append(200 if playing or op in ("play", "stop") else 404)
            if op == "play":
                playing, paused, at, body = True, False, 0.0, {"url": tone(440, 60)}
            elif op == "stop":
                playing = paused = False
            elif op == "seek":
                at = dice.randrange(1000) * 0.02
                body = {"position": at}
            else:
                paused = op == "pause" and playing
            requests.append((f"/session/s/{op}", body))
        answers = await control.post(*requests)
        assert [status for status, _ in answers] == expected
        tracks.extend(answer["track_id"] for _, answer in answers if "track_id" in answer)
        status, now = await daemon.request("GET", "/session/s/status")
        assert status == (200 if playing else 404)
        assert now["status"] in (["paused"] if paused else ["extracting", "streaming"] if playing else ["not_found"])

    calls = 0
    while calls < 500:
        burst = dice.choices(["play", "stop", "seek", "pause", "resume"], [3, 1, 5, 3, 3], k=dice.choice([1, 2, 5, 30]))
        await call(*burst)
        calls += len(burst)
        await sleep(dice.choice([0, 0.01, 0.03, 0.1]))
    await call("play", *dice.choices(["seek", "pause", "resume"], k=9))
    await call("seek", "resume")
    last = at

    def latest() -> list[bytes]:
        """The packets behind the last change of position."""
        after = 0
        for n, message in enumerate(client.received):
            if isinstance(message, (Ready, Seeked)):
                after = (
                    n if message.track_id == tracks[-1] and message.position == round(last, 3) else len(client.received)
                )
        return [message.payload for message in client.received[after:] if isinstance(message, Packet)]

    await until(lambda: len(latest()) >= 50, "the last position is heard")
    heard = latest()
    await call("stop")
    await until(lambda: len(client.ends("s")) >= len(tracks), "every play ends")
    await until(lambda: not daemon.children(), "every child is reaped")
    looks.over = True
    await looking
    assert [end.track_id for end in client.ends("s")] == tracks
    assert heard == (await daemon.alone(tone(440, 60), start_at=last, duration=5))[: len(heard)]
    assert looks.most_live <= 1
    print(
        f"\n{calls} calls of all kinds on one id (seed {seed}): {len(tracks)} plays and ends, "
        f"{client.types('s').count('seeked')} seeks told, at most {looks.most_live} live child ({looks.count} looks)"
    )


@pytest_twisted.ensureDeferred
async def test_a_child_that_is_killed_is_replaced_and_nobody_hears_it(start: Start) -> None:
    daemon = await start()
    references = {hz: await daemon.alone(tone(hz, 8)) for hz in (300, 500, 700)}
    client = await daemon.connect(*(Subscribe(str(hz)) for hz in references))
    for hz in references:
        await daemon.play(str(hz), tone(hz, 8))
    await client.holds("500", 100)
    os.kill(daemon.child_playing(500), signal.SIGKILL)
    for hz, reference in references.items():
        await client.hears(str(hz), "finished")
        assert client.packets(str(hz)) == reference
        assert client.types(str(hz)) == (["ready", "recovered", "finished"] if hz == 500 else ["ready", "finished"])
    vitals = await daemon.get("/health")
    assert (vitals["sources"]["recoveries"], vitals["delivery"]["underruns"]) == (1, 0)
    own, gap = client.largest_gap("500"), max(client.largest_gap(str(hz)) for hz in (300, 700))
    await until(lambda: not daemon.children(), "every child is reaped")
    print(f"\na child killed: largest gap {own * 1000:.1f} ms, the others' {gap * 1000:.1f} ms, packets identical")
