"""Where the Unix socket is, one rule for the daemon and its clients, and the cache, unless somebody says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

SOCKET_PATH_MOST = 107
"""Bytes of a Unix socket's path on Linux (`sun_path`, without its final NUL)."""

_NAME = Path("audiosvc", "audio.sock")


def default_socket(environ: Mapping[str, str], uid: int) -> Path:
    """`$AUDIOSVC_SOCKET`; else `audiosvc/audio.sock` in a run-time folder; else `/tmp/audiosvc-UID/audio.sock`.

    The run-time folder is `$RUNTIME_DIRECTORY` (systemd's, the first if several) or `$XDG_RUNTIME_DIR`; by the XDG
    rule a relative path is taken as unset. The daemon has to make sure that the folder below /tmp is its own.
    """
    if chosen := environ.get("AUDIOSVC_SOCKET"):
        return Path(chosen)
    for folder in (environ.get("RUNTIME_DIRECTORY", "").split(":")[0], environ.get("XDG_RUNTIME_DIR", "")):
        if folder.startswith("/"):
            return folder / _NAME
    return Path(f"/tmp/audiosvc-{uid}", _NAME.name)


def cache_folder(chosen: str | None, environ: Mapping[str, str]) -> Path | None:
    """`chosen`; else `tracks` in `$CACHE_DIRECTORY` (systemd's, the first if several); else None."""
    if chosen:
        return Path(chosen).absolute()
    folder = environ.get("CACHE_DIRECTORY", "").split(":")[0]
    return Path(folder, "tracks") if folder.startswith("/") else None


def state_file(chosen: str | None, environ: Mapping[str, str]) -> Path | None:
    """`chosen`, "" for none; else `sessions` in `$STATE_DIRECTORY` (systemd's, the first if several); else None."""
    if chosen is not None:
        return Path(chosen).absolute() if chosen else None
    folder = environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(folder, "sessions") if folder.startswith("/") else None
