"""Rows 1, 2, 3 and 22: children that are killed, that hang, that are slow to die, and that the kernel wants the memory
of."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest
import pytest_twisted

from audiosvc.audio import SAMPLE_RATE
from audiosvc.wire.messages import Credit, Subscribe
from tests.faults.cases import HEARD, Case, Row, case, play_out, warm, whole
from tests.faults.harness import MIB, Round
from tests.integration.conftest import Start
from tests.integration.harness import Daemon, cpu_seconds, sleep, tone, until
from tests.integration.hearing import Hearing, together
from tests.site import media
from tests.site.server import REACHES, Site

SUFFIXES = ("flac", "mp3", "webm", "opus", "m4a")


async def signalled(daemon: Daemon, mark: str, number: signal.Signals) -> None:
    """Send it to the one child that plays what has `mark` in its URL."""
    (pid,) = await until(lambda: daemon.children_with(mark), f"a child that plays {mark}")
    os.kill(pid, number)


@pytest_twisted.ensureDeferred
async def test_rows_1_and_2_a_child_that_dies_or_hangs_is_replaced_where_it_was(start: Start, site: Site) -> None:
    daemon = await start(*REACHES, "--consumer-timeout=1", "--media-root", str(media.folder()), **site.trust)
    for suffix in SUFFIXES:
        media.content(f"long.{suffix}")
    media.content("long-chained.opus")
    lossless = media.content(f"signal-{media.LONG}.wav")[44:][: HEARD * SAMPLE_RATE * 4]

    async def killed(suffix: str, number: int) -> Case:
        """Twice each; in all 20 kills. Lossless media must not be one sample off."""
        url = site.url(f"media/long.{suffix}", k=f"{suffix}{number}x")
        hearing = await Hearing(daemon, f"killed-{suffix}-{number}", paced=True).play(url, duration=HEARD)
        for at in (3, 6):
            await hearing.draw(at * 50 - len(hearing.packets))
            await signalled(daemon, f"k={suffix}{number}x", signal.SIGKILL)
        await hearing.end()
        return case(
            f"killed {suffix} {number}",
            hearing,
            whole(hearing),
            (hearing.types == ["ready", "recovered", "recovered", "finished"], f"events {hearing.types}"),
            (suffix != "flac" or hearing.pcm == lossless, "not the same samples"),
        )

    async def killed_file() -> Case:
        hearing = await Hearing(daemon, "killed-file", paced=True).play("long.flac", duration=HEARD)
        await hearing.draw(200)
        await signalled(daemon, "file:", signal.SIGKILL)
        await hearing.end()
        return case("killed, a file", hearing, whole(hearing), (hearing.pcm == lossless, "not the same samples"))

    async def killed_in_a_chain() -> Case:
        """Across the end of the first of its streams."""
        at = media.LONG / 2 - 4
        url = site.url("media/long-chained.opus", k="chain")
        hearing = await Hearing(daemon, "killed-chain", paced=True).play(url, start_at=at, duration=HEARD)
        for seconds in (3, 6):
            await hearing.draw(seconds * 50 - len(hearing.packets))
            await signalled(daemon, "k=chain", signal.SIGKILL)
        await hearing.end()
        right = hearing.types == ["ready", "recovered", "recovered", "finished"]
        return case("killed, chained", hearing, whole(hearing), (right, f"events {hearing.types}"), starts_at=at)

    async def killed_always() -> Case:
        """As soon as it is there: no progress, and so an end."""
        hearing = await Hearing(daemon, "killed-always").play(site.url("media/long.mp3", k="always"))
        await hearing.draw(100)
        killed: set[int] = set()

        async def kill() -> None:
            while not hearing.over:
                for pid in daemon.children_with("k=always"):
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
                await sleep(0.002)

        await together([kill(), hearing.draw()])
        return case(
            "killed always",
            hearing,
            (hearing.outcome == "decoder_failed", hearing.outcome),
            (3 <= len(killed) <= 6, f"{len(killed)} children were killed"),
        )

    async def hung() -> Case:
        url = site.url("media/long.mp3", k="hung")
        hearing = await Hearing(daemon, "hung", paced=True).play(url, duration=HEARD)
        await hearing.draw(150)
        await signalled(daemon, "k=hung", signal.SIGSTOP)
        await hearing.end()
        right = hearing.types == ["ready", "recovered", "finished"]
        return case("hung", hearing, whole(hearing), (right, f"events {hearing.types}"))

    async def killed_tone(round: Round) -> None:
        """Not a packet is another than without the kill."""
        client = await daemon.connect(Subscribe("tone"))
        await daemon.play("tone", tone(500, HEARD))
        await client.holds("tone", 150)
        os.kill(daemon.child_playing(500), signal.SIGKILL)
        await client.hears("tone", "finished")
        assert client.types("tone") == ["ready", "recovered", "finished"]
        await round.as_alone(client, "tone", tone(500, HEARD))

    kills = [killed(suffix, number) for suffix in SUFFIXES for number in (1, 2)]
    async with Round(daemon, warm=lambda: warm(daemon, site, 16)) as round:
        rows = [
            Row(
                1,
                "kill -9: 20 times in five containers, in a file, across a chain; one at every start",
                "off by 60 ms; 1 s without lead; three times without progress: error",
                [*kills, killed_file(), killed_in_a_chain(), killed_always()],
            ),
            Row(2, "SIGSTOP of a child", "12 s, recovered once", [hung()]),
        ]
        await together([play_out(round, rows), killed_tone(round)])


@pytest_twisted.ensureDeferred
async def test_row_3_a_child_that_waits_on_a_full_pipe_is_gone_at_once(start: Start) -> None:
    daemon = await start()
    names = [f"full:{n}" for n in range(10)]
    async with Round(daemon) as round:
        others = set(daemon.children())
        client = await daemon.connect(*map(Subscribe, names), *(Credit(name, 0) for name in names))
        for name in names:
            await daemon.play(name, tone(440, 3600))
        for name in names:
            await client.hears(name, "ready")
        full = sorted(set(daemon.children()) - others)
        assert len(full) == len(names)
        while (before := [*map(cpu_seconds, full)]) != (await sleep(0.3), [*map(cpu_seconds, full)])[1]:
            print(f"not yet full: {before}")
        took = []
        for left, name in reversed([*enumerate(names)]):
            await daemon.post(f"/session/{name}/stop")
            began = time.monotonic()
            await until(lambda n=left: len(set(daemon.children()) - others) == n, "a child is reaped")  # type: ignore[misc]
            took.append(time.monotonic() - began)
        seen = f"gone {max(took) * 1000:.0f} ms after the answer at most"
        round.report(3, "stop of 10 children on full pipes", seen, "100 ms")


# --- memory ----------------------------------------------------------------------------------------------------------


ROOM = 192 * MIB

GLUTTON = """
import sys
with open(sys.argv[1], "wb") as file:
    while sys.stdin.read(1):
        file.write(bytes(2**22))
        file.flush()
