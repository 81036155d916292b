"""Pages about media, as yt-dlp's generic extractor reads them, and feeds."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from html import escape
from typing import Any

from twisted.web.resource import Resource

from tests.site import media
from tests.site.faults import Once
from tests.site.hits import SiteRequest

TITLE = "A page about a clock"

EPISODES = ("mp3", "ogg", "webm")
"""What the page with several media and the feed have."""


def _page(body: str, head: str = "") -> bytes:
    return f"<!DOCTYPE html><html><head><title>{TITLE}</title>{head}</head><body>{body}</body></html>".encode()


def audio(request: SiteRequest) -> bytes:
    return _page('<h1>Listen</h1><audio controls src="/media/mp3.mp3"></audio>')


def video(request: SiteRequest) -> bytes:
    return _page('<video controls><source src="/media/film.mp4" type="video/mp4"></video>')


def open_graph(request: SiteRequest) -> bytes:
    head = f'<meta property="og:title" content="{TITLE}"><meta property="og:image" content="{request.here}/cover.jpg">'
    return _page("", f'{head}<meta property="og:audio" content="{request.here}/media/ogg.ogg">')


def json_ld(request: SiteRequest) -> bytes:
    known = {
        "@context": "https://schema.org",
        "@type": "AudioObject",
        "name": "A clock, by schema.org",
        "contentUrl": f"{request.here}/media/m4a.m4a",
        "duration": f"PT{media.SECONDS}S",
        "thumbnailUrl": f"{request.here}/cover.jpg",
        "author": {"@type": "Person", "name": "A Clock"},
    }
    return _page("", f'<script type="application/ld+json">{json.dumps(known)}</script>')


def several(request: SiteRequest) -> bytes:
    return _page("".join(f'<audio src="/media/{name}.{name}"></audio>' for name in EPISODES))


def feed(request: SiteRequest) -> bytes:
    request.setHeader("Content-Type", "application/rss+xml")
    item = (
        "<item><title>Episode {0}</title><guid>{0}</guid><itunes:duration>00:00:{1}</itunes:duration>"
        '<enclosure url="{2}/media/{0}.{0}" type="audio/mpeg" length="1"/></item>'
    )
    items = "".join(item.format(name, media.SECONDS, request.here) for name in EPISODES)
    head = '<?xml version="1.0"?><rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd">'
    return f"{head}<channel><title>Clocks</title>{items}</channel></rss>".encode()


def nothing(request: SiteRequest) -> bytes:
    return _page("<p>There is nothing to hear here.</p>")


def hls(request: SiteRequest) -> bytes:
    return _page('<video src="/media/hls/index.m3u8"></video>')


class Page(Resource):
    isLeaf = True

    def __init__(self, write: Callable[[SiteRequest], bytes]) -> None:
        super().__init__()
        self._write = write

    def render_GET(self, request: Any) -> bytes:
        request.setHeader("Content-Type", "text/html; charset=utf-8")
        return self._write(request)


class Expiring:
    """`/page/expiring?bytes=N&name=…`: a page whose link breaks off after `bytes` and is refused from then on; once it
    has, the page has one that lasts."""

    def __init__(self, once: Once) -> None:
        self._once = once

    def __call__(self, request: SiteRequest) -> bytes:
        name, ticket = request.word("name", "long.mp3"), zlib.crc32(request.uri)
        link = f"/once403/{name}?ticket={ticket}&bytes={request.option('bytes', 100_000):.0f}"
        if self._once.had(link):
            link = f"/once403/{name}?ticket={ticket}&for=ever"
        return _page(f'<audio src="{escape(link)}"></audio>')


def tree(once: Once) -> Resource:
    pages: dict[str, Callable[[SiteRequest], bytes]] = {
        "audio": audio,
        "video": video,
        "og": open_graph,
        "json-ld": json_ld,
        "several": several,
        "feed": feed,
        "nothing": nothing,
        "hls": hls,
        "expiring": Expiring(once),
    }
    root = Resource()
    for name, write in pages.items():
        root.putChild(name.encode(), Page(write))
    return root
