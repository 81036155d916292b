"""What can be said on the command line and in the environment, and that the parts are joined and taken apart again."""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import twisted.internet
from twisted.internet.error import CannotListenError
from twisted.logger import capturedLogs
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from audiosvc import __version__, tap
from audiosvc.delivery.socket import SocketPlace, SocketPlaceError
from audiosvc.errors import BlockedAddress
from audiosvc.hardening import Hardening
from audiosvc.net.door import Door
from audiosvc.net.jail import Jail, JailError
from audiosvc.options import TOKEN_BYTES_LEAST, Options
from audiosvc.session.track import Play
from audiosvc.tap import SHUTDOWN_SECONDS, AudioService, makeService
from audiosvc.vitals import IsolationVitals, RestartVitals
from tests.fakes import FakeReactor, open_fds

TOKEN = "t" * TOKEN_BYTES_LEAST


def parsed(*arguments: str, **environ: str) -> Options:
    options = Options(environ)
    options.parseOptions(list(arguments))
    return options


class OptionsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        # trial's own temporary folders have names too long for a socket's path.
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name) / "made"
        self.folder.mkdir(parents=True)

    def file(self, name: str, content: str | bytes, mode: int = 0o600) -> str:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return str(path)

    def assert_refused(self, *arguments: str, **environ: str) -> str:
        """The words of the refusal; they name the option."""
        error = self.assertRaises(UsageError, parsed, *arguments, **environ)
        self.assertIn(arguments[0] if arguments else "--", str(error))
        return str(error)


