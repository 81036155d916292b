"""The extractor's child program: imports yt-dlp once, then answers calls, one JSON line for each (see `calls`).

Run by its path under `python -I`. It imports nothing of this package, reads no configuration, loads no plugins, keeps
no cache, and goes out through the proxy that each call names. What it fetches is hostile, so it bounds itself first;
what yt-dlp makes of that is cut down to the few fields needed, each of the type that was agreed.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import io
import json
import math
import os
import re
import resource
import signal
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

MEMORY_MOST = 224 * 1024 * 1024
"""Bytes of data. Some 45 MB are taken before a call, and 15 to 20 MB that libraries map from files come on top. It is
enough for a feed of 30 MB, and for a page of 100,000 elements."""

RUNTIME_MEMORY_MOST = 768 * 1024 * 1024
"""Bytes of data that the JavaScript runtimes may have which yt-dlp runs for YouTube. Address space is not bounded: of
that they reserve more than there is."""

FILES_MOST = 128
FILE_BYTES_MOST = 16 * 1024 * 1024
OOM_SCORE = 500

KEPT_MOST = 128 * 1024 * 1024
"""Bytes of memory that one may still hold after a call; past it the worker ends, and another takes its place."""

LINE_MOST = 4 * 1024 * 1024
"""Bytes of an answer, as in `calls`."""

TEXT_MOST, URL_MOST, MESSAGE_MOST = 1000, 8192, 300
"""Characters: enough to judge by, and 500 entries still fit into a line."""

HOPS_MOST = 3
"""Lists within lists that are followed to the first track."""

SOCKET_SECONDS = 5

NOTHING_PLAYABLE = ("Requested format is not available", "No video formats found")
"""How yt-dlp begins to say that no format is one of `FORMATS`."""

PROTOCOLS = r"[protocol~='^(https?|m3u8(_native)?|http_dash_segments)$']"
FORMATS = "/".join(
    kind + PROTOCOLS
    for kind in (
        "bestaudio[acodec^=opus][ext=webm][asr=?48000]",
        "bestaudio[acodec^=opus][asr=?48000]",
        "bestaudio",
        # The picture is thrown away, so it may as well be a small one.
        "best[height<=?480]",
        "best",
        "best*[acodec!=none]",
    )
)

OPTIONS: dict[str, Any] = {
    "quiet": True,
    "no_warnings": True,
    "noprogress": True,
    "color": "never",
    "simulate": True,
    "skip_download": True,
    "cachedir": False,
    "usenetrc": False,
    "cookiesfrombrowser": None,
    "enable_file_urls": False,
    "postprocessors": [],
    "check_formats": False,
    "socket_timeout": SOCKET_SECONDS,
    "extractor_retries": 1,
    "format": FORMATS,
    "extract_flat": "in_playlist",
    "js_runtimes": {"deno": {}, "node": {}},
    "remote_components": [],
    # One trust store for all that is fetched, where there is one: the system's, or SSL_CERT_FILE.
    "compat_opts": {"no-certifi"} if ssl.get_default_verify_paths().cafile else set(),
}
"""Besides these nothing is set, whatever a configuration file says: only yt-dlp's command line reads those."""

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_FOR_DEVELOPERS = re.compile(r"\n| \(caused by|; please report|[.;] +(?:Use|See|You might want) ")
_NUMBERED_ALONE = re.compile(r" \(1\)$")


class NothingThere(Exception):
    """The list has no first track, or the track no URL."""


class Quiet:
    """yt-dlp's logger: errors go to standard error, of which the daemon keeps the end, all else nowhere."""

    def debug(self, message: str) -> None:
        pass

    def warning(self, message: str) -> None:
        pass

    def error(self, message: str) -> None:
        print(message[:TEXT_MOST], file=sys.stderr, flush=True)


# --- the process ------------------------------------------------------------------------------------------------


def confine() -> None:
    """Bound this process, and tie its life to its parent's; its children inherit the bounds, but see `widen`.

    A session of its own, so that all of it can be ended together. Had the parent gone before it was tied to, standard
    input would end.
    """
    with contextlib.suppress(PermissionError):
        os.setsid()
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for kind, most in (
        (resource.RLIMIT_DATA, RUNTIME_MEMORY_MOST),
        (resource.RLIMIT_NOFILE, FILES_MOST),
        (resource.RLIMIT_FSIZE, FILE_BYTES_MOST),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (least, least))
    use_memory(MEMORY_MOST)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    os.chdir("/")
    os.umask(0o077)
    os.environ["YTDLP_NO_PLUGINS"] = "1"


def use_memory(most: int) -> None:
    """Let this process have `most` bytes of data from now on, or as many as it ever may."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (min(most, hard), hard))


def widen() -> None:
    """What yt-dlp starts from now on gets the memory that a JavaScript runtime needs, which this process has not."""
    from yt_dlp.utils import Popen

    take_it = functools.partial(use_memory, RUNTIME_MEMORY_MOST)
    Popen.__init__ = functools.partialmethod(Popen.__init__, preexec_fn=take_it)


def take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output, for calls and answers alone.

    What else reads or writes them, in this process or its children, finds nothing there, and writes to standard error.
    """
    calls, answers = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return os.fdopen(calls, "rb"), os.fdopen(answers, "wb")


