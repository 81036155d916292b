"""The daemon as systemd runs it: sockets that outlive it, and what it tells of itself."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.task import LoopingCall
from twisted.internet.utils import getProcessValue

from audiosvc.wire.messages import Subscribe
from tests.integration.conftest import Start
from tests.integration.harness import RUN, Client, Daemon, TwistdProcess, environment, reactor, tone, until
from tests.site.server import REACHES, Site

UNIT = Path(__file__).parents[2] / "deploy" / "audiosvc.service"
NOBODY = 65534
CONFINED = Path(__file__).parents[1] / "fixtures" / "confined.py"

MANAGED = """
import os, signal, socket, sys, time
os.environ["LISTEN_PID"] = os.environ["WATCHDOG_PID"] = str(os.getpid())
notify = os.environ.get("NOTIFY_SOCKET", "")

def stuck(number, frame):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        for said in ("stuck", "going on"):
            manager.sendto(said.encode(), notify.replace("@", chr(0), 1))
            time.sleep(2.5 * (said == "stuck"))

signal.signal(signal.SIGUSR1, stuck)
from twisted.scripts.twistd import run
run()
"""
"""What systemd does between fork and exec; and SIGUSR1 keeps the reactor from turning, from one word to another."""


class ManagedDaemon(Daemon):
    """Gets its sockets from the test, as from systemd."""

    def __init__(self, folder: Path, packets: socket.socket, api: socket.socket) -> None:
        super().__init__(folder)
        self.socket = Path(packets.getsockname())
        self.handed = {"packets": packets, "api": api}

    def spawn(self, *options: str, **environ: str) -> None:
        argv = [sys.executable, "-c", MANAGED, *RUN[3:], "--cache-size=0", "--overload=off", *options]
        environ |= {"LISTEN_FDS": str(len(self.handed)), "LISTEN_FDNAMES": ":".join(self.handed)}
        fds = {0: "w", 1: "r", 2: "r"} | {n: made.fileno() for n, made in enumerate(self.handed.values(), 3)}
        self.process = TwistdProcess()
        reactor.spawnProcess(self.process, argv[0], argv, environment(**environ), str(self.folder), childFDs=fds)


Managed = Callable[..., Awaitable[ManagedDaemon]]


@pytest.fixture
def packets(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "packets"))
        (tmp_path / "packets").chmod(0o640)
        made.listen(socket.SOMAXCONN)
        yield made


@pytest.fixture
def api() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=socket.SOMAXCONN) as made:
        yield made


@pytest_twisted.async_yield_fixture
async def managed(tmp_path: Path, packets: socket.socket, api: socket.socket) -> AsyncIterator[Managed]:
    daemons: list[ManagedDaemon] = []

    async def start(*options: str, **environ: str) -> ManagedDaemon:
        daemons.append(ManagedDaemon(tmp_path, packets, api))
        await daemons[-1].start(*options, **environ)
        return daemons[-1]

    yield start
    for daemon in daemons:
        await daemon.stop()


REQUEST = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def knock(*sockets: socket.socket) -> list[socket.socket]:
    """A connection to each, made at once or refused at once: on loopback nobody has to accept it for that."""
    made = []
    for one in sockets:
        client = socket.socket(one.family)
        made.append(client)
        client.connect(one.getsockname())
        if one.family == socket.AF_INET:
            client.sendall(REQUEST)
    return made


def answered(client: socket.socket) -> bytes:
    """The first it heard; nothing yet, or the end, is nothing."""
    try:
        return client.recv(64, socket.MSG_DONTWAIT | socket.MSG_PEEK)
    except OSError:
        return b""


@pytest_twisted.ensureDeferred
async def test_who_connects_between_two_daemons_is_served_by_the_second(
    managed: Managed, packets: socket.socket, api: socket.socket
) -> None:
    first = await managed()
    client = await first.connect(Subscribe("a"))
    await first.play("a", tone(440, 60))
    await client.holds("a", 5)
    tried: list[bool] = []

    def try_both() -> None:
        try:
            for each in knock(packets, api):
                each.close()
            tried.append(True)
        except OSError:
            tried.append(False)

    throughout = LoopingCall(try_both)
    throughout.start(0.05)
    await until(lambda: len(tried) > 10, "the first daemon is called")
    await first.stop()
    assert first.process.status == 0
    place = Path(packets.getsockname()).lstat()
    assert stat.S_ISSOCK(place.st_mode)
    assert stat.S_IMODE(place.st_mode) == 0o640
    assert not Path(f"{packets.getsockname()}.lock").exists(), "the place is systemd's to keep"

    so_far = len(tried)
    await until(lambda: len(tried) > so_far + 10, "nobody is called")
    between = [client for _ in range(10) for client in knock(packets, api)]
    assert not any(answered(each) for each in between)
    second = await managed()
    await until(lambda: all(answered(each) for each in between), "all who waited are served")
    assert all(answered(each).startswith(b"HTTP/1.1 200") for each in between[1::2])
    throughout.stop()
    for each in between:
        each.close()
    print(f"\n{2 * len(tried)} connections over a restart, {tried.count(False)} refused; {len(between)} waited for it")
    assert all(tried)
    assert len((await second.draw("a", tone(440, 1))).packets("a")) == 50


@pytest_twisted.ensureDeferred
async def test_systemd_hears_of_it_and_its_children_do_not_hear_of_systemd(managed: Managed) -> None:
    said: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        name = f"audiosvc-test-{os.getpid()}"
        manager.bind("\0" + name)
        manager.setblocking(False)

        def hears(wanted: str) -> Callable[[], bool]:
            def look() -> bool:
                try:
                    while True:
                        said.extend(manager.recv(4096).decode().splitlines())
                except BlockingIOError:
                    return wanted in said

            return look

        daemon = await managed(NOTIFY_SOCKET="@" + name, WATCHDOG_USEC="2000000")
        await until(hears("READY=1"), "it is ready")
        assert await daemon.complaints() == []
        client = await daemon.connect(Subscribe("a"))
        await daemon.play("a", tone(440, 600))
        await client.holds("a", 5)
        await until(hears("STATUS=1 playing, 0 paused, 0 to come"), "what it does")

        await until(lambda: daemon.live_children(), "its child")
        (child,) = daemon.live_children()
        variables = Path(f"/proc/{child}/environ").read_bytes()
        assert not any(variable in variables for variable in (b"NOTIFY", b"WATCHDOG", b"LISTEN"))
        ours = {f"socket:[{os.fstat(made.fileno()).st_ino}]" for made in daemon.handed.values()}
        assert not ours & {str(link.readlink()) for link in Path(f"/proc/{child}/fd").iterdir()}

        # It would have been fed twice in that time if anything but the reactor fed it.
        daemon.signal(signal.SIGUSR1)
        await until(hears("going on"), "the reactor turns again")
        assert said[said.index("stuck") : said.index("going on")] == ["stuck"]
        fed = said.count("WATCHDOG=1")
        await until(lambda: hears("")() or said.count("WATCHDOG=1") > fed, "the watchdog is fed again")
        await daemon.stop()
        hears("")()
        assert said[-2:] == ["STOPPING=1", "STATUS=stopping"]
        assert said.count("READY=1") == 1


@pytest_twisted.ensureDeferred
async def test_a_client_hears_its_song_over_a_socket_of_systemds(managed: Managed) -> None:
    daemon = await managed("--isolation=off")
    client: Client = await daemon.draw("a", tone(440, 2))
    assert len(client.packets("a")) == 100
    assert client.types("a")[-1] == "finished"


class ConfinedDaemon(Daemon):
    """Runs under the unit's system call filter, limits and mask, as another user than root where that can be."""

    def __init__(self, folder: Path, user: list[str]) -> None:
        super().__init__(folder)
        self.user = user

    def spawn(self, *options: str, **environ: str) -> None:
        argv = [*self.user, sys.executable, str(CONFINED), str(UNIT), *RUN, "--api=tcp:0:interface=127.0.0.1"]
        argv += ["--overload=off", "--cache-size=0", "--socket", str(self.socket), *options]
        self.process = TwistdProcess()
        reactor.spawnProcess(self.process, argv[0], argv, environment(**environ), str(self.folder))