class OptionsTests(OptionsTestCase):
    def test_nothing_has_to_be_said(self) -> None:
        options = parsed(XDG_RUNTIME_DIR="/run/user/7")
        self.assertEqual(options["api"], "tcp:8180:interface=127.0.0.1")
        self.assertEqual(options["socket"], Path("/run/user/7/audiosvc/audio.sock"))
        self.assertEqual((options["media-root"], options.token, options["allowed-host"]), (None, None, []))
        self.assertEqual((options["max-sessions"], options["bitrate"], options["opus-complexity"]), (200, 128_000, 10))
        self.assertEqual((options["consumer-timeout"], options["idle-timeout"]), (60.0, 1800.0))
        self.assertEqual(options["encoder-threads"], os.cpu_count())
        self.assertTrue(os.access(options["ffmpeg"], os.X_OK))

    def test_each_option_is_a_variable_too(self) -> None:
        token = self.file("token", TOKEN + "\n")
        ffmpeg = self.file("ffmpeg", "#!/bin/sh\necho ffmpeg version 9\n", 0o700)
        cookies = self.file("cookies", "# Netscape HTTP Cookie File\n")
        wanted: dict[str, tuple[str, Any]] = {
            "api": ("tcp:0:interface=127.0.0.1", "tcp:0:interface=127.0.0.1"),
            "socket": ("/run/x.sock", Path("/run/x.sock")),
            "media-root": (str(self.folder), self.folder.resolve()),
            "max-sessions": ("7", 7),
            "consumer-timeout": ("2.5", 2.5),
            "idle-timeout": ("90", 90.0),
            "bitrate": ("64000", 64_000),
            "opus-complexity": ("0", 0),
            "encoder-threads": ("3", 3),
            "ffmpeg": (ffmpeg, str(Path(ffmpeg).absolute())),
            "token-file": (token, token),
            "allowed-host": ("a.example, B.example,", ["a.example", "B.example"]),
            "overload": ("refuse", "refuse"),
            "log-format": ("json", "json"),
            "log-level": ("warn", "warn"),
            "isolation": ("require", "require"),
            "allow-host": ("radio.lan:8000, 10.1.2.3", "radio.lan:8000, 10.1.2.3"),
            "allow-net": ("192.168.7.0/24", "192.168.7.0/24"),
            "extractors": ("0", 0),
            "cookies": (cookies, cookies),
            "cache-size": ("64K", 65_536),
            "cache-dir": ("/var/cache/x", Path("/var/cache/x")),
            "cache-dir-size": ("2GiB", 2 * 1024**3),
            "state-file": ("/var/lib/x", Path("/var/lib/x")),
        }
        self.assertEqual(set(wanted), {row[0] for row in Options.optParameters})
        for name, (text, value) in wanted.items():
            variable = f"AUDIOSVC_{name.upper().replace('-', '_')}"
            self.assertEqual(parsed(f"--{name}", text)[name], value)
            self.assertEqual(parsed(**{variable: text})[name], value)
            self.assertEqual(parsed(**{variable: ""})[name], parsed()[name], "set to nothing is not set")

    def test_a_switch_is_a_variable_too(self) -> None:
        self.assertFalse(parsed()["list-files"])
        self.assertTrue(parsed("--list-files")["list-files"])
        for text, on in (("1", True), ("yes", True), ("0", False), ("no", False), ("", False)):
            self.assertEqual(bool(parsed(AUDIOSVC_LIST_FILES=text)["list-files"]), on)

    def test_what_is_fetched_from_is_what_is_public_and_what_the_operator_names(self) -> None:
        self.assertRaises(BlockedAddress, parsed().policy.check, "192.168.7.9", 80)
        options = parsed("--allow-net", "192.168.7.0/24", "--allow-host", "10.1.2.3:8000")
        options.policy.check("192.168.7.9", 80)
        options.policy.check("10.1.2.3", 8000)
        self.assertRaises(BlockedAddress, options.policy.check, "10.1.2.3", 8001)
        for name, wrong in (("host", "a b"), ("host", "a:b"), ("net", "192.168.7.1/24"), ("net", "home")):
            self.assert_refused(f"--allow-{name}", wrong)

    def test_cookies_are_in_netscapes_format(self) -> None:
        text = "# Netscape HTTP Cookie File\n.example.org\tTRUE\t/\tFALSE\t0\tname\tvalue\n"
        self.assertEqual(parsed("--cookies", self.file("cookies", text)).cookies, text)
        for wrong in (b"\xff\xfe", b"name=value"):
            self.assert_refused("--cookies", self.file("cookies", wrong))
        self.assert_refused("--cookies", str(self.folder / "nowhere"))

    def test_sizes_have_units(self) -> None:
        self.assertEqual(parsed()["cache-size"], 128 * 1024**2)
        for text, size in (("0", 0), ("65536", 65_536), ("1k", 1024), ("3MB", 3 * 1024**2), ("1T", 1024**4)):
            self.assertEqual(parsed("--cache-size", text)["cache-size"], size)
            self.assertEqual(parsed("--cache-dir-size", text)["cache-dir-size"], size)
        for wrong in ("", "-1", "M", "1.5G", "1X", "1" * 13, "\u0661"):
            self.assert_refused("--cache-size", wrong)

    def test_tracks_are_kept_on_disk_where_there_is_a_folder_for_it(self) -> None:
        self.assertIsNone(parsed()["cache-dir"])
        self.assertEqual(parsed(CACHE_DIRECTORY="/var/cache/a:/var/cache/b")["cache-dir"], Path("/var/cache/a/tracks"))
        self.assertIsNone(parsed(CACHE_DIRECTORY="relative")["cache-dir"])
        self.assertEqual(parsed("--cache-dir", "/x", CACHE_DIRECTORY="/var/cache/a")["cache-dir"], Path("/x"))

    def test_what_plays_is_kept_where_there_is_a_file_for_it(self) -> None:
        self.assertIsNone(parsed()["state-file"])
        self.assertEqual(parsed(STATE_DIRECTORY="/var/lib/a")["state-file"], Path("/var/lib/a/sessions"))
        self.assertEqual(parsed(AUDIOSVC_STATE_FILE="/x", STATE_DIRECTORY="/a")["state-file"], Path("/x"))
        self.assertIsNone(parsed("--state-file=", STATE_DIRECTORY="/var/lib/a")["state-file"])
        self.assert_refused("--state-file", str(self.folder))

    def test_some_are_one_of_a_few_words(self) -> None:
        for name, default, wrong in (
            ("overload", "lower", "on"),
            ("isolation", "auto", "maybe"),
            ("log-format", "text", "xml"),
            ("log-level", "info", "critical"),
        ):
            self.assertEqual(parsed()[name], default)
            self.assert_refused(f"--{name}", wrong)

    def test_the_command_line_goes_before_the_environment(self) -> None:
        options = parsed("--bitrate", "7000", "-s", "/a", AUDIOSVC_BITRATE="8000", AUDIOSVC_SOCKET="/b")
        self.assertEqual((options["bitrate"], options["socket"]), (7000, Path("/a")))

    def test_a_variable_is_checked_like_an_option(self) -> None:
        self.assertIn("--max-sessions", self.assert_refused(AUDIOSVC_MAX_SESSIONS="many"))

    def test_numbers_have_their_bounds(self) -> None:
        for name, least, most in (
            ("max-sessions", "1", "10000"),
            ("consumer-timeout", "1", "86400"),
            ("idle-timeout", "1", "604800"),
            ("bitrate", "6000", "510000"),
            ("opus-complexity", "0", "10"),
            ("encoder-threads", "1", "256"),
            ("extractors", "0", "32"),
        ):
            self.assertEqual([parsed(f"--{name}", bound)[name] for bound in (least, most)], [int(least), int(most)])
            for wrong in (str(int(least) - 1), str(int(most) + 1), "-5", "x", "", "nan", "inf", "1" * 400):
                self.assert_refused(f"--{name}", wrong)
        self.assert_refused("--bitrate", "64000.5")

    def test_what_is_no_option_is_refused(self) -> None:
        for arguments in (("--nonsense",), ("--nonsense", "1"), ("--bitrate",)):
            self.assertRaises(UsageError, parsed, *arguments)
        self.assertRaises(UsageError, parsed, "leftover")

    def test_the_media_root_is_a_folder_that_is_there(self) -> None:
        link = self.folder / "link"
        link.symlink_to(self.folder.absolute())
        self.assertEqual(parsed("--media-root", str(link))["media-root"], self.folder.resolve())
        self.assert_refused("--media-root", str(self.folder / "nowhere"))
        self.assert_refused("--media-root", self.file("file", ""))

    def test_ffmpeg_is_a_file_that_can_be_run(self) -> None:
        self.assert_refused("--ffmpeg", "/nowhere/ffmpeg")
        self.assert_refused("--ffmpeg", str(self.folder))
        self.assert_refused("--ffmpeg", self.file("ffmpeg", "", 0o600))

    def test_allowed_hosts_are_names(self) -> None:
        for wrong in ("a b", "http://a", "a:80", "a,b/c", "ä.example"):
            self.assert_refused("--allowed-host", wrong)

    def test_a_token_is_long_and_plain(self) -> None:
        self.assertEqual(parsed("--token-file", self.file("good", f"  {TOKEN}\n\n")).token, TOKEN.encode())
        for wrong in ("", "\n", TOKEN[1:], TOKEN + " " + TOKEN, TOKEN + "\x7f", TOKEN + "\x00", TOKEN + "é"):
            self.assert_refused("--token-file", self.file("wrong", wrong))
        self.assert_refused("--token-file", str(self.folder / "nowhere"))
        self.assert_refused("--token-file", str(self.folder))

    def test_without_a_token_only_this_machine_is_listened_to(self) -> None:
        token = self.file("token", TOKEN)
        for local in (
            "tcp:8180:interface=127.0.0.1",
            "tcp:8180:interface=127.9.9.9",
            "tcp:8180:interface=localhost",
            r"tcp6:8180:interface=\:\:1",
            "unix:/run/api.sock:mode=660",
        ):
            self.assertEqual(parsed("--api", local)["api"], local)
        # Nobody else's, unless it is said that it is.
        self.assertEqual(parsed("--api", "unix:/run/api.sock")["api"], "unix:/run/api.sock:mode=600")
        for wide in (
            "tcp:8180",
            "tcp:8180:interface=0.0.0.0",
            "tcp:8180:interface=192.168.1.2",
            "tcp:8180:interface=example.org",
            "tcp6:8180",
            "stdio:",
        ):
            self.assertIn("--token-file", self.assert_refused("--api", wide))
            self.assertEqual(parsed("--api", wide, "--token-file", token)["api"], wide)

    def test_an_api_that_is_no_endpoint_is_refused(self) -> None:
        for wrong in ("foo", "foo:1", "tcp", "tcp:x", "tcp:1:2:3:4:5", "ssl:1", "systemd:domain=X:index=0", "unix"):
            self.assertIn("is no endpoint", self.assert_refused("--api", wrong))


