"""schemathesis against a running daemon: whatever `/openapi.json` lets one send, the answer is one that it promises."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest_twisted
import treq
from twisted.internet.threads import deferToThread

from tests.integration.conftest import Start
from tests.integration.harness import tone, until

SECONDS = int(45 * float(os.environ.get("AUDIOSVC_FUZZ", "1")))
"""How long it goes on making up requests."""

# Besides the defaults: a body too large, a media type that is none, a URL that is not played.
CONFIG = """
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "413", "415", "421", "422"]
"""


@pytest_twisted.ensureDeferred
async def test_no_request_made_from_the_schema_gets_an_answer_outside_it(start: Start, tmp_path: Path) -> None:
    # Nothing that it thinks up may be asked of the web.
    daemon = await start("--extractors", "0")
    client = await daemon.connect()
    fds, threads, rss = daemon.fds(), daemon.threads(), daemon.rss()
    # It learns this session's id and URL from the answers, and plays, stops and seeks with them.
    await daemon.play("listener", tone(440, 600))
    config, seed = tmp_path / "schemathesis.toml", random.randrange(2**32)
    config.write_text(CONFIG)
    argv = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)]
    argv += ["run", f"http://127.0.0.1:{daemon.port}/openapi.json", f"--seed={seed}", "--continue-on-failure"]
    # What a URL leads to, or how long a track is, is nothing that a schema can tell.
    argv += ["--checks=all", "--exclude-checks=positive_data_acceptance", "--generation-database=none"]
    argv += [f"--max-time={SECONDS}", "--no-color"]
    done = await deferToThread(subprocess.run, argv, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS * 3)
    assert done.returncode == 0, f"seed {seed}\n{done.stdout[-20_000:]}{done.stderr[-2000:]}"
    cases = re.search(r"Test cases:\n +(.+)", done.stdout)
    operations = re.search(r"Tested: (\d+)", done.stdout)
    assert cases and operations, done.stdout[-2000:]
    metrics = await (await treq.get(f"http://127.0.0.1:{daemon.port}/metrics", persistent=False)).text()
    answers = dict(re.findall(r'^audiosvc_http_answers_total{status="(\d+)"} (\d+)', metrics, re.MULTILINE))
    assert answers
    assert not [status for status in answers if status >= "500"]

    for playing in (await daemon.get("/sessions"))["sessions"]:
        await daemon.post(f"/session/{playing['session_id']}/stop")
    health = await daemon.get("/health")
    assert health["status"] != "stopping"
    assert not any(health["sessions"].values())
    assert health["plays"] == sum(health["ends"].values()) > 1
    await until(lambda: not daemon.children(), "every child is reaped")
    await daemon.disconnect(client)
    await until(lambda: daemon.fds() <= fds + 1, "its connections are closed")
    assert daemon.threads() == threads
    print(
        f"\nschemathesis, seed {seed}: {cases[1]} on {operations[1]} operations, no failure; {health['plays']} plays; "
        f"answers {answers}; 0 zombies, RSS {rss / 2**20:.1f} -> {daemon.rss() / 2**20:.1f} MiB"
    )
