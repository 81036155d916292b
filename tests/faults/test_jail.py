"""Row 34: what makes the jail dies, or a child in it does; what fetches is never let out for that."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.faults.cases import HEARD, case, warm, whole
from tests.faults.harness import Round
from tests.integration.conftest import Start
from tests.integration.harness import twistd, until
from tests.integration.hearing import Hearing
from tests.integration.test_threats import customized
from tests.net.namespaces import jails_possible
from tests.site import media
from tests.site.server import REACHES, Site

pytestmark = pytest.mark.skipif(not jails_possible(), reason="the kernel lets nobody make a network namespace here")

KILLER = """
import subprocess
class Popen(subprocess.Popen):
    def __init__(self, argv, *args, **options):
        super().__init__(argv, *args, **options)
        if any(str(word).endswith({program!r}) for word in argv):
            self.kill()
subprocess.Popen = Popen
"""
"""Kills what the daemon starts of that name, at once."""

PROGRAMS = ("jailer.py", "inmate.py")
"""The one that makes the jail, and the one that tries it."""


def network(pid: int) -> str:
    return str(Path(f"/proc/{pid}/ns/net").readlink())


@pytest_twisted.ensureDeferred
async def test_row_34_without_its_helper_nothing_is_fetched_where_a_jail_is_required(
    start: Start, site: Site, tmp_path: Path
) -> None:
    daemon = await start(*REACHES, "--isolation=require")
    media.content("long.mp3")
    async with Round(daemon, warm=lambda: warm(daemon, site, 2)) as round:
        # There is none that could die later: it hands the jail over and is gone.
        assert len(daemon.children()) == len(round.bystanders.urls)
        hearing = await Hearing(daemon, "jailed", paced=True).play(site.url("media/long.mp3", k="jail"), duration=HEARD)
        jails = set()
        for at in (100, 250):
            await hearing.draw(at - len(hearing.packets))
            (child,) = await until(lambda: daemon.children_with("k=jail"), "a child in the jail")
            jails.add(network(child))
            os.kill(child, signal.SIGKILL)
        await hearing.draw(50)
        (child,) = daemon.children_with("k=jail")
        jails.add(network(child))
        await hearing.end()
        _, wrong = case("in the jail", hearing, whole(hearing)).look()
        assert not wrong
        assert hearing.types == ["ready", "recovered", "recovered", "finished"]
        assert len(jails) == 1
        assert network(daemon.pid) not in jails

        reasons = []
        for program in PROGRAMS:
            environ = customized(tmp_path / program, KILLER.format(program=program))
            folder = tmp_path / f"without-{program}"
            folder.mkdir()
            options = ("--api", "tcp:0:interface=127.0.0.1", "--socket", str(folder / "audio.sock"))
            refused = await deferToThread(twistd, folder, *options, "--isolation=require", **environ)
            said = refused.stdout + refused.stderr
            assert refused.returncode == 1, said
            assert "Traceback" not in said
            reasons += [line.strip() for line in said.splitlines() if "--isolation require: " in line]
        assert len(reasons) == len(PROGRAMS)
        print(*reasons, sep="\n")
        round.report(
            34,
            "kill -9 of two children in the jail; of the helper that makes it; of the one that tries it",
            "recovered twice, each child in the same jail; no helper stays to be killed; "
            "under require no start, with the reason",
            "as row 1; never outside",
        )


@pytest.mark.parametrize("program", PROGRAMS)
@pytest_twisted.ensureDeferred
async def test_row_34_where_a_jail_is_not_required_its_lack_is_told(start: Start, tmp_path: Path, program: str) -> None:
    daemon = await start(**customized(tmp_path / "custom", KILLER.format(program=program)))
    isolation = (await daemon.get("/health"))["isolation"]
    assert (isolation["mode"], isolation["active"]) == ("auto", False)
    assert isolation["why"]
    assert "are not isolated" in daemon.log
