"""`python -m audiosvc.play` with the page, beside a stand-in for Node: what it starts, says and leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from audiosvc.playground import NODE_LEAST

SERVING = "echo 'audiosvc-gateway is at http://127.0.0.1:1/'; exec sleep 60"


class Checkout:
    """A folder with a built gateway, and a `node` on the path that does as it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        program = folder / "node" / "gateway" / "dist" / "cli.js"
        for made in (folder / "node" / "package.json", folder / "node" / "package-lock.json", program):
            made.parent.mkdir(parents=True, exist_ok=True)
            made.write_text("{}")
        self.bin.mkdir()

    def program(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def node(self, version: str, script: str = SERVING) -> None:
        self.program("node", f'[ "$1" = -p ] && {{ echo {version} "$0"; exit; }}\necho "$@" > argv\n{script}')

    def play(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "audiosvc.play", *arguments],
            cwd=self.folder,
            env={**os.environ, "PATH": f"{self.bin}:/usr/bin:/bin", "TMPDIR": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def outcome(self, *arguments: str) -> tuple[int, str, str]:
        with self.play(*arguments) as process:
            out, errors = process.communicate(timeout=60)
        return process.returncode, out, errors


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_the_page_is_served_for_as_long_as_was_said(checkout: Checkout) -> None:
    checkout.node(f"v{NODE_LEAST}.1.0")
    status, out, errors = checkout.outcome("--seconds", "2", "--port", "0")
    assert (status, errors) == (0, "")
    assert "The playground is at http://127.0.0.1:1/" in out
    assert "http://127.0.0.1:1/?session=one" in out
    argv = (checkout.folder / "argv").read_text().split()
    assert argv[0].endswith("cli.js")
    assert argv[argv.index("--listen") + 1] == "127.0.0.1:0"
    assert not list(checkout.folder.glob("audiosvc-*"))


def test_ctrl_c_ends_it_in_order(checkout: Checkout) -> None:
    checkout.node(
        "v22.0.0", "trap 'touch ended; exit' TERM\necho 'it is at http://127.0.0.1:1/'\nwhile :; do sleep 0.1; done"
    )
    with checkout.play("--port", "0") as process:
        assert process.stdout is not None
        while "playground" not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    assert (checkout.folder / "ended").exists()


@pytest.mark.parametrize(
    ("version", "script", "said"),
    [
        ("v18.20.0", SERVING, "Node 20 or newer; this is v18.20.0"),
        ("nonsense", SERVING, "Node 20 or newer; this is nonsense"),
        ("v22.0.0", "echo 'the port is taken' >&2; exit 1", "the port is taken"),
        ("v22.0.0", "exec sleep 60", "served no page"),
    ],
)
def test_what_keeps_the_page_away_is_told(checkout: Checkout, version: str, script: str, said: str) -> None:
    checkout.node(version, script)
    status, _, errors = checkout.outcome("--seconds", "2")
    assert status == 1
    assert said in errors
    assert "Traceback" not in errors


def test_what_is_older_than_its_sources_is_built(checkout: Checkout) -> None:
    checkout.node("v22.0.0")
    checkout.program("npm", 'echo "$@" >> npm-ran')
    newer = checkout.folder / "node" / "client" / "src" / "index.ts"
    newer.parent.mkdir(parents=True)
    newer.write_text("")
    os.utime(newer, (time.time() + 60, time.time() + 60))
    status, out, _ = checkout.outcome("--seconds", "2")
    assert status == 0
    assert "Building" in out
    ran = (checkout.folder / "node" / "npm-ran").read_text().splitlines()
    assert [line.split()[0] for line in ran] == ["ci", "exec", "exec"]


def test_a_build_that_fails_is_told(checkout: Checkout) -> None:
    checkout.node("v22.0.0")
    checkout.program("npm", "echo no such package >&2; exit 1")
    (checkout.folder / "node" / "gateway" / "dist" / "cli.js").unlink()
    status, _, errors = checkout.outcome("--seconds", "2")
    assert status == 1
    assert "no such package" in errors
