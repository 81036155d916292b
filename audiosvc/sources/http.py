"""Direct media URLs, http and https: one strict parse, and FFmpeg gets what came out of it, not what went in.

Whether a URL leads to media is found out by FFmpeg opening it.
"""

from __future__ import annotations

import re
import string
from pathlib import PurePosixPath
from urllib.parse import quote, unquote, urlsplit

import idna

from audiosvc.errors import UnsupportedUrl
from audiosvc.sources.model import Http, Source

_HOST = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?|\[[0-9A-Fa-f:.]{2,45}\]", re.ASCII)
_KEPT = string.ascii_letters + string.digits + string.punctuation


def parse(url: str) -> Source:
    """`url` made canonical: ASCII, no fragment. Raises `UnsupportedUrl` for anything odd.

    A user and password are refused: the URL is shown to every client.
    """
    scheme, separator, rest = url.partition("://")
    if scheme.lower() not in ("http", "https") or not separator:
        raise UnsupportedUrl("a media URL begins with http:// or https://")
    if " " in rest or "\\" in rest:
        raise UnsupportedUrl("a URL holds no spaces and no backslashes")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UnsupportedUrl("the URL's host or port is malformed") from None
    if "@" in parts.netloc:
        raise UnsupportedUrl("a URL with a user or a password in it is not played")
    if port == 0 or parts.netloc.endswith(":"):
        raise UnsupportedUrl("the URL's port is malformed")
    host = _host(parts.netloc if port is None else parts.netloc.rpartition(":")[0])
    authority = host if port is None else f"{host}:{port}"
    path, query = quote(parts.path or "/", safe=_KEPT), quote(parts.query, safe=_KEPT)
    media = Http(f"{scheme.lower()}://{authority}{path}" + (f"?{query}" if query else ""))
    return Source(url, media, title=_title(parts.path) or host)


def _host(host: str) -> str:
    """`host` in ASCII, lower case."""
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except idna.IDNAError:
            raise UnsupportedUrl("the URL's host is malformed") from None
    if not _HOST.fullmatch(host):
        raise UnsupportedUrl("the URL's host is malformed")
    return host.lower()


def _title(path: str) -> str | None:
    """The last segment of the path without its suffix, if there is one that can be read."""
    name = PurePosixPath(unquote(path)).stem
    return name if name.isprintable() and name.strip("/") else None
