"""What a child can do to us: its permit's life, and a stand-in for FFmpeg that tries everything."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.trial.unittest import TestCase

import audiosvc
from audiosvc.errors import SpawnFailed
from audiosvc.ffmpeg import process
from audiosvc.ffmpeg.command import NO_WAY_OUT, child_environment, decode_argv
from audiosvc.ffmpeg.process import OOM_AGAIN_SECONDS, SPAWNS_PER_TICK, Child, Pending, Spawner
from audiosvc.ffmpeg.report import Report
from audiosvc.hardening import FILES_MOST, find_hardening
from audiosvc.interfaces import IReactor
from audiosvc.net.jail import isolate
from audiosvc.sources.model import Http, Media, Source, Tone
from tests.ffmpeg.media import FFMPEG, KINDS, file, seconds
from tests.ffmpeg.test_process import SpawnerTestCase
from tests.net.namespaces import Permit, jails_possible, waiting

ESCAPEE = Path(__file__).parents[1] / "fixtures" / "escapee.py"


class PermitTests(SpawnerTestCase):
    """With fakes: what goes before whose command line, and when a permit is over."""

    def setUp(self) -> None:
        super().setUp()
        self.spawner = Spawner(self.reactor.as_reactor, {"LANG": "C"}, ["setpriv", "--"])

    def allow(self, *prefix: str) -> tuple[Permit, Pending]:
        permit = Permit(prefix, {"http_proxy": "http://t@door"})
        failed = self.failed.append
        return permit, self.spawner.spawn(["ffmpeg", "x"], Report(), self.started.append, failed, permit)

    def test_into_the_jail_first_and_hardened_there(self) -> None:
        environments: list[Any] = []
        spawn = self.reactor.spawnProcess

        def spy(*args: Any, **kwargs: Any) -> Any:
            environments.append(args[3])
            return spawn(*args, **kwargs)

        self.reactor.spawnProcess = spy  # type: ignore[method-assign]
        self.allow("nsenter", "--")
        self.spawn()
        jailed, other = self.reactor.children
        self.assertEqual(jailed.argv, ["nsenter", "--", "setpriv", "--", "ffmpeg", "x"])
        self.assertEqual(other.argv, ["setpriv", "--", "ffmpeg", "a"])
        self.assertEqual(environments, [{"LANG": "C", "http_proxy": "http://t@door"}, {"LANG": "C"}])

    def test_it_is_over_when_the_child_is_reaped_and_not_before(self) -> None:
        permit, pending = self.allow()
        pending.cancel()
        self.started[0].kill()
        self.assertFalse(permit.closed)
        self.reactor.children[0].exit(signal=9)
        self.assertTrue(permit.closed)

    def test_it_is_over_when_nobody_wants_the_child_any_more(self) -> None:
        asked = [self.allow() for _ in range(SPAWNS_PER_TICK + 2)]
        asked[-2][1].cancel()
        self.assertEqual([permit.closed for permit, _ in asked], [False] * SPAWNS_PER_TICK + [True, False])
        self.spawner.stop()
        self.assertEqual([permit.closed for permit, _ in asked], [False] * SPAWNS_PER_TICK + [True, True])

    def test_it_is_over_when_the_start_fails(self) -> None:
        self.reactor.spawn_error = OSError(11, "Resource temporarily unavailable")
        permit, _ = self.allow()
        self.assertTrue(permit.closed)

    def test_a_child_that_cannot_be_bounded_does_not_run(self) -> None:
        def refuse(pid: int) -> None:
            raise PermissionError(1, "Operation not permitted")

        self.patch(process, "limit", refuse)
        permit, _ = self.allow()
        self.assertEqual(([type(error) for error in self.failed], self.started), ([SpawnFailed], []))
        self.assertTrue(permit.closed)
        self.assertEqual(self.reactor.children[0].signals, ["KILL"])
        self.reactor.end()
        self.assert_nothing_left()

    def test_who_cannot_be_told_now_to_go_first_is_told_again_while_there(self) -> None:
        told: list[int] = []

        def tell(pid: int) -> bool:
            told.append(pid)
            return False

        self.patch(process, "prefer_for_oom", tell)
        self.spawn()
        self.spawn()
        self.reactor.children[1].exit()
        self.reactor.advance(OOM_AGAIN_SECONDS)
        self.assertEqual(len(told), 3)
        self.assert_nothing_left()

    def test_the_daemon_stays_in_its_folder(self) -> None:
        before = Path.cwd()
        self.spawn()
        self.reactor.spawn_error = OSError(11, "Resource temporarily unavailable")
        self.spawn()
        self.assertEqual((Path.cwd(), len(self.failed)), (before, 1))


class RealTestCase(TestCase):
    """Real children, hardened, and jailed where this kernel allows it."""

    timeout = 60

    def setUp(self) -> None:
        hardening = find_hardening()
        self.assertIsNone(hardening.missing)
        self.jail, said = isolate("auto", hardening)
        self.assertEqual(said.active, jails_possible())
        if self.jail is not None:
            self.addCleanup(self.jail.close)
        self.environment = {**child_environment({}), "ONLY": "1"}
        self.spawner = Spawner(cast(IReactor, global_reactor), self.environment, hardening.prefix)
        self.addCleanup(self.spawner.stop)

    @property
    def permit(self) -> Permit:
        return Permit(() if self.jail is None else self.jail.prefix, {"http_proxy": "http://t@door"})

    @inlineCallbacks
    def run_child(self, argv: list[str], permit: Permit | None) -> Any:
        """All of a child's standard output, and the child, reaped."""
        # It may have to wait for the next tick, where the one before took long to start.
        starting: Deferred[Child] = Deferred()
        self.spawner.spawn(argv, Report(), starting.callback, starting.errback, permit)
        child: Child = yield starting
        said = b""
        while (piece := child.pcm.read()) is not None:
            said += piece
            if not piece:
                readable: Deferred[None] = Deferred()
                child.pcm.when_readable(lambda fired=readable: fired.callback(None))
                yield readable
        yield child.gone
        child.pcm.close()
        return said, child


