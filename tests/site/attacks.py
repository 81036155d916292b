"""What an attacker's server answers to get in: ways to the internal host, and local files in disguise.

`internal` is a URL without path of a host that must never be reached, `canary` a media file that must never be opened.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.site import media
from tests.site.hits import SiteRequest

M3U8, MPD, HTML, MP3 = "application/vnd.apple.mpegurl", "application/dash+xml", "text/html", "audio/mpeg"
M3U, PLS, RSS = "audio/x-mpegurl", "audio/x-scpls", "application/rss+xml"

Answer = Callable[[SiteRequest], "tuple[str, bytes]"]
"""→ content type, body."""

_VOD = "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:2\n"
_SEGMENT = "../media/hls/index0.ts"
_KEY = '#EXT-X-KEY:METHOD=AES-128,URI="{}"'
_MASTER = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=64000{}\n"


def ways_in(internal: str) -> dict[str, Answer]:
    """Names of playlists and pages that lead to the internal host somewhere, where it would answer."""
    target = f"{internal}/media/mp3.mp3"
    away, index = f"../redirect?to={internal}/media", f"{internal}/media/hls/index.m3u8"
    return {
        "segment.m3u8": _playlist("#EXTINF:2,", f"{internal}/media/hls/index0.ts"),
        "later-segment.m3u8": _playlist("#EXTINF:2,", _SEGMENT, "#EXTINF:2,", f"{internal}/media/hls/index1.ts"),
        "segment-redirect.m3u8": _playlist("#EXTINF:2,", _SEGMENT, "#EXTINF:2,", f"{away}/hls/index1.ts"),
        "key.m3u8": _playlist(_KEY.format(f"{internal}/media/hls-aes/key.key"), "#EXTINF:2,", _SEGMENT),
        "key-redirect.m3u8": _playlist(_KEY.format(f"{away}/hls-aes/key.key"), "#EXTINF:2,", _SEGMENT),
        "map.m3u8": _playlist(f'#EXT-X-MAP:URI="{internal}/media/hls-fmp4/init.mp4"', "#EXTINF:2,", _SEGMENT),
        "stream.m3u8": _text(M3U8, f"{_MASTER.format('')}{index}\n"),
        "rendition.m3u8": _text(
            M3U8,
            f"{_MASTER.format(',AUDIO=' + chr(34) + 'a' + chr(34))}../media/hls/index.m3u8\n"
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="x",DEFAULT=YES,URI="{index}"\n',
        ),
        "base.mpd": _dash("<Period", f"<BaseURL>{internal}/media/dash/</BaseURL><Period"),
        "initialization.mpd": _dash('initialization="', f'initialization="{internal}/media/dash/'),
        "template.mpd": _dash('media="chunk', f'media="{internal}/media/dash/chunk'),
        "station.m3u": _text(M3U, f"#EXTM3U\n#EXTINF:-1,Radio\n{target}\n"),
        "station.pls": _text(PLS, f"[playlist]\nNumberOfEntries=1\nFile1={target}\n"),
        "feed.xml": _feed(target),
        "page-audio": _page(f'<audio src="{target}"></audio>'),
        "page-graph": _page(f'<meta property="og:audio" content="{target}">'),
        "page-frame": _page(f'<meta http-equiv="refresh" content="0; url={target}">'),
        "page-json-ld": _page(
            '<script type="application/ld+json">{"@context": "https://schema.org", "@type": "AudioObject", "name": "x",'
            f' "contentUrl": "{target}"}}</script>'
        ),
    }


def disguises(canary: Path) -> dict[str, Answer]:
    """Answers that name a local file in every way known, to an FFmpeg that guesses by content."""
    file = f"file://{canary}"
    return {
        "concat.mp3": _text(MP3, f"ffconcat version 1.0\nfile '{canary}'\n"),
        "concat-url.mp3": _text(MP3, f"ffconcat version 1.0\nfile '{file}'\n"),
        "session.mp3": _text(
            MP3, "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"
        ),
        "session.sdp": _text("application/sdp", "v=0\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n"),
        "picture.mp3": _text(
            MP3,
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink">'
            f'<image x:href="{file}"/></svg>',
        ),
        "map-file.m3u8": _playlist(f'#EXT-X-MAP:URI="{file}"', "#EXTINF:2,", _SEGMENT),
        "key-file.m3u8": _playlist(_KEY.format(file), "#EXTINF:2,", _SEGMENT),
        "segment-file.m3u8": _playlist("#EXTINF:2,", file),
        "segment-path.m3u8": _playlist("#EXTINF:2,", str(canary)),
        "segment-concat.m3u8": _playlist("#EXTINF:2,", f"concat:{canary}|{canary}"),
        "segment-subfile.m3u8": _playlist("#EXTINF:2,", f"subfile,,start,0,end,9999,,:{canary}"),
        "stream-file.m3u8": _text(M3U8, f"{_MASTER.format('')}{file}\n"),
        "base-file.mpd": _dash("<Period", f"<BaseURL>file://{canary.parent}/dash/</BaseURL><Period"),
        "playlist-in-disguise.mp3": lambda request: (MP3, _playlist("#EXTINF:2,", file)(request)[1]),
        "station-file.m3u": _text(M3U, f"#EXTM3U\n#EXTINF:-1,Radio\n{file}\n"),
        "station-file.pls": _text(PLS, f"[playlist]\nNumberOfEntries=1\nFile1={file}\n"),
        "feed-file.xml": _feed(file),
        "page-file": _page(f'<audio src="{file}"></audio>'),
    }


def _text(kind: str, text: str) -> Answer:
    return lambda _: (kind, text.encode())


def _playlist(*lines: str) -> Answer:
    return _text(M3U8, _VOD + "\n".join([*lines, "#EXT-X-ENDLIST", ""]))


def _page(markup: str) -> Answer:
    return _text(HTML, f"<!DOCTYPE html><html><head><title>Come in</title></head>{markup}</html>")


def _feed(url: str) -> Answer:
    item = f'<item><title>x</title><enclosure url="{url}" type="audio/mpeg" length="1"/></item>'
    return _text(RSS, f'<?xml version="1.0"?><rss version="2.0"><channel><title>x</title>{item}</channel></rss>')


def _dash(mark: str, instead: str) -> Answer:
    """The site's DASH, changed at `mark`; all else of it is where it was."""

    def manifest(_: SiteRequest) -> tuple[str, bytes]:
        text = media.content("dash/index.mpd").decode()
        assert mark in text
        text = text.replace(mark, instead, 1)
        if "<BaseURL>" not in text:
            text = text.replace("<Period", "<BaseURL>../media/dash/</BaseURL><Period", 1)
        return MPD, text.encode()

    return manifest
