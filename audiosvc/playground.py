"""The playground page from a checkout: Node found, the gateway built, a daemon and the gateway run side by side."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred

from audiosvc.remote import Daemon, Program

NODE_LEAST = 20
"""The oldest major version of Node that the gateway runs on."""

PAGE_PORT = 3000
"""Where the page is served if nothing else is asked for; 0 lets the kernel choose."""

_ADDRESS = re.compile(r"is at (http://\S+)")
_WORKSPACES = ("@audiosvc/client", "@audiosvc/gateway")


class NoPage(Exception):
    """Why there can be no page; told to the user as it stands."""


def find_node() -> str:
    """The program behind the `node` of the PATH, if that is new enough, or `NoPage`."""
    node = shutil.which("node")
    if node is None:
        raise NoPage("the page needs Node, and there is none on the PATH (--no-page does without)")
    # The one on the path may be a script round the real one, which a signal to the script would not end.
    ask = [node, "-p", "process.version + ' ' + process.execPath"]
    said = subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
    version = re.fullmatch(r"v(\d+)\.\S+ (.+)", said)
    if version is None or int(version[1]) < NODE_LEAST:
        raise NoPage(f"the page needs Node {NODE_LEAST} or newer; this is {said or 'none that works'}")
    return version[2]


def build(folder: Path, tell: Callable[[str], None]) -> Path:
    """Install what the gateway needs and compile it, where `folder` holds anything newer; returns its program."""
    program = folder / "gateway" / "dist" / "cli.js"
    sources = [folder / "package-lock.json", *folder.glob("client/src/*.ts"), *folder.glob("gateway/src/*.ts")]
    if not program.is_file() or program.stat().st_mtime < max(source.stat().st_mtime for source in sources):
        tell("Building the page's gateway …")
        only = [option for workspace in _WORKSPACES for option in ("--workspace", workspace)]
        _run(folder, "npm", "ci", "--no-audit", "--no-fund", "--include-workspace-root", *only)
        for workspace in ("client", "gateway"):
            _run(folder, "npm", "exec", "--no", "--", "tsc", "-p", workspace)
    return program


def _run(folder: Path, *argv: str) -> None:
    try:
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NoPage(f"{argv[0]}: {error.strerror}") from error
    if done.returncode:
        raise NoPage(f"{' '.join(argv)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


class Playground:
    """A daemon and the gateway, until `run` is cancelled or either ends."""

    def __init__(self, reactor: Any, node: str, program: Path, port: int, tell: Callable[[str], None]) -> None:
        self._reactor = reactor
        self._node = node
        self._program = program
        self._port = port
        self._tell = tell
        self._shown = False

    async def run(self, seconds: float | None) -> None:
        """For `seconds`, or for ever. Raises `NoPage` when one of the two ends by itself."""
        ended: Deferred[None] = Deferred()
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="audiosvc-")))
            daemon, gateway = Daemon(self._reactor), Program(self._reactor)
            gateway.on_line = self._show
            daemon.start_in(folder)
            stack.push_async_callback(daemon.stop)
            sockets = ("--api", f"unix:{daemon.api}", "--socket", str(daemon.socket))
            gateway.run([self._node, str(self._program), *sockets, "--listen", f"127.0.0.1:{self._port}"])
            stack.push_async_callback(gateway.stop)
            for program in (daemon, gateway):
                program.gone().addCallback(lambda _: None if ended.called else ended.callback(None))
            if seconds is not None:
                ended.addTimeout(seconds, self._reactor, lambda *_: None)
            await ended
            for name, program in (("daemon", daemon), ("gateway", gateway)):
                if program.ended:
                    raise NoPage(program.report(f"the {name} ended"))
            if not self._shown:
                raise NoPage(gateway.report("the gateway served no page"))

    def _show(self, line: str) -> None:
        if found := _ADDRESS.search(line):
            self._shown = True
            url = found[1]
            self._tell(
                f"\n  The playground is at {url}\n\n"
                f"  One listener a tab: {url}?session=one and {url}?session=two\n"
                "  Ctrl-C ends it.\n"
            )