class EscapeTests(RealTestCase):
    @inlineCallbacks
    def escape(self, permit: Permit | None) -> Any:
        """What the stand-in found, and how often it came to a listener of ours."""
        folder = Path(self.mktemp())
        folder.mkdir()
        folder.chmod(0o777)
        kept = os.dup(0)
        os.set_inheritable(kept, True)
        self.addCleanup(os.close, kept)
        with socket.create_server(("127.0.0.1", 0)) as outside:
            door = self.jail.door.getsockname()[1] if self.jail is not None else 1
            argv = [sys.executable, "-I", "-S", str(ESCAPEE), str(outside.getsockname()[1]), str(door), str(folder)]
            said, child = yield self.run_child(argv, permit)
            hits = waiting(outside)
        self.assertIsNone(child.signal)
        found = json.loads(said)
        written = folder / "written"
        self.assertEqual(written.stat().st_size if written.exists() else 0, 0)
        return found, hits

    def assert_hardened(self, found: dict[str, Any]) -> None:
        """What holds in the jail and outside."""
        # The fourth is the one by which it lists them.
        self.assertLessEqual(set(found["descriptors"]), {0, 1, 2, 3})
        self.assertEqual(found["folder"], "/")
        self.assertEqual(found["oom"], "500")
        self.assertEqual((found["write"], found["allocate"]), (0, False))
        self.assertLess(found["open"], FILES_MOST)
        self.assertFalse(found["privileges"]["new"])

    @inlineCallbacks
    def test_one_that_was_taken_over_gets_nowhere(self) -> Any:
        found, hits = yield self.escape(self.permit)
        self.assert_hardened(found)
        self.assertEqual(found["environment"], {**self.environment, "http_proxy": "http://t@door"} | added(found))
        if self.jail is None:
            return
        self.assertEqual((found["connect"], hits), ({"outside": "ConnectionRefusedError", "door": "connected"}, 0))
        # That it may fork is not prevented; what it forks is where it is.
        self.assertEqual(found["fork"], {"made": 100, "out": 0})
        self.assertEqual(found["privileges"]["capabilities"], 0)
        self.assertEqual((found["daemon"], found["back"]), ("PermissionError", "PermissionError"))

    @inlineCallbacks
    def test_one_without_a_permit_is_bounded_too(self) -> Any:
        found, hits = yield self.escape(None)
        self.assert_hardened(found)
        self.assertEqual(found["environment"], self.environment | added(found))
        # The listener is there, and where nothing confines it is found: the test above would see it.
        self.assertEqual((found["connect"]["outside"], hits), ("connected", 101))

    def test_none_outlives_a_daemon_that_is_killed(self) -> None:
        """Four children that do nothing, as those that wait for a server that says nothing, or on a full pipe."""
        code = """
            import sys
            from twisted.internet import reactor
            from audiosvc.ffmpeg.process import Spawner
            from audiosvc.ffmpeg.report import Report
            from audiosvc.hardening import find_hardening
            from audiosvc.net.jail import isolate
            from tests.net.namespaces import Permit
            hardening = find_hardening()
            jail, _ = isolate("auto", hardening)
            prefix = jail.prefix if jail is not None else ()
            spawner = Spawner(reactor, {"PATH": "/usr/bin:/bin"}, hardening.prefix)
            def started(child):
                pids.append(child.transport.pid)
                child.pcm.when_readable(lambda: len(pids) == 4 and print(*pids, flush=True))
            pids = []
            for script in ("echo; exec sleep 60", "exec cat /dev/zero"):
                for permit in (None, Permit(prefix)):
                    spawner.spawn(["/bin/sh", "-c", script], Report(), started, print, permit)
            reactor.run()
        """
        root = str(Path(audiosvc.__file__).parents[1])
        daemon = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": root},
        )
        self.addCleanup(daemon.wait)
        self.addCleanup(daemon.kill)
        assert daemon.stdout is not None
        children = [int(pid) for pid in daemon.stdout.readline().split()]
        daemon.stdout.close()
        self.assertEqual(len(children), 4)
        for pid in children:
            self.addCleanup(kill, pid)
            self.assertTrue(alive(pid))
        daemon.send_signal(signal.SIGKILL)
        since = time.monotonic()
        while any(alive(pid) for pid in children):
            self.assertLess(time.monotonic() - since, 1.0)
            time.sleep(0.002)