"""
"""Another process of the service's group, which fills what the group may have with files in memory: 4 MiB for each byte
that it is sent. It has little memory itself, so that it is not the one to be ended."""

SHARED_MEMORY = Path("/dev/shm")


class Cage:
    """A control group with bounded memory, of either version. `OSError` where none can be made."""

    def __init__(self) -> None:
        root = Path("/sys/fs/cgroup")
        lines = [line.split(":") for line in Path("/proc/self/cgroup").read_text().splitlines()]
        if mine := [path for _, kind, path in lines if kind == "memory"]:
            self._path = root / "memory" / mine[0].lstrip("/") / f"audiosvc-{os.getpid()}"
            self._names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control")
        else:
            self._path = root / f"audiosvc-{os.getpid()}"
            self._names = ("memory.max", "memory.current", "memory.events")
        if not os.access(SHARED_MEMORY, os.W_OK):
            raise OSError("nothing to fill it with")
        self._path.mkdir()
        try:
            self._limit, self._used, self._events = (self._path / name for name in self._names)
            self.kills()
        except OSError:
            self.close()
            raise

    def take(self, pid: int) -> None:
        """The process, and what it starts from now on."""
        (self._path / "cgroup.procs").write_text(str(pid))

    def bound(self) -> None:
        """To so much more than is used that a child's badness decides, and not how large the daemon is."""
        self._limit.write_text(str(int(self._used.read_text()) + ROOM))

    def kills(self) -> int:
        """Processes that the kernel has ended for their memory."""
        told = dict(line.split() for line in self._events.read_text().splitlines())
        return int(told["oom_kill"])

    def close(self) -> None:
        self._path.rmdir()


@pytest.fixture
def cage() -> Iterator[Cage | None]:
    """None where this machine or this user cannot have one. What is in it must have ended in the end."""
    try:
        made = Cage()
    except OSError:
        yield None
        return
    yield made
    made.close()


@pytest_twisted.ensureDeferred
async def test_row_22_where_memory_runs_out_a_child_goes_and_is_replaced(cage: Cage | None, start: Start) -> None:
    daemon = await start()
    if cage is not None:
        cage.take(daemon.pid)
    names = [f"s{n}" for n in range(4)]
    # Who is ended is the kernel's choice among all, so that nobody is a bystander.
    async with Round(daemon, bystanders=0, everyone=True) as round:
        client = await daemon.connect(*map(Subscribe, names))
        for n, name in enumerate(names):
            await daemon.play(name, tone(300 + 100 * n, 10))
        for name in names:
            await client.holds(name, 50)
        scores = {pid: int(Path(f"/proc/{pid}/oom_score").read_text()) for pid in daemon.live_children()}
        own = int(Path(f"/proc/{daemon.pid}/oom_score").read_text())
        assert len(scores) == len(names)
        assert min(scores.values()) > own, (scores, own)
        if cage is None:
            os.kill(max(scores, key=lambda pid: scores[pid]), signal.SIGKILL)
            injected = "kill -9 of the child with the highest badness (no memory cgroup to be had)"
        else:
            injected = "a memory cgroup that another process fills, until the kernel ends somebody"
            cage.bound()
            with NamedTemporaryFile(dir=SHARED_MEMORY) as file:
                argv = [sys.executable, "-I", "-S", "-c", GLUTTON, file.name]
                glutton = subprocess.Popen(argv, stdin=subprocess.PIPE, bufsize=0)
                try:
                    cage.take(glutton.pid)
                    for _ in range(2 * ROOM // 2**22):
                        glutton.stdin.write(b"x")  # type: ignore[union-attr]
                        await sleep(0.02)
                        if cage.kills():
                            break
                    assert cage.kills(), "the kernel ended nobody"
                finally:
                    glutton.kill()
                    glutton.communicate()
        for n, name in enumerate(names):
            await client.hears(name, "finished")
            await round.as_alone(client, name, tone(300 + 100 * n, 10))
        recovered = sum(client.types(name).count("recovered") for name in names)
        assert recovered >= 1
        kills = f"{cage.kills()} ended by the kernel, " if cage else ""
        gap = max(map(client.largest_gap, names)) * 1000
        badness = f"badness {min(scores.values())}+ of children, {own} of the daemon"
        seen = f"{kills}{recovered} recovered, packets identical, largest gap {gap:.0f} ms; {badness}"
        round.report(22, injected, seen, "the daemon lives, as row 1")
    assert not daemon.process.ended