def say(answers: BinaryIO, message: dict[str, Any]) -> None:
    line = json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
    if len(line) >= LINE_MOST:
        error = {"kind": "failed", "message": "the page lists more than can be taken in"}
        line = json.dumps({"id": message["id"], "last": True, "error": error}).encode()
    answers.write(line + b"\n")
    answers.flush()


def held() -> int:
    """Bytes of memory this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


# --- yt-dlp -----------------------------------------------------------------------------------------------------


def options(call: dict[str, Any]) -> dict[str, Any]:
    """yt-dlp's, for one call; ValueError where they would let it go out by itself."""
    if not re.fullmatch(r"http://[^/\s]+/?", call["proxy"]):
        raise ValueError("a call without a proxy")
    made = {**OPTIONS, "proxy": call["proxy"], "logger": Quiet()}
    if call["op"] == "resolve":
        made |= {"noplaylist": True, "playlist_items": "1"}
    else:
        made |= {"noplaylist": False, "playlist_items": f"1:{call['limit']}", "ignore_no_formats_error": True}
    if call["cookies"] is not None:
        # yt-dlp writes its cookies back at the end: into this, which is thrown away.
        made["cookiefile"] = io.StringIO(call["cookies"])
    return made


def answer(call: dict[str, Any]) -> dict[str, Any]:
    """What `call` asks for. Raises whatever yt-dlp does, which can be anything."""
    from yt_dlp import YoutubeDL

    with YoutubeDL(options(call)) as ydl:
        if call["op"] == "resolve":
            own = {_cookie_key(cookie) for cookie in ydl.cookiejar}
            info, playlist = first_track(ydl, call["target"])
            return track(info, playlist, _cookies(ydl, info, own))
        target = f"ytsearch{call['limit']}:{call['target']}" if call["op"] == "search" else call["target"]
        info = ydl.extract_info(target, download=False)
        return {"type": "list", "entries": entries(info or {}, call["target"], call["limit"])}


def first_track(ydl: Any, url: str) -> tuple[dict[str, Any], str | None]:
    """The track at `url`, or the first of the list there, with the title of that list."""
    info, playlist = ydl.extract_info(url, download=False), None
    for _ in range(HOPS_MOST):
        if not _is_list(info):
            break
        playlist = playlist or text(info.get("title")) or ""
        first = next(_listed(info), None)
        if first is None:
            raise NothingThere()
        reference = first.get("_type") in ("url", "url_transparent")
        info = ydl.process_ie_result(first, download=False) if reference else first
    if _is_list(info) or not (info and text(info.get("url"))):
        raise NothingThere()
    return info, playlist


def track(info: dict[str, Any], playlist: str | None, cookies: str | None) -> dict[str, Any]:
    """`info`, cut down to what `calls.Track` holds."""
    headers = info.get("http_headers") or {}
    plain = {name: value for name, value in headers.items() if isinstance(name, str) and isinstance(value, str)}
    if cookies:
        plain["Cookie"] = cookies
    return {
        "type": "track",
        "url": text(info["url"], URL_MOST + 1),
        "headers": {clean(name, TEXT_MOST): clean(value, URL_MOST) for name, value in plain.items()},
        "title": text(info.get("title")) if playlist is not None else _title_alone(info),
        "duration": number(info.get("duration")),
        "thumbnail": text(info.get("thumbnail"), URL_MOST),
        "uploader": _uploader(info),
        "live": info.get("is_live") is True or info.get("live_status") == "is_live",
        "codec": text(info.get("acodec")),
        "ext": text(info.get("ext")),
        "protocol": text(info.get("protocol")),
        "playlist": playlist,
    }


def entries(info: dict[str, Any], asked: str, limit: int) -> list[dict[str, Any]]:
    """The tracks of a list, each with the URL it is played by; a single track is a list of one, and `asked` its URL."""
    if not _is_list(info):
        return [entry({**info, "title": _title_alone(info)}, asked)] if info else []
    page = info.get("webpage_url")
    found = []
    for each in _listed(info):
        reference = each.get("_type") in ("url", "url_transparent")
        # Media embedded in one page all name that page, which is the list again.
        by_page = None if reference or each.get("webpage_url") == page else text(each.get("webpage_url"), URL_MOST)
        url = by_page or text(each.get("url"), URL_MOST)
        if url:
            found.append(entry(each, url))
        if len(found) >= limit:
            break
    return found


def entry(info: dict[str, Any], url: str) -> dict[str, Any]:
    return {
        "url": url,
        "title": text(info.get("title")),
        "duration": number(info.get("duration")),
        "thumbnail": text(info.get("thumbnail"), URL_MOST) or _thumbnail(info.get("thumbnails")),
        "uploader": _uploader(info),
    }


