"""A door, a reactor and workers that do nothing by themselves; and a door that is a site, for real workers."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from audiosvc.errors import AudioServiceError
from audiosvc.interfaces import IPermit, IReactor

TRACK = {
    "type": "track", "url": "http://media.example/a.mp3", "headers": {}, "title": "A song", "duration": 12.5,
    "thumbnail": None, "uploader": None, "live": False, "codec": "mp3", "ext": "mp3", "protocol": "http",
    "playlist": None,
}  # fmt: skip

PLANT = 'from pathlib import Path\nPath("{marker}").write_text("ran")\n'
USER_AGENT = "EVIL"
"""What the planted settings would send."""

ENTRY = {"url": "http://page.example/1", "title": "One", "duration": None, "thumbnail": None, "uploader": None}


def plant(home: Path, marker: Path) -> dict[str, str]:
    """Plugins and settings wherever yt-dlp looks for them; returns the environment that leads there.

    Whatever runs any of it leaves `marker` behind.
    """
    for place in ("", ".config/yt-dlp/plugins/evil", ".yt-dlp/plugins/evil", "yt-dlp-plugins/evil", "libs"):
        for kind in ("extractor", "postprocessor"):
            plugin = home / place / "yt_dlp_plugins" / kind / "evil.py"
            plugin.parent.mkdir(parents=True, exist_ok=True)
            plugin.write_text(PLANT.format(marker=marker))
    for place in ("yt-dlp.conf", ".config/yt-dlp/config", ".config/yt-dlp.conf", ".yt-dlp/config"):
        (home / place).write_text(f"--user-agent {USER_AGENT}\n--netrc\n--proxy ''\n--exec 'touch {marker}'\n")
    (home / ".netrc").write_text("default login user password secret\n")
    (home / "yt_dlp.py").write_text(PLANT.format(marker=marker))
    return {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(home / "libs"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "no_proxy": "*",
        "NO_PROXY": "*",
    }


class FakePermit:
    def __init__(self, label: str, most: int | None, proxy: str, prefix: Sequence[str] = ()) -> None:
        self.label = label
        self.most = most
        self.environment: Mapping[str, str] = {"http_proxy": proxy}
        self.prefix = prefix
        self.denial: AudioServiceError | None = None
        self.trouble: AudioServiceError | None = None
        self.closed = 0

    def flowing(self) -> None:
        raise AssertionError("nothing flows here")

    def close(self) -> None:
        self.closed += 1


class FakeDoor:
    """Gives permits out and remembers them. With `shut`, it raises that instead."""

    def __init__(self) -> None:
        self.permits: list[FakePermit] = []
        self.prefix: tuple[str, ...] = ()
        self.shut: AudioServiceError | None = None

    def permit(self, label: str, most: int | None = None) -> IPermit:
        if self.shut is not None:
            raise self.shut
        number = len(self.permits)
        self.permits.append(FakePermit(label, most, f"http://n{number}:token{number}@127.0.0.1:3128", self.prefix))
        return self.permits[-1]

    @property
    def open(self) -> list[str]:
        return [permit.label for permit in self.permits if not permit.closed]


class FakeProcess:
    """A worker's side of its pipes. It is its own process transport."""

    pid = 2**22 + 1  # beyond what Linux gives out: what is done to it is done to nobody

    def __init__(self, protocol: ProcessProtocol, argv: list[str], environment: dict[str, str]) -> None:
        self.protocol = protocol
        self.argv = argv
        self.environment = environment
        self.calls: list[dict[str, Any]] = []
        self.alive = True

    def write(self, data: bytes) -> None:
        self.calls += [json.loads(line) for line in data.splitlines()]

    def loseConnection(self) -> None:
        pass

    def say(self, message: object) -> None:
        self.protocol.outReceived(json.dumps(message).encode() + b"\n")

    def ready(self) -> None:
        self.say({"ready": "2026.10.26"})

    def answer(self, ok: object = None, last: bool = False) -> None:
        self.say({"id": self.calls[-1]["id"], "last": last, "ok": ok or TRACK})

    def refuse(self, kind: str, message: str = "") -> None:
        self.say({"id": self.calls[-1]["id"], "last": False, "error": {"kind": kind, "message": message}})

    def exit(self, status: int = 0) -> None:
        if self.alive:
            self.alive = False
            reason = Failure(ProcessTerminated(status) if status else ProcessDone(0))
            self.protocol.processExited(reason)
            self.protocol.processEnded(reason)

    @property
    def killed(self) -> bool:
        return cast(bool, cast(Any, self.protocol).killed)


class FakeReactor(Clock):
    """Spawns fake workers; `reap` ends those that were killed."""

    def __init__(self) -> None:
        super().__init__()
        self.workers: list[FakeProcess] = []
        self.spawn_error: OSError | None = None

    def spawnProcess(self, protocol: Any, executable: str, args: list[str], env: Any, childFDs: Any) -> Any:
        assert executable == args[0]
        assert childFDs == {0: "w", 1: "r", 2: "r"}
        if self.spawn_error is not None:
            raise self.spawn_error
        self.workers.append(FakeProcess(protocol, args, env))
        protocol.makeConnection(self.workers[-1])
        return self.workers[-1]

    def reap(self) -> None:
        for worker in self.workers:
            if worker.killed:
                worker.exit(9)

    @property
    def as_reactor(self) -> IReactor:
        return cast(IReactor, self)


class WebDoor:
    """A door that is the web itself: a site that answers as a proxy is asked, whatever the host, by `pages`.

    No name is looked up and nothing else is reached; what was asked is in `asked`, each with the token's name. CONNECT
    is refused, as by a guard.
    """

    def __init__(self, reactor: Any, pages: Mapping[str, Callable[[Request], bytes | int]]) -> None:
        self.asked: list[tuple[str, str]] = []
        self.permits: list[FakePermit] = []
        self._tokens: dict[str, FakePermit] = {}
        self.factory = Site(_Web(self, pages))
        self._listening: IListeningPort = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.port = self._listening.getHost().port

    def permit(self, label: str, most: int | None = None) -> IPermit:
        name, token = f"p{len(self.permits)}", secrets.token_hex(8)
        made = FakePermit(label, most, f"http://{name}:{token}@127.0.0.1:{self.port}")
        self.permits.append(made)
        self._tokens[base64.b64encode(f"{name}:{token}".encode()).decode()] = made
        return made

    def holder(self, request: Request) -> FakePermit | None:
        shown = (request.getHeader("proxy-authorization") or "").removeprefix("Basic ")
        permit = self._tokens.get(shown)
        return permit if permit is not None and not permit.closed else None

    @property
    def urls(self) -> list[str]:
        return [url for url, _ in self.asked]

    def close(self) -> Any:
        return self._listening.stopListening()


class _Web(Resource):
    isLeaf = True

    def __init__(self, door: WebDoor, pages: Mapping[str, Callable[[Request], bytes | int]]) -> None:
        super().__init__()
        self._door = door
        self._pages = pages

    def render(self, request: Request) -> bytes | int:
        permit = self._door.holder(request)
        url = request.uri.decode()
        if permit is None:
            request.setResponseCode(407)
            request.setHeader("Proxy-Authenticate", "Basic")
            return b""
        self._door.asked.append((url, permit.label))
        page = self._pages.get(url)
        if request.method == b"CONNECT" or page is None:
            request.setResponseCode(403 if request.method == b"CONNECT" else 404)
            return b"no"
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        return page(request)


__all__ = ["ENTRY", "NOT_DONE_YET", "TRACK", "FakeDoor", "FakePermit", "FakeProcess", "FakeReactor", "WebDoor", "plant"]
