"""The real daemon as a subprocess, and a client of it, for tests that look at what a user sees.

Everything is on loopback or in a temporary folder; the API listens on a port of the kernel's choosing.
"""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import treq
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import ProcessProtocol, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import HTTPConnectionPool

from audiosvc.audio import SAMPLE_RATE
from audiosvc.codec.opus import Decoder as OpusDecoder
from audiosvc.delivery.protocol import GRACE_SECONDS
from audiosvc.extract.extractors import WORKER
from audiosvc.wire.codec import Decoder, Received, encode_line
from audiosvc.wire.messages import CREDIT_MOST, TERMINAL, Credit, Line, Packet, SessionEvent, Subscribe

reactor: Any = _reactor
T = TypeVar("T")

PATIENCE = 30.0
"""Seconds after which something that should happen soon has not happened."""

WORKER_MARK = "/".join(WORKER.parts[-3:]).encode()
"""In the command line of what reads pages, be the daemon's package this one or one that is installed."""

PF_EXITING = 0x4
"""Linux's mark of a process on its way out, in the flags of /proc/PID/stat."""

PIECES = Path(__file__).parents[2] / "audiosvc" / "sources" / "pieces"


async def sleep(seconds: float) -> None:
    await deferLater(reactor, seconds)


async def until(condition: Callable[[], T], what: str, patience: float = PATIENCE) -> T:
    """Wait until `condition()` is true, looking every few milliseconds; returns what it gave."""
    end = time.monotonic() + patience
    while not (result := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {patience} s in vain: {what}")
        await sleep(0.01)
    return result


RUN = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=", "audiosvc")


def environment(**environ: str) -> dict[str, str]:
    """Of a daemon: none of this process's own settings for one, and `environ`."""
    return {k: v for k, v in os.environ.items() if not k.startswith("AUDIOSVC_")} | environ


def twistd(folder: Path, *options: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A run in `folder` that is expected to end by itself at once; waits for that."""
    argv, environ = [*RUN, *options], environment(**environ)
    return subprocess.run(argv, cwd=folder, env=environ, capture_output=True, text=True, timeout=PATIENCE)


class TwistdProcess(ProcessProtocol):
    def __init__(self) -> None:
        self.log = b""
        self.status: int | None = None
        self.signal: int | None = None
        self.ended = False

    def outReceived(self, data: bytes) -> None:
        self.log += data

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self.ended = True
        self.status = reason.value.exitCode  # type: ignore[attr-defined]
        self.signal = reason.value.signal  # type: ignore[attr-defined]


class Daemon:
    """`twistd -n audiosvc` with its socket in `folder`. Use `start`, and `stop` in the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "audio.sock"
        self.port = 0
        self.headers: dict[str, str] = {}
        """Sent with every request."""
        self.process = TwistdProcess()
        self.clients: list[Client] = []
        self._pool = HTTPConnectionPool(reactor, persistent=True)

    @property
    def pid(self) -> int:
        return self.process.transport.pid  # type: ignore[union-attr, no-any-return]

    @property
    def log(self) -> str:
        return self.process.log.decode()

    def spawn(self, *options: str, **environ: str) -> None:
        """Start the process; does not wait until it listens.

        It keeps no tracks and refuses no plays unless `options` say so: how busy the machine is decides nothing.
        """
        argv = [*RUN, "--api", "tcp:0:interface=127.0.0.1", "--socket", str(self.socket), "--cache-size=0"]
        argv += ["--overload=off", *options]
        self.process = TwistdProcess()
        reactor.spawnProcess(self.process, argv[0], argv, environment(**environ), str(self.folder))

    async def start(self, *options: str, **environ: str) -> Daemon:
        self.spawn(*options, **environ)
        return await self.listens()

    async def listens(self) -> Daemon:
        """Wait until it does, once it is spawned."""
        # Its socket is the last that it listens on.
        pattern = re.compile(r"listening on IPv[46]Address\(.*?port=(\d+).*listening on UNIXAddress", re.DOTALL)
        await until(lambda: pattern.search(self.log) or self.process.ended, "the daemon listens")
        found = pattern.search(self.log)
        assert found, self.log
        self.port = int(found[1])
        return self

    async def stop(self) -> None:
        """Ask it to end, as systemd would, and wait until it has; its clients are closed."""
        for client in self.clients:
            client.close()
        if self.process.transport is not None and not self.process.ended:
            self.process.transport.signalProcess("TERM")
            await until(lambda: self.process.ended, "the daemon ends")
        await self._pool.closeCachedConnections()
        assert "Traceback" not in self.log, self.log
        assert "Unhandled" not in self.log, self.log

    # --- HTTP ----------------------------------------------------------------------------------------------------

    async def request(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        """Status and decoded JSON of one request."""
        if body is not None:
            options["json"] = body
        options.setdefault("headers", self.headers)
        url = f"http://127.0.0.1:{self.port}{path}"
        response = await treq.request(method, url, pool=self._pool, timeout=PATIENCE, **options)
        return response.code, await response.json()

    async def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        return await self.request("POST", path, body)

    async def get(self, path: str) -> Any:
        status, answer = await self.request("GET", path)
        assert status == 200, answer
        return answer

    async def complaints(self) -> list[str]:
        """Codes of what /health names, but for a beat that stood still: a busy machine may let nobody run so long."""
        codes = [reason["code"] for reason in (await self.get("/health"))["reasons"]]
        return [code for code in codes if code != "pacer_stalled"]

    async def play(self, session_id: str, url: str, **body: Any) -> str:
        """Play, and be sure it was accepted; returns the track id."""
        status, answer = await self.post(f"/session/{session_id}/play", {"url": url, **body})
        assert status == 200, answer
        return str(answer["track_id"])

    # --- the socket ------------------------------------------------------------------------------------------------

    async def connect(self, *lines: Line, client: Client | None = None) -> Client:
        """A client that sends `lines` in one piece and records all it hears; returns once it is served.

        How many are served is no sign of that: others come and go.
        """
        client = client or Client()
        await connectProtocol(UNIXClientEndpoint(reactor, str(self.socket)), client)
        self.clients.append(client)
        if lines:
            client.send(*lines)
        await until(lambda: client.received, "the daemon's hello")
        if not lines:
            await sleep(2 * GRACE_SECONDS)
        # By the time this is answered the lines have been read: they were sent before.
        await self.get("/health")
        return client

    async def disconnect(self, client: Client) -> None:
        """Close the client's end, and wait until the daemon has noticed."""
        served = await self.connections()
        client.close()
        while await self.connections() >= served:
            await sleep(0.01)

    async def connections(self) -> int:
        """Clients that are served now."""
        return int((await self.get("/health"))["delivery"]["connections"])

    async def alone(self, url: str, **body: Any) -> list[bytes]:
        """The packets of one undisturbed play, drawn with credit and so faster than real time."""
        return (await self.draw("alone", url, **body)).packets("alone")

    async def draw(self, session_id: str, url: str, **body: Any) -> Client:
        """All that one play gives, drawn with credit."""
        client = await self.connect(Subscribe(session_id), Credit(session_id, CREDIT_MOST))
        await self.play(session_id, url, **body)
        while not client.ends(session_id):
            held = len(client.received)
            await until(lambda held=held: len(client.received) > held, "more packets")  # type: ignore[misc]
            new = sum(isinstance(m, Packet) and m.session_id == session_id for m in client.received[held:])
            client.send(Credit(session_id, new))
        await self.disconnect(client)
        return client

    # --- what can be seen from outside -------------------------------------------------------------------------------

    def children(self) -> list[int]:
        """Processes whose parent is the daemon, zombies included, but not those that read pages, which stay."""
        found = (path for path in Path("/proc").glob("[0-9]*") if _parent(path) == self.pid)
        return [int(path.name) for path in found if not _is_worker(path)]

    def workers(self) -> int:
        """How many processes read pages."""
        return len(self.worker_pids())

    def worker_pids(self) -> list[int]:
        found = (path for path in Path("/proc").glob("[0-9]*") if _parent(path) == self.pid)
        return [int(path.name) for path in found if _is_worker(path)]

    def zombies(self) -> int:
        return sum("State:\tZ" in Path(f"/proc/{pid}/status").read_text() for pid in self.children())

    def live_children(self) -> list[int]:
        """Children that are neither dead nor about to die of a KILL that was sent."""
        return [pid for pid in self.children() if _lives(pid)]

    def child_playing(self, hz: int) -> int:
        """The FFmpeg that makes the tone of `hz`."""
        mark = f"*sin({2 * math.pi * hz / SAMPLE_RATE!r}*".encode()
        (pid,) = [pid for pid in self.live_children() if mark in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return pid

    def children_with(self, mark: str) -> list[int]:
        """The live FFmpegs that have `mark` in their command line."""
        found = []
        for pid in self.live_children():
            with suppress(OSError):
                if mark.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    def fds(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def rss(self) -> int:
        """Resident bytes of the daemon itself."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]

    def peak_rss(self) -> int:
        """The most bytes that were resident since `forget_peak`."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


class Client(Protocol):
    """Records every message with the (monotonic) second it came at."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.times: list[float] = []
        self.lost = False
        self.lost_event: Deferred[None] = Deferred()
        self._decoder = Decoder()

    def dataReceived(self, data: bytes) -> None:
        now = time.monotonic()
        for message in self._decoder.feed(data):
            self.received.append(message)
            self.times.append(now)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True
        self.lost_event.callback(None)

    def send(self, *lines: Line) -> None:
        self.transport.write(b"".join(encode_line(line) for line in lines))  # type: ignore[union-attr]

    def send_raw(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[union-attr]

    def stop_reading(self) -> None:
        self.transport.pauseProducing()  # type: ignore[union-attr]

    def read_again(self) -> None:
        self.transport.resumeProducing()  # type: ignore[union-attr]

    def close(self) -> None:
        if not self.lost:
            self.transport.abortConnection()  # type: ignore[union-attr]

    def packets(self, session_id: str) -> list[bytes]:
        return [m.payload for m in self.received if isinstance(m, Packet) and m.session_id == session_id]

    def packet_times(self, session_id: str) -> list[float]:
        pairs = zip(self.received, self.times, strict=True)
        return [t for m, t in pairs if isinstance(m, Packet) and m.session_id == session_id]

    def largest_gap(self, session_id: str) -> float:
        """Seconds between two packets of the session that followed each other."""
        times = self.packet_times(session_id)
        return max((b - a for a, b in pairwise(times)), default=0.0)

    def events(self, session_id: str) -> list[SessionEvent]:
        return [m for m in self.received if isinstance(m, SessionEvent) and m.session_id == session_id]

    def types(self, session_id: str) -> list[str]:
        return [type(event).__name__.lower() for event in self.events(session_id)]

    def ends(self, session_id: str) -> list[SessionEvent]:
        return [event for event in self.events(session_id) if isinstance(event, TERMINAL)]

    async def hears(self, session_id: str, type_: str, times: int = 1, patience: float = PATIENCE) -> SessionEvent:
        """Wait for the event's `times`th coming."""
        await until(lambda: self.types(session_id).count(type_) >= times, f"{type_} of {session_id}", patience)
        return [e for e in self.events(session_id) if type(e).__name__.lower() == type_][times - 1]

    async def holds(self, session_id: str, packets: int, patience: float = PATIENCE) -> None:
        """Wait until this many packets have come."""
        await until(lambda: len(self.packets(session_id)) >= packets, f"{packets} packets of {session_id}", patience)


def tone(hz: float, seconds: float) -> str:
    return f"demo:tone?hz={hz}&seconds={seconds}"


def cpu_seconds(pid: int) -> float:
    """Time that the process has run, to the hundredth."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _is_worker(process: Path) -> bool:
    try:
        return WORKER_MARK in (process / "cmdline").read_bytes()
    except OSError:
        return False


def _lives(pid: int) -> bool:
    try:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        flags = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6])
    except OSError:
        return False
    killed = 1 << (signal.SIGKILL - 1)
    pending = int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)
    return status["State"][0] not in "ZX" and not pending & killed and not flags & PF_EXITING


def decode(packets: list[bytes]) -> bytes:
    """s16le 48 kHz stereo of a run of Opus packets."""
    decoder = OpusDecoder()
    return b"".join(decoder.decode(packet) for packet in packets)
