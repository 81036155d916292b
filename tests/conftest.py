"""Lets trial's asynchronous tests and pytest-twisted's share one run of pytest.

pytest-twisted keeps the reactor running all the time; trial's TestCase would start it for each test, which a
running one refuses. So under pytest a trial test waits the way pytest-twisted's own do.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase


def _wait(self: TestCase, waited_for: Deferred[Any], running: object = None) -> None:
    results: list[object] = []
    waited_for.addBoth(results.append)
    if not results:
        pytest_twisted.blockon(waited_for)


TestCase._wait = _wait


@pytest.fixture(autouse=True, scope="session")
def _trial_temp(tmp_path_factory: pytest.TempPathFactory) -> None:
    """trial's own `mktemp` would litter the folder that pytest was started in."""
    folder, numbers = tmp_path_factory.mktemp("trial"), itertools.count()
    SynchronousTestCase.mktemp = lambda self: str(folder / str(next(numbers)))  # type: ignore[method-assign]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Only here are they known however pytest is called."""
    parser.addoption("--seed", type=int, help="of the run of random faults in tests/faults, to have it once more")
    parser.addoption("--minutes", type=float, default=10, help="that the closing run of random faults lasts")
