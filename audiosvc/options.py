"""The daemon's options: what they may be, and how they are read from the command line and the environment."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from twisted.internet import endpoints
from twisted.internet.interfaces import IReactorSocket, IStreamServerEndpoint
from twisted.python import usage

from audiosvc.api.guard import Guard
from audiosvc.codec.opus import COMPLEXITY_MOST
from audiosvc.extract.extractors import read_cookies
from audiosvc.ffmpeg.binary import find_ffmpeg
from audiosvc.flow.overload import MODES as OVERLOAD_MODES
from audiosvc.handed import HandedError, is_local, take_handed
from audiosvc.log.journal import FORMATS
from audiosvc.log.levels import LEVELS
from audiosvc.net.addresses import Policy
from audiosvc.net.jail import MODES
from audiosvc.net.names import is_own
from audiosvc.paths import cache_folder, default_socket, state_file
from audiosvc.session.track import BITRATE_LEAST, BITRATE_MOST

TOKEN_BYTES_LEAST = 32
"""A token shorter than this can be guessed by somebody patient."""

ENVIRONMENT_PREFIX = "AUDIOSVC_"

SWITCHED_ON = ("1", "true", "yes", "on")
"""What the environment says for an option that takes no value."""

CHOICES = {
    "overload": OVERLOAD_MODES,
    "isolation": MODES,
    "log-format": tuple(FORMATS),
    "log-level": LEVELS,
}
"""Options that are one of several words."""

_SIZE = re.compile(r"(\d{1,12})([KMGT]?)(?:i?B)?", re.ASCII | re.IGNORECASE)
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}

_T = TypeVar("_T", int, float)


def _number(option: str, kind: Callable[[str], _T], least: _T, most: _T) -> Callable[[str], _T]:
    """A coercion for `optParameters`: a number from `least` to `most`, or a ValueError that names the option."""

    def coerce(text: str) -> _T:
        try:
            number = kind(text)
        except ValueError:
            raise ValueError(f"--{option}: {text!r} is not a {'whole ' if kind is int else ''}number") from None
        if not least <= number <= most:
            raise ValueError(f"--{option}: {text} is not from {least} to {most}")
        return number

    return coerce


def _size(option: str) -> Callable[[str], int]:
    """A coercion for `optParameters`: a number of bytes, such as 65536, 64K, 256M or 2G."""

    def coerce(text: str) -> int:
        match = _SIZE.fullmatch(text)
        if match is None:
            raise ValueError(f"--{option}: {text!r} is not a number of bytes; 64K, 256M and 2G are")
        return int(match[1]) * _UNITS[match[2].upper()]

    return coerce


class Options(usage.Options):
    """Each option can be given as an environment variable too: `--max-sessions` is `AUDIOSVC_MAX_SESSIONS`."""

    synopsis = "[options]"
    longdesc = "Plays audio for many listeners at once and hands it to local clients as tagged 20 ms Opus packets."

    optParameters: list[list[Any]] = [
        ["api", "a", "tcp:8180:interface=127.0.0.1", "Where the HTTP API listens, as an endpoint."],
        ["socket", "s", None, "The Unix socket that packets and events go out on."],
        ["media-root", "m", None, "Allow files below this folder to be played."],
        ["max-sessions", None, 200, "Sessions at once.", _number("max-sessions", int, 1, 10_000)],
        ["consumer-timeout", None, 60.0, "Seconds a session waits for a client.",
         _number("consumer-timeout", float, 1, 86_400)],
        ["idle-timeout", None, 1800.0, "Seconds a session may stand still.",
         _number("idle-timeout", float, 1, 86_400 * 7)],
        ["bitrate", "b", 128_000, "Bits per second of plays that name none.",
         _number("bitrate", int, BITRATE_LEAST, BITRATE_MOST)],
        ["opus-complexity", None, COMPLEXITY_MOST, "Effort of the encoder, 0 to 10.",
         _number("opus-complexity", int, 0, COMPLEXITY_MOST)],
        ["encoder-threads", None, os.cpu_count() or 1, "Threads that encode.", _number("encoder-threads", int, 1, 256)],
        ["overload", None, "lower", "What a full machine does: lower complexity, then refuse; refuse; off."],
        ["ffmpeg", None, None, "The FFmpeg to run, if not the one that comes with imageio-ffmpeg."],
        ["isolation", None, "auto", "A network of their own for children that fetch: auto, require or off."],
        ["allow-host", None, "", "Hosts, or HOST:PORT, comma-separated, that are fetched from though not public."],
        ["allow-net", None, "", "Networks, such as 192.168.7.0/24, that are fetched from though not public."],
        ["extractors", None, 2, "yt-dlp processes at once, which read web pages; 0 for none.",
         _number("extractors", int, 0, 32)],
        ["cookies", None, None, "A file of cookies, in Netscape's format, for web pages."],
        ["token-file", None, None, "A file with the token that API callers must send as a bearer token."],
        ["cache-size", None, 128 * _UNITS["M"], "Memory for what was played, to play it again at once; 0 for none.",
         _size("cache-size")],
        ["cache-dir", None, None, "A folder that keeps what was played across restarts."],
        ["cache-dir-size", None, _UNITS["G"], "How large it may get.", _size("cache-dir-size")],
        ["state-file", None, None, "A file that carries what plays across a restart; empty for none."],
        ["allowed-host", None, "", "Host names, comma-separated, that the API answers to besides localhost."],
        ["log-format", None, "text", "What lines of the log are: text, or json."],
        ["log-level", None, "info", "From what level on events are logged: debug, info, warn or error."],
    ]  # fmt: skip

    optFlags: list[list[Any]] = [["list-files", None, "Let callers of the API list the folders below --media-root."]]

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._environ = environ
        self.token: bytes | None = None
        self.cookies: str | None = None
        self.handed: dict[str, socket.socket] = {}
        """What systemd has made: an `api` is listened on in place of --api, `packets` in place of --socket."""
        self.policy = Policy(frozenset(), (), is_own)

    def parseOptions(self, options: list[str] | None = None) -> None:
        """As Twisted's, with the environment under the command line. Raises `usage.UsageError`."""
        given: list[str] = []
        for name, *_ in self.optParameters:
            value = self._environ.get(_variable(name))
            if value:
                given += [f"--{name}", value]
        given += [f"--{name}" for name, *_ in self.optFlags if self._environ.get(_variable(name)) in SWITCHED_ON]
        super().parseOptions(given + list(options or ()))  # type: ignore[no-untyped-call]

    def postOptions(self) -> None:
        self["socket"] = Path(self["socket"] or default_socket(self._environ, os.getuid())).absolute()
        self["allowed-host"] = [host.strip() for host in self["allowed-host"].split(",") if host.strip()]
        try:
            Guard(self["allowed-host"], None)
        except ValueError as error:
            raise usage.UsageError(f"--allowed-host: {error}") from error
        if self["media-root"] is not None:
            root = Path(self["media-root"])
            if not root.is_dir():
                raise usage.UsageError(f"--media-root: {root} is not a folder")
            self["media-root"] = root.resolve()
        try:
            self["ffmpeg"] = find_ffmpeg(self["ffmpeg"])
        except ValueError as error:
            raise usage.UsageError(f"--ffmpeg: {error}") from error
        if self["token-file"] is not None:
            self.token = _read_token(Path(self["token-file"]))
        for name, choices in CHOICES.items():
            if self[name] not in choices:
                raise usage.UsageError(f"--{name}: {self[name]!r} is none of {', '.join(choices)}")
        try:
            self.policy = Policy.parse(self["allow-host"], self["allow-net"], is_own)
        except ValueError as error:
            raise usage.UsageError(str(error)) from error
        folder = self["cache-dir"] = cache_folder(self["cache-dir"], self._environ)
        if folder is not None and folder.exists() and not folder.is_dir():
            raise usage.UsageError(f"--cache-dir: {folder} is not a folder")
        kept = self["state-file"] = state_file(self["state-file"], self._environ)
        if kept is not None and kept.is_dir():
            raise usage.UsageError(f"--state-file: {kept} is a folder")
        if self["cookies"] is not None:
            try:
                self.cookies = read_cookies(Path(self["cookies"]))
            except ValueError as error:
                raise usage.UsageError(f"--cookies: {error}") from error
        self._check_api()

    def _check_api(self) -> None:
        from twisted.internet import reactor

        try:
            self.handed = take_handed(cast(IReactorSocket, reactor), self._environ.get("LISTEN_FDNAMES", ""))
        except HandedError as error:
            raise usage.UsageError(str(error)) from error
        if self["api"].startswith("systemd:"):
            # Twisted would serve it as if it were its own, and only once.
            raise usage.UsageError(f"--api: {self['api']!r} is no endpoint: name systemd's socket api, and it is taken")
        if self["api"].startswith("unix:") and ":mode=" not in self["api"]:
            # Twisted's own is 0666, and whoever may connect may play.
            self["api"] += ":mode=600"
        try:
            endpoint = endpoints.serverFromString(reactor, self["api"])
        except Exception as error:
            # Every kind of endpoint has a parser of its own, and each fails in its own way.
            raise usage.UsageError(f"--api: {self['api']!r} is no endpoint: {error}") from error
        handed = self.handed.get("api")
        if self.token is None and not (_is_local(endpoint) if handed is None else is_local(handed)):
            raise usage.UsageError("--api: to listen beyond this machine, --token-file is required")


def _read_token(path: Path) -> bytes:
    try:
        token = path.read_bytes().strip()
    except OSError as error:
        raise usage.UsageError(f"--token-file: {path}: {error.strerror}") from error
    if len(token) < TOKEN_BYTES_LEAST:
        raise usage.UsageError(f"--token-file: a token has at least {TOKEN_BYTES_LEAST} bytes")
    if not token.isascii() or any(byte <= 0x20 or byte == 0x7F for byte in token):
        raise usage.UsageError("--token-file: a token is ASCII without spaces")
    return token


def _variable(option: str) -> str:
    return ENVIRONMENT_PREFIX + option.upper().replace("-", "_")


def _is_local(endpoint: IStreamServerEndpoint) -> bool:
    """Whether only this machine can reach it: a Unix socket, or TCP on a loopback address."""
    if isinstance(endpoint, endpoints.UNIXServerEndpoint):
        return True
    interface = getattr(endpoint, "_interface", "")
    if interface == "localhost":
        return True
    try:
        return ipaddress.ip_address(interface).is_loopback
    except ValueError:
        return False