def can_confine() -> bool:
    try:
        ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return False
    return all(shutil.which(tool) for tool in ("systemd-analyze", "setpriv", "unshare"))


def without_privileges() -> list[str]:
    """What goes before a command line for that: of root's nothing is kept, nor its name where nobody can do without."""
    if os.geteuid() != 0:
        return []
    plain = [str(shutil.which("setpriv")), "--bounding-set=-all", "--inh-caps=-all"]
    nobody = [*plain, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    # The shell: setpriv itself may still be allowed to execute what its user is not.
    look = "import audiosvc.tap; audiosvc.tap.Options({}).parseOptions([])"
    starts = [*nobody, "sh", "-c", 'exec "$@"', "sh", sys.executable, "-c", look]
    return nobody if subprocess.run(starts, cwd="/", capture_output=True).returncode == 0 else plain


def may_isolate(user: list[str]) -> bool:
    """Whether that user may make the namespaces that a jail is made of."""
    argv = [*user, "unshare", "--user", "--map-root-user", "--net", "true"]
    return subprocess.run(argv, capture_output=True).returncode == 0


@pytest.mark.skipif(not can_confine(), reason="needs libseccomp and systemd-analyze")
@pytest_twisted.ensureDeferred
async def test_all_that_plays_plays_with_what_the_unit_allows(site: Site) -> None:
    user = without_privileges()
    isolated = may_isolate(user)
    folder = tempfile.TemporaryDirectory()
    daemon = ConfinedDaemon(Path(folder.name), user)
    if len(user) > 3:
        os.chown(folder.name, NOBODY, NOBODY)
    try:
        await daemon.start(*REACHES, "--isolation", "require" if isolated else "auto")
        status = Path(f"/proc/{daemon.pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
        assert "CapEff:\t0000000000000000" in status
        isolation = (await daemon.get("/health"))["isolation"]
        assert (isolation["active"], isolation["hardened"]) == (isolated, True)
        for number, url in enumerate(
            (
                tone(440, 2),
                *(site.url(f"media/{name}") for name in ("mp3.mp3", "hls/index.m3u8")),
                site.url("page/audio"),
            )
        ):
            client = await daemon.draw(f"s{number}", url)
            assert client.types(f"s{number}")[-1] == "finished", (url, client.ends(f"s{number}"))
        health = await daemon.get("/health")
        assert (health["extractors"]["restarts"], health["sources"]["recoveries"]) == (0, 0)
        print(f"\nunder the unit's filter, {' '.join(user[1:])}, isolated: {isolated}: {health['ends']}")
        missed = [line for line in daemon.log.splitlines() if "not permitted" in line]
        assert isolated or len(missed) == 1, missed
        assert not isolated or not missed, missed
    finally:
        await daemon.stop()
        folder.cleanup()


@pytest.mark.skipif(not can_confine(), reason="needs libseccomp and systemd-analyze")
def test_what_the_unit_forbids_is_forbidden() -> None:
    tried = """
import ctypes, os, socket
def refused(what, *arguments):
    try:
        what(*arguments)
    except OSError as error:
        return error.errno
libc = ctypes.CDLL(None, use_errno=True)
print(
    refused(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW),
    refused(os.chown, ".", 0, 0),
    refused(os.chmod, ".", 0o4700),
    [libc.unshare(kind) for kind in (0x20000, 0x4000000, 0x8000000, 0x20000000)], os.umask(0),
)
"""
    done = subprocess.run([sys.executable, str(CONFINED), str(UNIT), sys.executable, "-c", tried], capture_output=True)
    assert done.stdout.decode().strip() == f"{errno.EAFNOSUPPORT} 1 1 [-1, -1, -1, -1] {0o077}", done


@pytest_twisted.ensureDeferred
async def test_the_containers_health_check_tells_an_answer_from_none(start: Start, tmp_path: Path) -> None:
    step = re.search(
        r"^HEALTHCHECK.*?CMD (\[.*?\])$", (UNIT.parent / "Dockerfile").read_text(), re.DOTALL | re.MULTILINE
    )
    assert step is not None
    (tmp_path / "token").write_text("t" * 32)

    async def healthy(port: int) -> bool:
        _, *words = json.loads(step[1].replace("8180", str(port)))
        return await getProcessValue(sys.executable, words) == 0

    assert await healthy((await start()).port)
    daemon = await start(f"--token-file={tmp_path / 'token'}")
    assert await healthy(daemon.port)
    await daemon.stop()
    assert not await healthy(daemon.port)
