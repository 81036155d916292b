"""Direct media URLs, http and https: one strict parse, and FFmpeg gets what came out of it, not what went in.

Whether a URL leads to media is found out by FFmpeg opening it.
"""

from __future__ import annotations

import ipaddress
import re
import string
from pathlib import PurePosixPath
from urllib.parse import quote, unquote, urljoin, urlsplit

import idna

from audiosvc.errors import UnsupportedUrl
from audiosvc.sources.model import Http, Source
from audiosvc.sources.text import is_plain

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*\.?", re.ASCII)
_SEMICOLON = "\udc3b"
"""Stands for one where URLs are joined. Text that was decoded holds no such character."""

_KEPT = string.ascii_letters + string.digits + string.punctuation


def parse(url: str) -> Source:
    """`url` made canonical: ASCII, no fragment. Raises `UnsupportedUrl` for anything odd.

    A user and password are refused: the URL is shown to every client.
    """
    scheme, separator, rest = url.partition("://")
    if scheme.lower() not in ("http", "https") or not separator:
        raise UnsupportedUrl("a media URL begins with http:// or https://")
    if not is_plain(rest) or " " in rest or "\\" in rest:
        raise UnsupportedUrl("a URL holds no spaces, no backslashes and no control characters")
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


def join(base: str, reference: str) -> str:
    """Where `reference` leads from `base`; raises `UnsupportedUrl` if it is no URL.

    `urljoin` takes what follows a semicolon for parameters, by a standard of old, and drops it with its semicolon where
    it is empty. That is how stations tell their sound, "http://h:8000/;", from their pages.
    """
    try:
        return urljoin(base.replace(";", _SEMICOLON), reference.replace(";", _SEMICOLON)).replace(_SEMICOLON, ";")
    except ValueError:
        raise UnsupportedUrl("the source leads to a malformed URL") from None


def _host(host: str) -> str:
    """`host` in ASCII, lower case: a name, an IPv4 address in whatever form, or an IPv6 address in brackets."""
    try:
        if host.startswith("[") and host.endswith("]") and "%" not in host:
            return f"[{ipaddress.IPv6Address(host[1:-1])}]"
        if not host.isascii():
            host = idna.encode(host, uts46=True).decode("ascii")
    except ValueError:
        raise UnsupportedUrl("the URL's host is malformed") from None
    if not _HOST_NAME.fullmatch(host):
        raise UnsupportedUrl("the URL's host is malformed")
    return host.lower()


def _title(path: str) -> str | None:
    """The last segment of the path without its suffix, if there is one that can be read."""
    name = PurePosixPath(unquote(path)).stem
    return name if name and is_plain(name) else None
