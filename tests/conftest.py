"""Lets trial's asynchronous tests and pytest-twisted's share one run of pytest.

pytest-twisted keeps the reactor running all the time; trial's TestCase would start it for each test, which a
running one refuses. So under pytest a trial test waits the way pytest-twisted's own do.
"""

from __future__ import annotations

from typing import Any

import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase


def _wait(self: TestCase, waited_for: Deferred[Any], running: object = None) -> None:
    results: list[object] = []
    waited_for.addBoth(results.append)
    if not results:
        pytest_twisted.blockon(waited_for)


TestCase._wait = _wait
