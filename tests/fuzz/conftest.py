"""The daemon's fixture is that of the integration tests."""

from __future__ import annotations

from tests.integration.conftest import start as start
