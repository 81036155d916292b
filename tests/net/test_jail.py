"""The jail: made, tried, entered, refused; with the real kernel, whatever it allows."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.utils import getProcessOutput
from twisted.trial.unittest import SynchronousTestCase, TestCase

import audiosvc
from audiosvc.hardening import Hardening, find_hardening
from audiosvc.net import jail
from audiosvc.net.jail import Jail, JailError, isolate, open_jail, prove
from audiosvc.vitals import IsolationVitals
from tests.fakes import open_fds
from tests.net.namespaces import FORBIDDING, jails_possible, possible, waiting

HARD = Hardening(("/usr/bin/setpriv",))
SOFT = Hardening((), "setpriv is not installed")


class IsolateTests(SynchronousTestCase):
    """What each mode makes of what there is."""

    def setUp(self) -> None:
        self.opened = 0
        self.jail = cast(Jail, object())
        self.patch(jail, "open_jail", self.open)

    def open(self, hardening: Hardening) -> Jail:
        self.opened += 1
        return self.jail

    def refuse(self, hardening: Hardening) -> Jail:
        raise JailError("the kernel says no")

    def test_where_there_is_one_it_is_used_unless_switched_off(self) -> None:
        for mode in ("auto", "require"):
            self.assertEqual(isolate(mode, HARD), (self.jail, IsolationVitals(mode, True, True, None)))
        self.assertEqual(isolate("off", HARD), (None, IsolationVitals("off", False, True, "switched off")))
        self.assertEqual(self.opened, 2)

    def test_where_there_is_none_auto_does_without_and_says_why(self) -> None:
        self.patch(jail, "open_jail", self.refuse)
        self.assertEqual(isolate("auto", HARD), (None, IsolationVitals("auto", False, True, "the kernel says no")))

    def test_where_there_is_none_require_refuses(self) -> None:
        self.patch(jail, "open_jail", self.refuse)
        self.assertRaisesRegex(JailError, "the kernel says no", isolate, "require", HARD)

    def test_what_is_lacking_for_hardening_is_said_and_to_require_it_is_too_much(self) -> None:
        self.assertEqual(isolate("auto", SOFT), (self.jail, IsolationVitals("auto", True, False, SOFT.missing)))
        self.assertRaisesRegex(JailError, "setpriv is not installed", isolate, "require", SOFT)
        self.assertFalse(isolate("off", SOFT)[1].hardened)


class ProofTests(SynchronousTestCase):
    """Prefixes that confine nothing, or too much, are found out."""

    def setUp(self) -> None:
        self.door = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.door.close)

    def assert_found_out(self, why: str, prefix: Sequence[str]) -> None:
        self.assertRaisesRegex(JailError, why, prove, prefix, self.door)
        self.assertEqual(waiting(self.door), 0)

    def test_a_prefix_that_does_not_confine(self) -> None:
        self.assert_found_out("reaches the daemon's own network", ["/usr/bin/env"])
        self.assert_found_out("reaches the daemon's own network", [])

    def test_a_namespace_in_which_the_child_has_capabilities(self) -> None:
        self.assert_found_out(
            "capabilities" if possible("-rn") else "probe failed: unshare", ["unshare", "-rn", "setpriv"]
        )

    def test_a_namespace_without_the_door(self) -> None:
        confined = ["-Un", "--map-user=65534", "--map-group=65534"]
        self.assert_found_out(
            "does not reach the door" if possible(*confined) else "probe failed: unshare", ["unshare", *confined]
        )

    def test_a_route_to_the_world(self) -> None:
        self.patch_inmate("{'outside': False, 'routes': ['192.0.2.1'], 'capabilities': 0, 'door': True}")
        self.assert_found_out("has a route to .*192.0.2.1", [])

    def test_a_probe_that_claims_the_door_and_was_not_there(self) -> None:
        self.patch_inmate("{'outside': False, 'routes': [], 'capabilities': 0, 'door': True}")
        self.assert_found_out("does not reach the door", [])

    def test_a_probe_that_says_nothing_of_use_is_no_proof(self) -> None:
        for said, why in (("{}", "own network"), ("[]", "failed"), ("None", "failed")):
            self.patch_inmate(said)
            self.assert_found_out(why, [])
        self.assert_found_out("said nothing", ["/bin/false"])
        self.assert_found_out("No such file", ["/nowhere/nsenter"])

    def test_a_probe_that_hangs_is_no_proof(self) -> None:
        self.patch(jail, "PATIENCE", 0.2)
        self.assert_found_out("timed out", ["/bin/sh", "-c", "exec sleep 60"])

    def patch_inmate(self, said: str) -> None:
        path = Path(self.mktemp())
        path.write_text(f"import json; print(json.dumps({said}))")
        self.patch(jail.inmate, "__file__", str(path))


class MakerTests(SynchronousTestCase):
    """A jailer that fails is an error with a reason, in time, and leaves nothing."""

    def setUp(self) -> None:
        self.fds = open_fds()

    def assert_fails(self, why: str, program: str) -> None:
        path = Path(self.mktemp())
        path.write_text(program)
        self.patch(jail.jailer, "__file__", str(path))
        self.assertRaisesRegex(JailError, why, open_jail, find_hardening())
        self.assertEqual(open_fds(), self.fds)

    def test_it_says_what_the_kernel_did_not_allow(self) -> None:
        self.assert_fails("no leave", 'import os; os.write(0, b\'{"error": "no leave"}\')')

    def test_it_crashes(self) -> None:
        self.assert_fails("ZeroDivisionError", "1 / 0")

    def test_it_says_nothing_or_nonsense(self) -> None:
        self.assert_fails("nothing", "")
        self.assert_fails("jailer failed", "import os; os.write(0, b'hello')")
        self.assert_fails("jailer failed", "import os; os.write(0, b'[]')")

    def test_it_hangs(self) -> None:
        self.patch(jail, "PATIENCE", 0.2)
        self.assert_fails("timed out", "import time; time.sleep(60)")

    def test_without_util_linux_there_is_none(self) -> None:
        self.patch(jail.shutil, "which", lambda name: None)
        self.assertRaisesRegex(JailError, "not installed", open_jail, HARD)


class Greeter(Protocol):
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"come in")
        self.transport.loseConnection()


class RealTests(TestCase):
    """On this kernel. Where it forbids namespaces, the documented fallback is what must be seen."""

    timeout = 30

    def setUp(self) -> None:
        self.possible = jails_possible()
        self.hardening = find_hardening()

    def open(self) -> Jail | None:
        """A jail, or None after it was seen that `auto` does without one and `require` refuses."""
        made, said = isolate("auto", self.hardening)
        self.assertEqual((said.active, said.hardened, made is not None), (self.possible, True, self.possible))
        if made is not None:
            self.addCleanup(made.close)
            return made
        self.assertRegex(said.why or "", "namespace")
        self.assertRaises(JailError, isolate, "require", self.hardening)
        return None

    def inside(self, made: Jail, *argv: str) -> subprocess.CompletedProcess[str]:
        command = [*made.prefix, *self.hardening.prefix, *argv]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)

    def test_it_leaves_no_process_and_when_closed_no_descriptor(self) -> None:
        before = open_fds()
        made = self.open()
        if made is not None:
            kept = {int(name.partition(":")[0]) for name in open_fds() - before}
            self.assertLessEqual(len(kept), 3)
            self.assertFalse(any(os.get_inheritable(descriptor) for descriptor in kept))
            made.close()
            made.close()
        self.assertEqual(open_fds(), before)
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        self.assertEqual([pid for pid in children if "jailer" in Path(f"/proc/{pid}/cmdline").read_text()], [])

    def test_several_are_apart_from_each_other(self) -> None:
        one, other = self.open(), self.open()
        if one is None or other is None:
            return
        self.assertEqual(one.door.getsockname(), other.door.getsockname())
        spaces = {self.inside(made, "readlink", "/proc/self/ns/net").stdout for made in (one, other)}
        self.assertEqual(len(spaces - {"", str(Path("/proc/self/ns/net").readlink()) + "\n"}), 2)

    @inlineCallbacks
    def test_the_daemon_serves_the_door_that_a_child_inside_comes_to(self) -> Any:
        made = self.open()
        if made is None:
            return
        reactor = cast(Any, global_reactor)
        port = reactor.adoptStreamPort(made.door.fileno(), socket.AF_INET, Factory.forProtocol(Greeter))
        self.addCleanup(port.stopListening)
        code = "import socket, sys; print(socket.create_connection(('127.0.0.1', int(sys.argv[1])), 5).recv(99))"
        python = [sys.executable, "-I", "-S", "-c", code, str(port.getHost().port)]
        argv = [*made.prefix, *self.hardening.prefix, *python]
        said = yield getProcessOutput(argv[0], argv[1:], errortoo=True)
        self.assertEqual(said, b"b'come in'\n")

    def test_the_prefix_names_what_is_ours_and_never_a_process_that_may_be_another(self) -> None:
        made = self.open()
        if made is None:
            return
        made.close()
        for _ in range(3):
            done = self.inside(made, "echo", "got in")
            self.assertEqual((done.returncode != 0, done.stdout), (True, ""))

    def test_a_daemon_that_is_killed_leaves_nobody_inside(self) -> None:
        """A child that does nothing, as one that waits for a server that says nothing."""
        code = """
            import os, subprocess, sys, time
            from audiosvc.hardening import find_hardening
            from audiosvc.net.jail import isolate
            hardening = find_hardening()
            made, _ = isolate("auto", hardening)
            prefix = made.prefix if made is not None else ()
            child = subprocess.Popen([*prefix, *hardening.prefix, "sh", "-c", "echo $$; exec sleep 60"])
            time.sleep(60)
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
        child = Path("/proc") / daemon.stdout.readline().decode().strip()
        self.assertTrue(child.is_dir())
        daemon.kill()
        daemon.stdout.close()
        self.assert_gone_within(1.0, child)

    def assert_gone_within(self, patience: float, process: Path) -> None:
        since = time.monotonic()
        while self.alive(process):
            self.assertLess(time.monotonic() - since, patience)
            time.sleep(0.005)

    def alive(self, process: Path) -> bool:
        """Whether it runs; one that nobody reaps, as where no init does, has ended too."""
        try:
            return (process / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False


class ForbiddenTests(SynchronousTestCase):
    """Kernels and containers that forbid: made from this one where it allows that, itself where it does not."""

    CODE = """
        import json, subprocess
        from audiosvc.hardening import find_hardening
        from audiosvc.net.jail import JailError, isolate
        hardening = find_hardening()
        made, said = isolate("auto", hardening)
        try:
            isolate("require", hardening)
            required = True
        except JailError:
            required = False
        prefix = made.prefix if made is not None else []
        if prefix:
            subprocess.run([*prefix, *hardening.prefix, "true"], check=True)
        print(json.dumps({"active": said.active, "required": required, "why": said.why, "prefix": prefix}))
    """

    def isolated_under(self, *wrapper: str) -> dict[str, Any]:
        argv = [*wrapper, sys.executable, "-c", textwrap.dedent(self.CODE)]
        environment = {**os.environ, "PYTHONPATH": str(Path(audiosvc.__file__).parents[1])}
        done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        return cast("dict[str, Any]", json.loads(done.stdout))

    def test_where_no_namespace_is_allowed_auto_does_without_and_require_refuses(self) -> None:
        drop = 'exec setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin -- "$@"'
        wrapper = ["unshare", "-Ur", "sh", "-c", FORBIDDING + drop, "sh"] if possible("-Ur") else []
        found = self.isolated_under(*wrapper)
        if wrapper or not jails_possible():
            self.assertEqual((found["active"], found["required"], found["prefix"]), (False, False, []))
            self.assertRegex(found["why"], "no user namespace .*, no network namespace ")
        else:
            self.assertTrue(found["active"])

    def test_root_needs_no_user_namespace_and_its_children_lose_their_capabilities(self) -> None:
        if possible("-Ur"):
            found = self.isolated_under("unshare", "-Ur", "sh", "-c", FORBIDDING + 'exec "$@"', "sh")
            self.assertEqual((found["active"], found["required"], found["why"]), (True, True, None))
            self.assertIn("--bounding-set=-all", found["prefix"])
            self.assertFalse([word for word in found["prefix"] if word.startswith("--user")])
        elif possible("--net"):
            self.assertIn("--bounding-set=-all", self.isolated_under()["prefix"])
        else:
            self.assertFalse(self.isolated_under()["active"])
