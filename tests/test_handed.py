"""Sockets of systemd's are taken by their names, and served without being taken away from it."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import Any, cast

from twisted.internet.endpoints import _SystemdParser
from twisted.internet.interfaces import IReactorSocket
from twisted.internet.protocol import Factory, Protocol
from twisted.python.systemd import ListenFDs
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.handed import HandedError, is_local, listen_handed, take_handed
from audiosvc.options import Options
from tests.fakes import FakeReactor


class HandedTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name) / "s"
        self.reactor = cast(Any, FakeReactor())

    def unix(self, path: Path | None = None, kind: int = socket.SOCK_STREAM) -> socket.socket:
        return self.opened(socket.AF_UNIX, str(path or self.path), kind)

    def tcp(self, host: str = "127.0.0.1", family: int = socket.AF_INET) -> socket.socket:
        return self.opened(family, (host, 0), socket.SOCK_STREAM)

    def opened(self, family: int, address: Any, kind: int) -> socket.socket:
        made = socket.socket(family, kind)
        self.addCleanup(made.close)
        made.bind(address)
        if kind == socket.SOCK_STREAM:
            made.listen(2)
        return made

    def hand(self, *sockets: tuple[str, socket.socket]) -> str:
        """As systemd does it: descriptors of their own, inherited by whatever is started. Returns their names."""
        descriptors = [os.dup(made.fileno()) for _, made in sockets]
        for descriptor in descriptors:
            os.set_inheritable(descriptor, True)
        names = [name for name, _ in sockets]
        self.patch(_SystemdParser, "_sddaemon", ListenFDs(descriptors, names))
        return ":".join(names)

    def taken(self, *sockets: tuple[str, socket.socket]) -> dict[str, socket.socket]:
        found = take_handed(self.reactor, self.hand(*sockets))
        for listening in found.values():
            self.addCleanup(listening.close)
        return found


class TakenTests(HandedTestCase):
    def test_none_are_taken_where_none_are_handed_over(self) -> None:
        self.assertEqual(self.taken(), {})

    def test_they_are_taken_by_their_names_in_whatever_order(self) -> None:
        packets, api = self.unix(), self.tcp()
        for order in ((("packets", packets), ("api", api)), (("api", api), ("packets", packets))):
            found = self.taken(*order)
            self.assertEqual(found["packets"].getsockname(), str(self.path))
            self.assertEqual(found["api"].getsockname(), api.getsockname())
        self.assertEqual(list(self.taken(("packets", packets))), ["packets"])

    def test_children_do_not_inherit_them(self) -> None:
        (listening,) = self.taken(("packets", self.unix())).values()
        self.assertFalse(listening.get_inheritable())
        self.assertFalse(listening.getblocking())

    def test_one_that_nobody_would_accept_from_is_refused(self) -> None:
        for name in ("audiosvc.socket", "packets"):
            told = self.hand(("packets", self.unix()), (name, self.tcp()))
            error = self.assertRaises(HandedError, take_handed, self.reactor, told)
            self.assertIn(f"packets:{name}", str(error))
            self.path.unlink()

    def test_one_of_another_kind_is_refused(self) -> None:
        quiet = socket.socket(socket.AF_UNIX)
        self.addCleanup(quiet.close)
        for name, made, said in (
            ("packets", self.tcp(), "not a Unix socket that listens"),
            ("packets", quiet, "not a Unix socket that listens"),
            ("packets", self.unix(kind=socket.SOCK_SEQPACKET), "not a Unix socket that listens"),
            ("api", self.unix(self.path.with_name("d"), socket.SOCK_DGRAM), "not a TCP or Unix socket that listens"),
        ):
            self.assertIn(said, str(self.assertRaises(HandedError, self.taken, (name, made))))

    def test_what_is_no_socket_is_refused(self) -> None:
        self.patch(_SystemdParser, "_sddaemon", ListenFDs([os.open("/", os.O_RDONLY)], ["api"]))
        self.assertIn("'api'", str(self.assertRaises(HandedError, take_handed, self.reactor, "api")))

    def test_only_loopback_and_unix_sockets_are_local(self) -> None:
        for local in (self.unix(), self.tcp(), self.tcp("127.0.0.2"), self.tcp("::1", socket.AF_INET6)):
            self.assertTrue(is_local(local))
        self.assertFalse(is_local(self.tcp("0.0.0.0")))
        self.assertFalse(is_local(self.tcp("::", socket.AF_INET6)))


class OptionsTests(HandedTestCase):
    def parsed(self, *arguments: str) -> Options:
        options = Options({})
        options.parseOptions(list(arguments))
        for listening in options.handed.values():
            self.addCleanup(listening.close)
        return options

    def test_the_options_hold_what_is_handed_over(self) -> None:
        self.hand(("api", self.tcp()), ("packets", self.unix()))
        self.assertEqual(list(self.parsed().handed), ["api", "packets"])

    def test_a_handed_api_beyond_this_machine_wants_a_token(self) -> None:
        self.hand(("api", self.tcp("0.0.0.0")))
        self.assertIn("--token-file", str(self.assertRaises(UsageError, self.parsed)))
        token = self.path.with_name("token")
        token.write_text("t" * 32)
        self.hand(("api", self.tcp("0.0.0.0")))
        self.assertEqual(list(self.parsed("--token-file", str(token)).handed), ["api"])

    def test_one_that_cannot_be_served_ends_the_start(self) -> None:
        self.hand(("packets", self.tcp()))
        self.assertIn("Unix socket", str(self.assertRaises(UsageError, self.parsed)))

    def test_they_are_not_asked_for_as_endpoints(self) -> None:
        told = self.assertRaises(UsageError, self.parsed, "--api", "systemd:domain=UNIX:name=packets")
        self.assertIn("name systemd's socket api", str(told))


class Greeter(Protocol):
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello")
        self.transport.loseConnection()


class ServedTests(HandedTestCase):
    """On the process's own reactor, since fakes have no file and no backlog; nothing here waits for it."""

    def serve(self, listening: socket.socket) -> Any:
        from twisted.internet import reactor

        listening.setblocking(False)
        return listen_handed(cast(IReactorSocket, reactor), listening, Factory.forProtocol(Greeter))

    def test_a_unix_socket_keeps_its_file_its_mode_and_its_queue(self) -> None:
        systemd = self.unix()
        self.path.chmod(0o640)
        for _ in range(2):
            port = self.serve(systemd.dup())
            self.assertEqual(port.getHost().name, str(self.path).encode())
            port.connectionLost(None)
            self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o640)
            self.wait_in(systemd, str(self.path))

    def test_a_tcp_socket_keeps_its_queue(self) -> None:
        systemd = self.tcp()
        for _ in range(2):
            port = self.serve(systemd.dup())
            self.assertEqual((port.getHost().host, port.getHost().port), systemd.getsockname())
            port.connectionLost(None)
            self.wait_in(systemd, systemd.getsockname())

    def test_the_queue_of_a_unix_socket_is_as_long_as_the_kernel_lets_it_be(self) -> None:
        systemd = self.unix()
        self.serve(systemd.dup()).connectionLost(None)
        # Two was its length; a connection past it would not be taken.
        for _ in range(20):
            client = socket.socket(socket.AF_UNIX)
            self.addCleanup(client.close)
            client.setblocking(False)
            self.assertEqual(client.connect_ex(str(self.path)), 0)

    def wait_in(self, systemd: socket.socket, address: Any) -> None:
        """Nobody accepts; a connection is made all the same, and is there for the next."""
        with socket.socket(systemd.family) as client:
            client.settimeout(5)
            client.connect(address)
            systemd.accept()[0].close()
