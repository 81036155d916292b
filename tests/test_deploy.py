"""What `deploy/` promises: the unit, the sockets, the image."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.handed import NAMES
from audiosvc.tap import SHUTDOWN_SECONDS
from tests.fixtures.confined import Unit, parse

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
SERVICE = DEPLOY / "audiosvc.service"
SOCKETS = {"packets": DEPLOY / "audiosvc.socket", "api": DEPLOY / "audiosvc-api.socket"}
OPERATIONS = ROOT / "docs" / "operations.rst"

HARDENING = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "PrivateMounts": "yes",
    "DevicePolicy": "closed",
    "ProtectClock": "yes",
    "ProtectControlGroups": "yes",
    "ProtectHostname": "yes",
    "ProtectKernelLogs": "yes",
    "ProtectKernelModules": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectProc": "invisible",
    "PrivateIPC": "yes",
    "RemoveIPC": "yes",
    "KeyringMode": "private",
    "LockPersonality": "yes",
    "RestrictRealtime": "yes",
    "RestrictSUIDSGID": "yes",
    "SystemCallArchitectures": "native",
    "SystemCallErrorNumber": "EPERM",
    "UMask": "0077",
    "LimitCORE": "0",
}


class UnitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.unit: Unit = parse(SERVICE)

    def one(self, name: str) -> str:
        (value,) = self.unit[name]
        return value

    def test_it_is_hardened(self) -> None:
        self.assertEqual({name: self.one(name) for name in HARDENING}, HARDENING)
        self.assertNotEqual(self.one("User"), "root")

    def test_what_isolation_needs_is_left_to_it(self) -> None:
        self.assertEqual(set(self.one("RestrictNamespaces").split()), {"user", "net"})
        self.assertEqual(set(self.one("RestrictAddressFamilies").split()), {"AF_UNIX", "AF_INET", "AF_INET6"})
        first, taken, given = self.unit["SystemCallFilter"]
        self.assertEqual((first, given), ("@system-service", "capset"))
        self.assertTrue(taken.startswith("~"))
        self.assertFalse({"@process", "@network-io", "@resources"} & set(taken.split()))

    def test_a_javascript_runtime_can_run(self) -> None:
        self.assertNotIn("MemoryDenyWriteExecute", self.unit)

    def test_its_socket_is_not_removed_with_a_folder(self) -> None:
        self.assertNotIn("RuntimeDirectory", self.unit)

    def test_it_is_watched_and_started_again_and_outlives_a_child(self) -> None:
        for name, value in (
            ("Type", "notify"),
            ("NotifyAccess", "main"),
            ("WatchdogSec", "10"),
            ("Environment", "PYTHONFAULTHANDLER=1"),
            ("Restart", "always"),
            ("StartLimitIntervalSec", "0"),
            ("OOMPolicy", "continue"),
            ("KillMode", "mixed"),
        ):
            self.assertEqual(self.one(name), value, name)
        self.assertGreater(int(self.one("TimeoutStopSec")), SHUTDOWN_SECONDS)

    def test_it_is_bounded(self) -> None:
        self.assertGreaterEqual(int(self.one("LimitNOFILE")), 20 + 6 * 200)
        self.assertGreaterEqual(int(self.one("TasksMax")), 8 * 200)
        self.assertTrue(self.one("MemoryMax"))

    def test_the_sockets_have_the_names_that_the_daemon_takes_them_by(self) -> None:
        self.assertEqual(set(SOCKETS), set(NAMES))
        self.assertEqual(set(self.one("Sockets").split()), {path.name for path in SOCKETS.values()})
        for name, path in SOCKETS.items():
            socket = parse(path)
            self.assertEqual(socket["FileDescriptorName"], [name])
            self.assertNotIn("Accept", socket)
        packets, api = (parse(SOCKETS[name]) for name in ("packets", "api"))
        self.assertEqual((packets["SocketMode"], packets["SocketUser"]), (["0600"], self.unit["User"]))
        self.assertEqual(api["Service"], [SERVICE.name])
        self.assertTrue(api["ListenStream"][0].startswith("127.0.0.1:"))

    def test_systemd_gives_it_the_score_that_the_documentation_names(self) -> None:
        if shutil.which("systemd-analyze") is None:
            raise SkipTest("no systemd-analyze")
        argv = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(SERVICE)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        said = re.search(r"Overall exposure level for audiosvc.service: ([\d.]+)", done.stdout)
        if said is None:
            raise SkipTest(done.stderr.strip() or "systemd-analyze is too old for that")
        print(f"\nsystemd-analyze security: {said[1]}")
        documented = re.search(r"``systemd-analyze security`` gives it ([\d.]+)", OPERATIONS.read_text())
        assert documented is not None
        # Versions differ in what they look at; this one may be kinder than that of the documentation.
        self.assertLessEqual(float(said[1]), float(documented[1]) + 0.2)

    def test_systemd_understands_every_line(self) -> None:
        if shutil.which("systemd-analyze") is None:
            raise SkipTest("no systemd-analyze")
        with tempfile.TemporaryDirectory() as folder:
            for path in (SERVICE, *SOCKETS.values()):
                text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", path.read_text(), flags=re.MULTILINE)
                Path(folder, path.name).write_text(text)
            units = [str(path) for path in sorted(Path(folder).iterdir())]
            done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
        ours = [line for line in done.stderr.splitlines() if "audiosvc" in line and "ignor" in line.lower()]
        self.assertEqual(ours, [], done.stderr)


class ImageTests(SynchronousTestCase):
    def setUp(self) -> None:
        text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE)
        lines = text.replace("\\\n", " ").splitlines()
        self.steps = [tuple(line.split(None, 1)) for line in lines if line.strip()]

    def all(self, instruction: str) -> list[str]:
        return [words for name, words in self.steps if name == instruction]

    def test_its_base_is_pinned(self) -> None:
        for base in self.all("FROM"):
            self.assertRegex(base, r"^python:3\.12-slim-[a-z]+( AS build)?$")

    def test_its_user_is_not_root_and_has_a_number_that_others_can_check(self) -> None:
        (user,) = self.all("USER")
        self.assertGreater(int(user), 0)
        self.assertLess([name for name, _ in self.steps].index("USER"), len(self.steps) - 1)
        self.assertIn(f"--uid {user} ", " ".join(self.all("RUN")))

    def test_nothing_is_fetched_but_by_pip(self) -> None:
        self.assertEqual(self.all("ADD"), [])
        self.assertNotRegex(" ".join(self.all("RUN")), r"curl|wget|https?:")

    def test_what_it_keeps_is_in_volumes_of_its_own(self) -> None:
        (volumes,) = self.all("VOLUME")
        made = " ".join(self.all("RUN"))
        environment = " ".join(self.all("ENV"))
        for volume in json.loads(volumes):
            self.assertIn(volume, made)
            self.assertIn(f"={volume}", environment)

    def test_what_it_runs_is_the_daemon_without_a_shell_between(self) -> None:
        (entry,) = self.all("ENTRYPOINT")
        self.assertEqual(json.loads(entry), ["twistd", "-n", "--pidfile=", "audiosvc"])
        (health,) = self.all("HEALTHCHECK")
        self.assertIn("/health/live", json.loads(health.partition("CMD")[2])[-1])

    def test_its_context_is_the_package(self) -> None:
        lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        self.assertEqual(lines[1], "*")
        let_in = [line[1:] for line in lines if line.startswith("!")]
        for needed in ("audiosvc/tap.py", "twisted/plugins/audiosvc_plugin.py", "setup.py", "README.rst", "LICENSE"):
            self.assertTrue((ROOT / needed).exists())
            self.assertTrue(any(fnmatch(needed, f"{name}*") for name in let_in), needed)
        for kept_out in ("tests", "node", ".git", "docs"):
            self.assertNotIn(kept_out, let_in)