class RoomTests(RealTestCase):
    """FFmpeg itself has what it needs."""

    @inlineCallbacks
    def test_without_a_door_nothing_is_fetched(self) -> Any:
        """Neither where there is no permit nor where the door is shut does FFmpeg find a way round."""
        shut = {"http_proxy": "http://token:x@127.0.0.1:1"}
        with socket.create_server(("127.0.0.1", 0)) as origin:
            for scheme in ("http", "https"):
                for environment in (NO_WAY_OUT, shut):
                    url = f"{scheme}://127.0.0.1:{origin.getsockname()[1]}/a.mp3"
                    argv = decode_argv(FFMPEG, Source("x", Http(url)))
                    said, child = yield self.run_child(argv, Permit((), environment))
                    self.assertEqual((said, child.report.failed, waiting(origin)), (b"", True, 0))

    @inlineCallbacks
    def test_every_kind_is_decoded_to_its_end(self) -> Any:
        media: list[tuple[Media, float]] = [(file(f"steps.{kind}"), 4.0) for kind in KINDS]
        for medium, lasts in [*media, (Tone(440, 3.0), 3.0)]:
            for permit in (None, self.permit):
                pcm, child = yield self.run_child(decode_argv(FFMPEG, Source("x", medium)), permit)
                self.assertApproximates(seconds(pcm), lasts, 0.05)
                self.assertIsNone(child.signal)


def added(found: dict[str, Any]) -> dict[str, str]:
    """What Python adds to its own environment (PEP 538) is none of ours."""
    return {name: text for name, text in found["environment"].items() if name == "LC_CTYPE"}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