class ServiceTestCase(OptionsTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.reactor = FakeReactor()
        self.patch(tap, "time", SimpleNamespace(monotonic=lambda: self.reactor.rightNow))
        self.patch(tap, "isolate", self.isolate)
        self.socket = self.folder / "audio.sock"

    def isolate(self, mode: str, hardening: Hardening) -> tuple[Jail | None, IsolationVitals]:
        """A machine where there can be no jail."""
        if mode == "require":
            raise JailError("the kernel says no")
        return None, IsolationVitals(mode, False, True, "the kernel says no")

    def make(self, *arguments: str) -> AudioService:
        options = parsed("--socket", str(self.socket), "--encoder-threads", "1", *arguments)
        return AudioService(options, self.reactor.as_reactor)

    def start(self, *arguments: str) -> AudioService:
        service = self.make(*arguments)
        service.startService()
        return service


class StartTests(ServiceTestCase):
    def test_it_starts_without_isolation_where_that_may_be_and_says_so(self) -> None:
        service = self.start()
        self.assertEqual(service.vitals().isolation, IsolationVitals("auto", False, True, "the kernel says no"))

    def test_it_does_not_start_without_an_isolation_that_is_required(self) -> None:
        service = self.make("--isolation", "require")
        self.assertIn("the kernel says no", str(self.assertRaises(SystemExit, service.startService)))

    def test_it_listens_in_both_places_and_others_stay_out_of_the_socket(self) -> None:
        masks: list[int] = []
        listen = self.reactor.listenUNIX

        def listen_masked(*arguments: Any, **options: Any) -> Any:
            masks.append(os.umask(0o077))
            os.umask(masks[-1])
            return listen(*arguments, **options)

        self.patch(self.reactor, "listenUNIX", listen_masked)
        before = os.umask(0o022)
        self.addCleanup(os.umask, before)
        service = self.start()
        self.assertEqual(os.umask(0o022), 0o022)
        self.assertEqual(masks, [0o177])
        ((address, factory, _, mode, lock),) = self.reactor.unixServers
        self.assertEqual((address, mode, lock), (str(self.socket.absolute()), 0o600, 0))
        self.assertEqual(factory.buildProtocol(None).__class__.__module__, "audiosvc.delivery.protocol")
        (_, door, _, _), (port, _, _, interface) = self.reactor.tcpServers
        self.assertIsInstance(door, Door)
        self.assertEqual((port, interface), (8180, "127.0.0.1"))
        self.successResultOf(service.stopService())

    def test_a_path_with_colons_and_spaces_is_a_path(self) -> None:
        self.socket = self.folder / "a:b=c \\d.sock"
        self.successResultOf(self.start().stopService())
        self.assertEqual(self.reactor.unixServers[0][0], str(self.socket.absolute()))

    def test_time_never_goes_back(self) -> None:
        self.make()
        self.assertIs(self.reactor.seconds, tap.time.monotonic)

    def test_a_place_that_cannot_be_had_ends_the_start(self) -> None:
        self.file("audio.sock", "precious")
        told = self.assertRaises(SystemExit, self.start)
        self.assertIn("is no socket", str(told))
        self.assertEqual(self.socket.read_text(), "precious")
        self.assertEqual(self.reactor.tcpServers, [])

    def test_a_port_that_is_taken_ends_the_start_and_leaves_no_socket(self) -> None:
        listen = self.reactor.listenTCP

        def taken(port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
            if port == 0:
                return listen(port, factory, backlog, interface)
            raise CannotListenError(interface, port, OSError("Address already in use"))

        self.patch(self.reactor, "listenTCP", taken)
        told = self.assertRaises(SystemExit, self.start)
        self.assertIn("8180", str(told))
        self.assertEqual(self.reactor.unixServers, [])

    def test_the_plugins_service_runs_on_the_reactor_there_is(self) -> None:
        self.patch(twisted.internet, "reactor", self.reactor)
        service = makeService(parsed("--socket", str(self.socket)))
        self.assertEqual((service.name, service._reactor), ("audiosvc", self.reactor))

    def test_vitals_of_a_daemon_that_has_done_nothing(self) -> None:
        service = self.start()
        self.reactor.rightNow += 12.5
        vitals = service.vitals()
        self.assertEqual((vitals.version, vitals.uptime), (__version__, 12.5))
        self.assertEqual((vitals.status, [reason.code for reason in vitals.reasons]), ("degraded", ["not_isolated"]))
        self.assertEqual(vitals.sessions, {"extracting": 0, "streaming": 0, "paused": 0})
        self.assertEqual((vitals.plays, vitals.ends, vitals.children, vitals.spawns), (0, {}, 0, 0))
        self.assertEqual(vitals.encoder.threads, 1)
        self.assertEqual(vitals.process.delayed_calls, len(self.reactor.getDelayedCalls()))
        self.assertGreater(vitals.process.memory_blocks, 10_000)
        self.successResultOf(service.stopService())
        self.assertEqual(service.vitals().status, "stopping")


class StopTests(ServiceTestCase):
    def test_sessions_are_told_children_are_reaped_and_the_place_is_given_back(self) -> None:
        fds = open_fds()
        service = self.start()
        for name in "ab":
            service._registry.play(name, Play("demo:tone"))
        self.assertEqual(service.vitals().children, 2)
        stopped = service.stopService()
        self.assertEqual(service.vitals().ends, {"stopped:shutdown": 2})
        self.assertNoResult(stopped)
        self.assertRaises(SocketPlaceError, SocketPlace(self.socket.absolute()).claim)
        self.reactor.end()
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(self.reactor.getReaders(), [])
        self.assertEqual(open_fds() - fds, set())
        place = SocketPlace(self.socket.absolute())
        place.claim()
        place.release()

    def test_what_plays_is_handed_to_the_next_daemon_but_for_what_is_stopped_meanwhile(self) -> None:
        state = self.folder / "sessions"
        service = self.start("--state-file", str(state))
        for name in "ab":
            service._registry.play(name, Play("demo:tone"))
        stopped = service.stopService()
        service._registry.stop("b")
        self.reactor.end()
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.reactor = FakeReactor()
        service = self.start("--state-file", str(state))
        for hook, arguments, _ in self.reactor.whenRunningHooks[:1]:
            hook(*arguments)
        self.assertEqual([found.session_id for found in service._registry.snapshots()], ["a"])
        self.assertEqual(service.vitals().restart, RestartVitals(taken_up=1, left_out=0))
        self.assertFalse(state.exists())
        self.reactor.end()
        service.stopService()
        self.reactor.end()
        self.reactor.advance(0)

    def test_what_does_not_go_in_time_is_left_behind_and_told_of(self) -> None:
        service = self.start()
        service._registry.play("a", Play("demo:tone"))
        with capturedLogs() as logs:
            stopped = service.stopService()
            self.reactor.advance(SHUTDOWN_SECONDS - 0.1)
            self.assertNoResult(stopped)
            self.reactor.advance(0.1)
            self.successResultOf(stopped)
            del stopped
            gc.collect()
        self.assertEqual(
            [event["log_format"] for event in logs if event["log_level"].name in ("warn", "error", "critical")],
            ["some children or clients did not go within {seconds:g} s"],
        )
        self.reactor.end()

    def test_a_signal_stops_the_reactor_and_a_second_one_the_process(self) -> None:
        handlers: dict[int, Any] = {}
        self.patch(signal, "signal", handlers.__setitem__)
        service = self.start()
        hook, *_ = self.reactor.whenRunningHooks[-1]
        hook()
        self.assertEqual(set(handlers), {signal.SIGTERM, signal.SIGINT})
        handlers[signal.SIGTERM](signal.SIGTERM, sys._getframe())
        self.assertEqual(set(handlers.values()), {signal.SIG_DFL})
        self.assertFalse(self.reactor.hasStopped, "not inside the handler")
        self.reactor.advance(0)
        self.assertTrue(self.reactor.hasStopped)
        self.successResultOf(service.stopService())
