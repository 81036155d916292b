"""Threats on the daemon's own machine: what is planted, what other users may see, what ends up in the log."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.extract.support import USER_AGENT, plant
from tests.integration.conftest import Start
from tests.integration.harness import until
from tests.integration.hearing import Hearing
from tests.integration.test_threats import FIXTURES, customized, found_first
from tests.site import media
from tests.site.server import REACHES, Site

LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S* \[\S+\] ")

STAND_IN = """
from pathlib import Path
from audiosvc.extract import extractors
extractors.WORKER = Path({worker!r})
"""

NOBODY = 65534


@contextlib.contextmanager
def somebody_else() -> Iterator[None]:
    """As another user of the machine, for as long as nothing else runs."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def command_lines() -> bytes:
    """Of every process, as every user may read them."""
    said = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            said += path.read_bytes()
    return said


@pytest_twisted.ensureDeferred
async def test_nothing_that_is_planted_is_run_or_obeyed(start: Start, site: Site, tmp_path: Path) -> None:
    home, marker = tmp_path / "home", tmp_path / "marker"
    home.mkdir()
    environ = plant(home, marker)
    daemon = await start(*REACHES, **environ | found_first(environ["PYTHONPATH"]))
    # The folder it was started in is no better than a home.
    plant(daemon.folder, marker)
    hearing = await Hearing(daemon, "s").play(site.url("page/audio"))
    await hearing.end()
    sent = [hit.headers for hit in site.hits]
    print(f"\n{hearing.outcome}; {len(sent)} requests, something planted was run: {marker.exists()}")
    assert (hearing.outcome, hearing.seconds) == ("finished", pytest.approx(media.SECONDS, abs=0.06))
    assert not marker.exists()
    assert [headers for headers in sent if USER_AGENT in str(headers) or "authorization" in headers] == []


@pytest_twisted.ensureDeferred
async def test_an_extractor_that_was_taken_over_neither_injects_headers_nor_lines(
    start: Start, site: Site, tmp_path: Path
) -> None:
    code = STAND_IN.format(worker=str(FIXTURES / "loud_worker.py"))
    daemon = await start(*REACHES, **customized(tmp_path / "custom", code))
    hearing = await Hearing(daemon, "good").play(site.url("page/nothing", finds="mp3.mp3"))
    await hearing.end()
    asked = site.asked("media/mp3.mp3")
    names = {name for hit in asked for name in hit.headers}
    ready = hearing.ready
    print(f"\n{hearing.outcome}: {len(asked)} requests for the media, with {sorted(names)}; called {ready.title!r}")
    assert hearing.outcome == "finished"
    assert "a=b" in {hit.headers.get("cookie") for hit in asked}
    assert names <= {"accept", "user-agent", "range", "connection", "host", "icy-metadata", "cookie"}
    assert {hit.headers["host"] for hit in asked} == {urlsplit(site.url("")).netloc}
    assert not [hit for hit in asked if hit.headers.get("range") == "bytes=5-"]
    assert site.asked("injected") == []
    assert (ready.title, ready.thumbnail) == ("[31mred next {0.__class__} %s", None)
    for name in ("crash", "trouble"):
        bad = await Hearing(daemon, name).play(site.url("page/nothing", finds=name))
        await bad.end()
        assert bad.types == ["error"]
    # A client of the socket's, and a caller of the API's, who try the same.
    client = await daemon.connect()
    for line in (
        b'{"type": "\\u001b[31m\\n{0.__class__}"}\n',
        b'{"type":"credit","session_id":"\x1b\\n","packets":1}\n',
    ):
        client.send_raw(line)
    await until(lambda: len(client.received) > 2, "it is told what was refused")
    await daemon.request("GET", "/metadata?url=http%3A%2F%2F127.0.0.2%2F%1b%5B31m%0A%7B0.__class__%7D")
    await daemon.request("GET", "/%1b%5B31m%0A%7B0.__class__%7D")
    lines = daemon.log.splitlines()
    print("\n".join(line for line in lines if "extractor" in line or "refused" in line))
    assert [line for line in lines if not LOG_LINE.match(line)] == []
    assert not [character for character in daemon.log if not character.isprintable() and character != "\n"]
    assert sum("{0.__class__} %s" in line for line in lines) >= 3, "it is told, on a line"


@pytest.mark.skipif(os.geteuid() != 0, reason="to be another user takes root")
@pytest_twisted.ensureDeferred
async def test_another_user_gets_neither_sound_nor_secrets(start: Start, site: Site, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(token := "t" * 8 + "-of-the-api-and-of-nothing-else")
    (tmp_path / "cookies").write_text("127.0.0.1\tFALSE\t/\tFALSE\t0\towner\tsecret-of-the-operator\n")
    options = ("--token-file", str(tmp_path / "token"), "--cookies", str(tmp_path / "cookies"), "--isolation", "off")
    with tempfile.TemporaryDirectory() as folder:
        # Others may go there, so that nothing but the socket itself keeps them out.
        Path(folder).chmod(0o755)
        daemon = await start(*REACHES, *options, f"--socket={folder}/s")
        daemon.socket = Path(folder, "s")
        daemon.headers = {"Authorization": f"Bearer {token}"}
        page = await Hearing(daemon, "page").play(site.url("page/audio"))
        await page.draw(10)
        hearing = await Hearing(daemon, "endless").play(site.url("endless/mp3.mp3"))
        await hearing.draw(10)
        (pid,) = [pid for pid in daemon.live_children() if b"endless" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        environ = Path(f"/proc/{pid}/environ").read_bytes()
        found = re.search(rb"http_proxy=(http://[^\0]+)", environ)
        assert found is not None
        way = urlsplit(found[1].decode())
        assert way.password is not None and way.port is not None

        with somebody_else():
            seen = command_lines()
            for private in (f"/proc/{pid}/environ", f"/proc/{daemon.pid}/environ", tmp_path / "token"):
                with pytest.raises(PermissionError):
                    Path(private).read_bytes()
            with socket.socket(socket.AF_UNIX) as client, pytest.raises(PermissionError):
                client.connect(str(daemon.socket))
        # Were its mode another, the kernel would still say who it is that connects.
        daemon.socket.chmod(0o666)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            with somebody_else():
                client.connect(str(daemon.socket))
            assert await deferToThread(client.recv, 1) == b"", "closed before a byte"
        daemon.socket.chmod(0o600)
        assert f"another user, {NOBODY}" in daemon.log
        print(f"\nrefused to another user: environments, token file, socket; {len(seen)} bytes of command lines seen")
        assert b"endless/mp3.mp3" in seen, "URLs are seen by everybody"
        for secret in (way.password, token, "secret-of-the-operator"):
            assert secret.encode() not in seen
            assert secret not in daemon.log

        shown = base64.b64encode(f"{way.username}:{way.password}".encode()).decode()
        url = site.url("media/mp3.mp3")

        def by_the_door() -> bytes:
            with socket.create_connection(("127.0.0.1", way.port or 0), 5) as connection:
                connection.sendall(
                    f"GET {url} HTTP/1.1\r\nProxy-Authorization: Basic {shown}\r\nHost: x\r\n\r\n".encode()
                )
                return connection.recv(100).partition(b"\r\n")[0]

        assert await deferToThread(by_the_door) == b"HTTP/1.1 200 OK"
        await daemon.post("/session/endless/stop")
        await until(lambda: pid not in daemon.children(), "the child is reaped")
        await daemon.get("/health")
        answer = await deferToThread(by_the_door)
        print(f"its token after its end: {answer.decode()}")
        assert b" 407 " in answer
        await daemon.stop()
