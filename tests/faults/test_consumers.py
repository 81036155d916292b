"""Rows 11 to 14: clients of the socket that stand still, die, compete or send junk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import pytest_twisted

from audiosvc.delivery.protocol import REFUSED_MOST
from audiosvc.wire.codec import LINE_MOST, Decoder, Received, encode_line
from audiosvc.wire.messages import (
    Attached,
    Credit,
    Detached,
    Finished,
    Greeting,
    Held,
    Line,
    Packet,
    Refused,
    SessionEvent,
    Subscribe,
    Unsubscribe,
)
from tests.faults.harness import MIB, Round, assert_same, ends_of
from tests.integration.conftest import Start
from tests.integration.harness import Client, Daemon, sleep, tone, until

RECORDER = """
import os, socket, sys
path, lines, out = sys.argv[1:]
connection = socket.socket(socket.AF_UNIX)
connection.connect(path)
connection.sendall(lines.encode())
file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
while data := connection.recv(65536):
    os.write(file, data)
"""


class Recorder:
    """A client in a process of its own: each piece that it gets is in its file before it takes the next."""

    def __init__(self, daemon: Daemon, name: str, *lines: Line) -> None:
        self._file = daemon.folder / name
        said = b"".join(encode_line(line) for line in lines).decode()
        argv = [sys.executable, "-I", "-S", "-c", RECORDER, str(daemon.socket), said, str(self._file)]
        self.process = subprocess.Popen(argv)
        daemon.clients.append(self)  # type: ignore[arg-type]

    @property
    def received(self) -> list[Received]:
        """What it holds: the messages that are whole in its file."""
        return Decoder().feed(self._file.read_bytes()) if self._file.exists() else []

    def packets(self, session_id: str) -> list[bytes]:
        return [m.payload for m in self.received if isinstance(m, Packet) and m.session_id == session_id]

    def events(self, session_id: str) -> list[SessionEvent]:
        return [m for m in self.received if isinstance(m, SessionEvent) and m.session_id == session_id]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def types(events: list[SessionEvent]) -> list[str]:
    return [type(event).__name__.lower() for event in events]


@pytest.mark.parametrize("seconds", [5, pytest.param(30, marks=pytest.mark.slow)])
@pytest_twisted.ensureDeferred
async def test_row_11_who_stops_reading_holds_up_his_own_and_loses_nothing(start: Start, seconds: int) -> None:
    daemon = await start()
    # As PCM, of which a socket takes a tenth of a second.
    urls = {f"still-{n}": tone(1000 + n, seconds + 4) for n in range(5)}
    async with Round(daemon) as round:
        still = Recorder(daemon, "still", *map(Subscribe, urls))
        for session_id, url in urls.items():
            await daemon.play(session_id, url, format="pcm")
        await until(lambda: len(still.packets("still-4")) >= 50, "it records")
        before = peak = daemon.rss()
        still.process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        while time.monotonic() < stopped + seconds:
            await sleep(0.25)
            peak = max(peak, daemon.rss())
        status = await daemon.get("/session/still-0/status")
        assert status["held"]
        still.process.send_signal(signal.SIGCONT)
        await until(lambda: all(ends_of([still], t) for t in {e.track_id for s in urls for e in still.events(s)}),  # type: ignore[list-item]
                    "all end", seconds + 30)  # fmt: skip
        still.close()
        for session_id, url in urls.items():
            assert types(still.events(session_id)) == ["ready", "finished"]
            packets = await daemon.alone(url, format="pcm")
            assert_same(still.packets(session_id), packets, session_id)
        assert peak - before < 16 * MIB
        round.report(
            11,
            f"a client of 5 PCM sessions stopped for {seconds} s",
            f"daemon {(peak - before) / MIB:+.1f} MiB at most, the sessions held, then {len(urls) * len(packets)} "
            "packets, none lost",
            "+16 MiB; others go on; nothing dropped",
        )


@pytest_twisted.ensureDeferred
async def test_row_12_who_is_killed_and_comes_back_holds_every_packet_once(start: Start) -> None:
    # Longer than a busy machine makes of the time that they are away.
    daemon = await start("--consumer-timeout=20")
    formats = ("opus", "ogg", "pcm")
    # An Ogg stream carries its track's serial number and packets of its own in front.
    source, wanted = tone(440, 8), {"opus": 400, "ogg": 402, "pcm": 400}
    async with Round(daemon) as round:
        references = {f: await daemon.alone(source, format=f) for f in formats}
        first = {f: Recorder(daemon, f"{f}-1", Greeting("recorder/1"), Subscribe(f)) for f in formats}
        for each in first.values():
            await until(lambda each=each: each.received, "it is served")  # type: ignore[misc]
        tracks = {f: await daemon.play(f, source, format=f) for f in formats}
        for f in formats:
            await until(lambda f=f: len(first[f].packets(f)) >= 50, "the first record")  # type: ignore[misc]
        # They stand still for a while before they die: what the daemon has sent is then more than what they hold.
        for each in first.values():
            each.process.send_signal(signal.SIGSTOP)
        await sleep(0.3)
        for each in first.values():
            each.close()
        await sleep(0.5)
        for f in formats:
            await daemon.post(f"/session/{f}/pause")
            await daemon.post(f"/session/{f}/resume")
        await sleep(2.5)
        sent = {f: (await daemon.get(f"/session/{f}/status"))["packets_sent"] for f in formats}
        held = {f: first[f].packets(f) for f in formats}
        # These are in this process, and so can be timed.
        back = {}
        for f in formats:
            greeting = Greeting("recorder/1", {f: Held(len(held[f]), tracks[f])})
            back[f] = await daemon.connect(greeting, Subscribe(f), client=Timed(f))
        for f in formats:
            await until(lambda f=f: back[f].ends(f), "the track ends")  # type: ignore[misc]
        for f in formats:
            whole = held[f] + back[f].packets(f)
            assert len(whole) == wanted[f]
            assert len(set(whole)) == wanted[f] if f == "ogg" else whole == references[f]
            assert types(first[f].events(f)) == ["ready"]
            assert back[f].types(f) == ["attached", "paused", "resumed", "finished"]
            (attached,) = [event for event in back[f].events(f) if isinstance(event, Attached)]
            assert (attached.packets, attached.track_id) == (len(held[f]), tracks[f])
        resent = (await daemon.get("/health"))["delivery"]["resent"]
        lost = sum(sent[f] - len(held[f]) for f in formats)
        assert resent >= lost > 0
        late = max(client.after for client in back.values())
        round.report(
            12,
            "kill -9 of the clients of an Opus, an Ogg and a PCM session, back after 3 s",
            f"{lost} packets lost with their sockets, {resent} sent again, {sum(wanted.values())} held in the end; "
            f"`attached` first, {late * 1000:.0f} ms after the connect",
            "state first, within 200 ms; nothing twice",
        )


class Timed(Client):
    """Notes how long after its connect it is told of the session."""

    after = 0.0

    def __init__(self, session_id: str) -> None:
        super().__init__()
        self._session_id = session_id

    def connectionMade(self) -> None:
        self._began = time.monotonic()

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        if not self.after and self.events(self._session_id):
            self.after = time.monotonic() - self._began


@pytest_twisted.ensureDeferred
async def test_row_13_of_two_clients_one_hears_a_track_at_a_time_and_together_they_hold_it_whole(start: Start) -> None:
    daemon = await start()
    url = tone(440, 6)
    async with Round(daemon) as round:
        reference = await daemon.alone(url)
        chain: list[Client] = [await daemon.connect()]
        await daemon.play("s", url)
        await chain[-1].holds("s", 40)
        # The newest that hears all.
        chain.append(await daemon.connect())
        await chain[-1].holds("s", 40)
        # Whoever subscribes goes before, and a newer one that hears all does not change that.
        chain.append(await daemon.connect(Subscribe("s")))
        newest = await daemon.connect()
        await chain[-1].holds("s", 40)
        assert newest.received == newest.received[:1]
        # The later subscription before the earlier, on whatever connection.
        chain[0].send(Subscribe("s"))
        await until(lambda: len(chain[0].packets("s")) >= 80, "the first client hears it once more")
        chain[0].send(Unsubscribe("s"))
        await chain[2].holds("s", 80)
        # With the last subscriber gone, it falls to the newest that hears all.
        chain[2].close()
        await newest.hears("s", "finished")

        clients = [*chain, newest]
        heard = sorted(
            (when, n, message.payload)
            for client in clients
            for n, (message, when) in enumerate(zip(client.received, client.times, strict=True))
            if isinstance(message, Packet) and message.session_id == "s"
        )
        assert_same([payload for _, _, payload in heard], reference, "all together")
        assert chain[0].types("s") == ["ready", "detached", "attached", "detached"]
        assert chain[1].types("s") == ["attached", "detached"]
        assert chain[2].types("s") == ["attached", "detached", "attached"]
        assert newest.types("s") == ["attached", "finished"]
        for client in clients:
            # Each is told before where in the track it comes in, and hears nothing after it was told that it is out.
            place = 0 if client is chain[0] else None
            for message in client.received:
                if isinstance(message, Attached):
                    place = message.packets
                elif isinstance(message, Detached):
                    place = None
                elif isinstance(message, Packet) and message.session_id == "s":
                    assert place is not None
                    assert message.payload == reference[place]
                    place += 1
        shares = [len(client.packets("s")) for client in clients]
        round.report(
            13,
            "four clients that want one session, by turns",
            f"{len(heard)} packets in 6 spells {shares}, none twice, none missing; each told when in and when out",
            "one at a time, told why",
        )


@pytest_twisted.ensureDeferred
async def test_row_14_junk_ends_the_connection_it_comes_on_and_nothing_else(start: Start) -> None:
    daemon = await start()
    credit = encode_line(Credit("s", 1))
    junk = {
        "random bytes": os.urandom(2 * MIB),
        "a length of 0xFFFFFFFF": b"\xff" * 4 + b"s" * 36 + bytes(LINE_MOST),
        "a packet": b"\0\0\0\x28s" + b" " * 35 + b"opus" + bytes(LINE_MOST),
        "a line without end": b"{" + b" " * (2 * LINE_MOST),
        "lines of no sense": b'{"type":"nonsense"}\n' * (REFUSED_MOST + 50),
        "lines too deep": b"[" * 60_000 + b"\n" + b"[]\n" * REFUSED_MOST,
    }
    async with Round(daemon) as round:
        before, told = daemon.rss(), []
        daemon.forget_peak()
        for what, data in junk.items():
            client = await daemon.connect()
            warned = daemon.log.count("refused a client")
            began = time.monotonic()
            client.send_raw(data)
            await until(lambda client=client: client.lost, f"{what}: the connection is closed")  # type: ignore[misc]
            told.append(f"{what} {(time.monotonic() - began) * 1000:.0f} ms")
            answers = [message for message in client.received if isinstance(message, Refused)]
            assert 1 <= len(answers) <= REFUSED_MOST, what
            await until(lambda warned=warned: daemon.log.count("refused a client") > warned, "the log")  # type: ignore[misc]
            assert daemon.log.count("refused a client") == warned + 1, what
        grown = daemon.peak_rss() - before

        # Half a line, and gone: nothing of it is obeyed.
        half = await daemon.connect()
        half.send_raw(encode_line(Subscribe("s"))[:-1])
        await daemon.disconnect(half)
        # Bytes one by one make up lines like any other.
        slow = await daemon.connect(Subscribe("s"), Credit("s", 0))
        await daemon.play("s", tone(440, 0.4))
        for byte in credit * 20:
            slow.send_raw(bytes([byte]))
            await sleep(0)
        assert isinstance(await slow.hears("s", "finished"), Finished)
        assert len(slow.packets("s")) == 20
        assert not [message for message in slow.received if isinstance(message, Refused)]
        round.report(
            14,
            f"{', '.join(junk)}; half a line and gone; {len(credit) * 20} bytes one by one",
            f"closed after {', '.join(told)}, told once each; peak {grown / MIB:+.2f} MiB; the bytes were obeyed",
            "closed within 1 s, a word in the log each, +1 MiB",
        )
        assert grown < 4 * MIB
