from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bench.counts import copied, exceeded, instructions_by_object, system_calls

CALLGRIND = """\
version: 1
positions: line
events: Ir

ob=/usr/bin/python3
fl=eval.c
fn=eval
16 400
+3 20
cfn=opus_encode
cob=/usr/lib/libopus.so.0
calls=1 50
+1 9000
-2 7
ob=/usr/lib/libopus.so.0
fn=opus_encode
50 9000

totals: 9427
"""

STRACE = """\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000600           1       500           epoll_wait
 39.00    0.000390           2       200        12 read
  1.00    0.000010           1       999         5 futex
------ ----------- ----------- --------- --------- ----------------
100.00    0.001000           1       700        12 total
"""


class CountsTests(SynchronousTestCase):
    def test_instructions_belong_to_the_object_they_are_in_and_not_to_its_caller(self) -> None:
        spent = instructions_by_object(CALLGRIND.splitlines(keepends=True))
        self.assertEqual(spent, {"/usr/bin/python3": 427, "/usr/lib/libopus.so.0": 9000})

    def test_copies_are_read_with_their_separators(self) -> None:
        self.assertEqual(copied("==7== \n==7== Total:     31,065,302 bytes in 428,717 blocks\n"), 31_065_302)

    def test_what_did_not_count_is_an_error_and_not_zero(self) -> None:
        self.assertRaises(ValueError, copied, "==7== Process terminating with default action of signal 9")
        self.assertRaises(ValueError, system_calls, "")

    def test_calls_that_failed_are_calls_and_threads_waits_are_none(self) -> None:
        self.assertEqual(system_calls(STRACE), {"epoll_wait": 500, "read": 200})


class ExceededTests(SynchronousTestCase):
    bounds = {"instructions pass": 1000.0, "calls pass": 0.5}
    slack = {"instructions": 0.05, "calls": 0.2}

    def test_a_bound_is_held_up_to_its_slack(self) -> None:
        counted = {"instructions pass": 1050.0, "calls pass": 0.6}
        self.assertEqual(exceeded(self.bounds, counted, self.slack), [])

    def test_more_than_that_is_said_by_name(self) -> None:
        counted = {"instructions pass": 1051.0, "calls pass": 0.1}
        self.assertEqual(
            exceeded(self.bounds, counted, self.slack), ["instructions pass: 1,051.00 a packet, bound 1,000.00"]
        )

    def test_what_has_no_bound_or_was_not_counted_does_not_pass(self) -> None:
        counted = {"instructions pass": 1.0, "calls live": 0.1}
        self.assertEqual(
            exceeded(self.bounds, counted, self.slack), ["calls live: no bound", "calls pass: not counted"]
        )


class ToolTests(SynchronousTestCase):
    def test_without_its_tools_the_check_fails(self) -> None:
        argv = [sys.executable, "-m", "bench.regress"]
        run = subprocess.run(
            argv, cwd=Path(__file__).parents[2], env={"PATH": "/nowhere"}, capture_output=True, text=True
        )
        self.assertEqual(run.returncode, 1, run.stderr)
        self.assertIn("not found: valgrind, strace", run.stderr)