def trouble(error: BaseException, proxy: str) -> dict[str, str]:
    """`error` as `calls.Trouble`, without the way to the proxy, which has a token in it."""
    from yt_dlp.networking.exceptions import HTTPError, RequestError
    from yt_dlp.utils import UnsupportedError

    kind, message = "failed", _said(error)
    if message.startswith(NOTHING_PLAYABLE):
        kind = "nothing"
    causes = list(_causes(error))
    if any(isinstance(cause, MemoryError) for cause in causes):
        return {"kind": "memory", "message": ""}
    for cause in causes:
        if isinstance(cause, NothingThere | UnsupportedError):
            kind, message = "nothing", ""
        elif isinstance(cause, HTTPError):
            kind, message = "not_found" if cause.status in (404, 410) else "refused", f"it answered {cause.status}"
        elif isinstance(cause, RequestError):
            kind, message = "unreachable", ""
        else:
            continue
        break
    for hidden in _secrets(proxy):
        message = message.replace(hidden, "…")
    return {"kind": kind, "message": clean(message, MESSAGE_MOST)}


# --- types that can be relied on ----------------------------------------------------------------------------------


def text(value: object, most: int = TEXT_MOST) -> str | None:
    """`value` if it is text, at most `most` characters of it."""
    return clean(value, most) if isinstance(value, str) else None


def clean(value: str, most: int) -> str:
    """In JSON there are no halves of surrogate pairs."""
    return value[:most].encode("utf-8", "replace").decode()


def number(value: object) -> float | None:
    """`value` if it is a number, and a finite one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _is_list(info: Any) -> bool:
    return bool(info) and info.get("_type") in ("playlist", "multi_video")


def _listed(info: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (each for each in info.get("entries") or () if isinstance(each, dict))


def _title_alone(info: dict[str, Any]) -> str | None:
    """yt-dlp numbers the media embedded in a page, a single one too."""
    title = text(info.get("title"))
    return _NUMBERED_ALONE.sub("", title) if title and info.get("extractor_key") == "HTML5MediaEmbed" else title


def _uploader(info: dict[str, Any]) -> str | None:
    return next(filter(None, (text(info.get(key)) for key in ("artist", "channel", "uploader", "creator"))), None)


def _thumbnail(value: object) -> str | None:
    """The last of a list of pictures, which yt-dlp sorts by size."""
    pictures = [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
    return text(pictures[-1].get("url"), URL_MOST) if pictures else None


def _cookie_key(cookie: Any) -> tuple[str, str, str]:
    return cookie.domain, cookie.path, cookie.name


def _cookies(ydl: Any, info: dict[str, Any], own: set[tuple[str, str, str]]) -> str | None:
    """The cookies that the site gave while it was read, for the media: not the operator's own.

    FFmpeg sends a Cookie header wherever it is redirected to, so that those would be anybody's.
    """
    given = [cookie for cookie in ydl.cookiejar.get_cookies_for_url(info["url"]) if _cookie_key(cookie) not in own]
    return "; ".join(f"{cookie.name}={cookie.value}" for cookie in given) or None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """`error` and what led to it, as yt-dlp nests them."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        information = getattr(error, "exc_info", None)
        wrapped = information[1] if isinstance(information, tuple) and len(information) > 1 else None
        if wrapped is error:
            wrapped = None
        # What no request handler took had been too much for one of them.
        unexpected = getattr(error, "unexpected_errors", None)
        cause = unexpected[0] if unexpected else getattr(error, "cause", None)
        error = wrapped or (cause if isinstance(cause, BaseException) else None) or error.__cause__ or error.__context__


def _said(error: BaseException) -> str:
    """What is meant for users in the words of yt-dlp, which also name options and ask for reports."""
    said = next((str(cause.orig_msg) for cause in _causes(error) if hasattr(cause, "orig_msg")), str(error))
    return _FOR_DEVELOPERS.split(said.strip().removeprefix("ERROR: "))[0].strip()


def _secrets(proxy: str) -> list[str]:
    authority = proxy.partition("://")[2].rstrip("/")
    return [hidden for hidden in (authority, authority.rpartition("@")[0]) if hidden]


def main() -> None:
    confine()
    calls, answers = take_pipes()
    from yt_dlp import YoutubeDL
    from yt_dlp.version import __version__

    widen()
    # The first one loads the table of extractors.
    YoutubeDL({**OPTIONS, "logger": Quiet()}).close()
    say(answers, {"ready": __version__})
    for line in calls:
        call = json.loads(line)
        try:
            said = {"ok": answer(call)}
        except Exception as error:
            # Where memory ran out there would be none left to say so.
            use_memory(RUNTIME_MEMORY_MOST)
            said = {"error": trouble(error, call["proxy"])}
            use_memory(MEMORY_MOST)
        last = held() > KEPT_MOST or said.get("error", {}).get("kind") == "memory"
        say(answers, {"id": call["id"], "last": last, **said})
        if last:
            return


if __name__ == "__main__":
    main()
