"""What yt-dlp found, made into sources.

It comes from a hostile page, through a program that has read that: nothing of it is taken on trust.
"""

from __future__ import annotations

import math
import string
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import quote

from audiosvc.errors import (
    AudioServiceError,
    ExtractionFailed,
    SourceNotFound,
    SourceRefused,
    SourceUnreachable,
    UnsupportedUrl,
)
from audiosvc.extract.calls import Entry, Listing, Track, Trouble
from audiosvc.ffmpeg.command import HEADERS_ALLOWED, HEADERS_MOST
from audiosvc.session.track import SECONDS_MOST, URL_MOST
from audiosvc.sources import http
from audiosvc.sources.model import Http, Source
from audiosvc.sources.text import clean

THUMBNAIL_MOST = 2048
"""Characters of a picture's URL."""

SMUGGLED = "__youtubedl_smuggle"
"""In a URL's fragment yt-dlp takes this for orders of its own: how to read what it found, for itself."""

PROTOCOLS = frozenset({None, "http", "https", "m3u8", "m3u8_native", "http_dash_segments"})
"""Ways of transfer, in yt-dlp's words, that FFmpeg can take from the media's URL alone."""

_OPUS_EXTENSIONS = frozenset({"webm", "weba", "ogg", "opus"})
_STREAMED = {"m3u8": "hls", "m3u8_native": "hls", "http_dash_segments": "dash"}
"""FFmpeg's names for what is no media itself but a list of its pieces."""


def source(found: Track, url: str) -> Source:
    """The track at the page `url`. Raises `ExtractionFailed` where its media is nothing that may be opened."""
    if found.protocol not in PROTOCOLS:
        raise ExtractionFailed("the page's media is streamed in a way that cannot be played")
    try:
        media = _parsed(found.url)
    except UnsupportedUrl as error:
        raise ExtractionFailed(f"the page's media cannot be played: {error.message}") from None
    opus = (found.codec or "").lower().startswith("opus")
    return Source(
        url,
        replace(media, headers=headers(found.headers), demuxer=_STREAMED.get(found.protocol or "")),
        title=_text(found.title) or http.parse(found.url).title,
        duration=None if found.live else _duration(found.duration),
        thumbnail=_thumbnail(found.thumbnail),
        uploader=_text(found.uploader),
        live=found.live,
        opus=opus and found.ext in _OPUS_EXTENSIONS and found.protocol not in _STREAMED,
        extracted=True,
        playlist=None if found.playlist is None else clean(found.playlist),
    )


def sources(found: Listing, most: int) -> list[Source]:
    """The entries of a list that can be asked for again, each by its URL, at most `most`; others are left out.

    yt-dlp's orders to itself are cut off their URLs, since none are taken from outside. An entry that needs them, such
    as a player that must be told which page it is embedded in, then does not play by itself.
    """
    made = (_entry(entry) for entry in found.entries)
    return [source for source in made if source is not None][:most]


def error(trouble: Trouble) -> AudioServiceError:
    """`trouble` as what the caller is told."""
    message = clean(trouble.message)
    match trouble.kind:
        case "not_found":
            return SourceNotFound("the page is not there")
        case "refused":
            return SourceRefused(f"the site refused: {message}" if message else None)
        case "unreachable":
            return SourceUnreachable("the site could not be reached")
        case "memory":
            return ExtractionFailed("the page takes too much memory to read")
        case "nothing":
            return ExtractionFailed()
    return ExtractionFailed(f"the page could not be read: {message}" if message else None)


def page(url: str) -> str:
    """What yt-dlp is asked for where the caller asked for `url`: canonical, the fragment kept, for some sites name the
    track in it. Raises `UnsupportedUrl`."""
    canonical = _parsed(url).url
    fragment = url.partition("#")[2]
    if SMUGGLED in fragment:
        raise UnsupportedUrl("the URL's fragment is malformed")
    return f"{canonical}#{quote(fragment, safe=string.punctuation)}" if fragment else canonical


def headers(given: Mapping[str, str]) -> dict[str, str]:
    """Those of a request's headers that FFmpeg may send, their names in lower case.

    Others are left out, and so is one whose value is more than printable ASCII. Too many are an `ExtractionFailed`: cut
    down, they would get something else than what was meant.
    """
    taken = {
        name.lower(): value
        for name, value in given.items()
        if name.isascii() and name.lower() in HEADERS_ALLOWED and value.isascii() and value.isprintable()
    }
    if sum(len(f"{name}: {value}\r\n") for name, value in taken.items()) > HEADERS_MOST:
        raise ExtractionFailed("the page's media takes more request headers than are sent")
    return taken


def _entry(entry: Entry) -> Source | None:
    try:
        url = page(entry.url.partition(f"#{SMUGGLED}=")[0])
        parsed = http.parse(url)
    except UnsupportedUrl:
        return None
    return replace(
        parsed,
        title=_text(entry.title) or parsed.title,
        duration=_duration(entry.duration),
        thumbnail=_thumbnail(entry.thumbnail),
        uploader=_text(entry.uploader),
    )


def _parsed(url: str) -> Http:
    media = http.parse(url).media if len(url) <= URL_MOST else None
    if not isinstance(media, Http) or len(media.url) > URL_MOST:
        raise UnsupportedUrl(f"a URL is at most {URL_MOST} characters long")
    return media


def _text(given: str | None) -> str | None:
    return clean(given) or None if given else None


def _duration(seconds: float | None) -> float | None:
    """Seconds of a track; nonsense is not known. (Zero is what pages say that do not know.)"""
    if seconds is None or not math.isfinite(seconds) or not 0 < seconds <= SECONDS_MOST:
        return None
    return seconds


def _thumbnail(given: str | None) -> str | None:
    """A picture's URL, which clients will open: as strictly parsed as what we open."""
    try:
        url = _parsed(given).url if given else None
    except UnsupportedUrl:
        return None
    return url if url is not None and len(url) <= THUMBNAIL_MOST else None
