"""What every child gets: found, tried, and set from outside."""

from __future__ import annotations

import resource
import stat
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from audiosvc import hardening
from audiosvc.hardening import FILES_MOST, MEMORY_MOST, find_hardening, limit, prefer_for_oom
from tests.fakes import FakeChild

BOUNDS = {
    resource.RLIMIT_AS: MEMORY_MOST,
    resource.RLIMIT_NOFILE: FILES_MOST,
    resource.RLIMIT_FSIZE: 0,
    resource.RLIMIT_CORE: 0,
}


class FindTests(SynchronousTestCase):
    def find(self, program: str | None) -> hardening.Hardening:
        """With `program` as what is called setpriv."""
        path = Path(self.mktemp())
        if program is not None:
            path.write_text(program)
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        self.patch(hardening.shutil, "which", lambda name: None if program is None else str(path.absolute()))
        return find_hardening()

    def test_the_one_of_this_machine_works(self) -> None:
        found = find_hardening()
        self.assertIsNone(found.missing)
        status = subprocess.run([*found.prefix, "cat", "/proc/self/status"], capture_output=True, text=True, check=True)
        self.assertIn("NoNewPrivs:\t1\n", status.stdout)

    def test_where_there_is_none_that_is_said(self) -> None:
        self.assertEqual(self.find(None), ((), "setpriv (util-linux) is not installed"))

    def test_one_that_knows_no_such_option_is_none(self) -> None:
        found = self.find("#!/bin/sh\necho 'unrecognized option: pdeathsig' >&2\nexit 1\n")
        self.assertEqual(found, ((), "setpriv does not work: unrecognized option: pdeathsig"))

    def test_one_that_cannot_be_run_or_does_not_end_is_none(self) -> None:
        self.patch(hardening, "ANSWER_SECONDS", 0.1)
        for program in ("#!/nowhere/sh\n", "#!/bin/sh\nexec sleep 60\n"):
            found = self.find(program)
            self.assertEqual(found.prefix, ())
            self.assertRegex(found.missing or "", "^setpriv does not work: ")


class LimitTests(SynchronousTestCase):
    def spawn(self, *prefix: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([*prefix, "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        return process

    def test_they_hold_for_the_child_and_cannot_be_raised(self) -> None:
        child = self.spawn()
        limit(child.pid)
        for kind, most in BOUNDS.items():
            self.assertEqual(resource.prlimit(child.pid, kind), (most, most))

    def test_what_is_narrower_already_stays(self) -> None:
        child = self.spawn("prlimit", "--nofile=20", "--")
        limit(child.pid)
        self.assertEqual(resource.prlimit(child.pid, resource.RLIMIT_NOFILE), (20, 20))

    def test_the_bounds_of_another_kind_of_child_may_be_others(self) -> None:
        child = self.spawn()
        limit(child.pid, memory=1 << 31, files=256)
        self.assertEqual(resource.prlimit(child.pid, resource.RLIMIT_AS)[1], 1 << 31)
        self.assertEqual(resource.prlimit(child.pid, resource.RLIMIT_NOFILE)[1], 256)

    def test_it_goes_before_us_where_memory_runs_out(self) -> None:
        child = self.spawn()
        self.assertTrue(prefer_for_oom(child.pid))
        self.assertEqual(Path(f"/proc/{child.pid}/oom_score_adj").read_text(), "500\n")

    def test_one_that_has_exited_needs_nothing(self) -> None:
        limit(FakeChild.pid)
        self.assertTrue(prefer_for_oom(FakeChild.pid))

    def test_one_that_cannot_be_told_now_is_to_be_told_again(self) -> None:
        def refuse(path: Path, text: str) -> int:
            raise PermissionError(13, "Permission denied")

        self.patch(Path, "write_text", refuse)
        self.assertFalse(prefer_for_oom(FakeChild.pid))
