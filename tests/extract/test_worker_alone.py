"""The worker's program by itself: what it loads, what it writes, what it may use, and how long it lives."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from audiosvc.extract import worker
from audiosvc.extract.extractors import WORKER, worker_argv
from tests.extract.support import plant


class AloneTests(SynchronousTestCase):
    """The program by itself, in surroundings made by somebody else."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.home = Path(folder.name).resolve()
        self.marker = self.home / "marker"

    def test_what_is_planted_would_run_by_default(self) -> None:
        program = "import yt_dlp; yt_dlp.YoutubeDL()"
        subprocess.run(
            [sys.executable, "-c", program], env=plant(self.home, self.marker), cwd="/", check=True, timeout=60
        )
        self.assertTrue(self.marker.exists())

    def test_nothing_of_it_is_loaded_by_a_worker(self) -> None:
        done = subprocess.run(
            worker_argv(),
            env=plant(self.home, self.marker),
            cwd=self.home,
            input=b"",
            capture_output=True,
            check=True,
            timeout=60,
        )
        self.assertIn(b"ready", done.stdout)
        self.assertFalse(self.marker.exists())

    def test_only_answers_are_on_standard_output_and_calls_are_read_by_nobody_else(self) -> None:
        program = (
            "import sys, os; sys.path.insert(0, sys.argv[1]); import worker\n"
            "calls, answers = worker.take_pipes()\n"
            "print('noise'); os.write(1, b'noise\\n'); os.system('echo noise; cat')\n"
            "worker.say(answers, {'id': 1, 'line': calls.readline().decode()})\n"
        )
        done = subprocess.run(
            [sys.executable, "-I", "-c", program, str(WORKER.parent)], input=b"call\n", capture_output=True, check=True,
            timeout=60,
        )  # fmt: skip
        self.assertEqual(done.stdout, b'{"id":1,"line":"call\\n"}\n')
        self.assertEqual(done.stderr.count(b"noise"), 3)

    def test_a_runtime_gets_the_memory_it_needs_and_the_worker_that_starts_it_does_not(self) -> None:
        """As yt-dlp starts them; node where there is one."""
        program = (
            "import json, subprocess, sys; sys.path.insert(0, sys.argv[1]); import worker\n"
            "worker.confine(); worker.widen()\n"
            "from yt_dlp.utils import Popen\n"
            "said, _, status = Popen.run(sys.argv[2:], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)\n"
            "try: more = len(bytes(worker.MEMORY_MOST))\n"
            "except MemoryError: more = None\n"
            "print(json.dumps([status, said.strip(), more]))\n"
        )
        needed = (worker.MEMORY_MOST + worker.RUNTIME_MEMORY_MOST) // 2
        runtimes = [[sys.executable, "-c", f"print(len(bytes({needed})))"]]
        if node := shutil.which("node"):
            runtimes.append([node, "-e", f"console.log(Buffer.alloc({needed}).length)"])
        for runtime in runtimes:
            argv = [sys.executable, "-I", "-c", program, str(WORKER.parent), *runtime]
            done = subprocess.run(argv, capture_output=True, check=True, timeout=60)
            self.assertEqual(json.loads(done.stdout), [0, str(needed), None])

    def test_it_does_not_outlive_who_started_it(self) -> None:
        """Killed, and with the pipes held open by somebody else."""
        program = "import subprocess, sys, time; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); time.sleep(60)"
        parent = subprocess.Popen(
            [sys.executable, "-c", program, *worker_argv()], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert parent.stdout is not None and parent.stdin is not None
        with parent.stdout, parent.stdin:
            pid = int(parent.stdout.readline())
            self.assertIn(b"ready", parent.stdout.readline())
            parent.send_signal(signal.SIGKILL)
            parent.wait()
            deadline = time.monotonic() + 5
            while Path(f"/proc/{pid}/exe").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            self.assertFalse(Path(f"/proc/{pid}/exe").exists())
