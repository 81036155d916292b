"""Playlists: what of them is to be played.

Of an HLS master playlist FFmpeg fetches the first segments of every variant before it gives a sample, and then goes on
with the one of most video; so the variant is chosen here. The lists that stations hand out hold their stream's URL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

LINES_MOST = 4096
"""Lines of a playlist that are looked at."""

LINE_MOST = 4096
"""Characters of a line; what is longer is no URL that is played."""

SOUND_MOST = 400_000
"""Bits per second above which more does not sound better: of variants of sound alone, the best up to here is chosen."""

_ATTRIBUTE = re.compile(r'([A-Z0-9-]{1,64})=("[^"]*"|[^",]*)')
_SOUNDS = ("mp4a", "ac-3", "ec-3", "ac-4", "opus", "flac", "alac", "mp3", "vorbis", "dts")
_PLS = re.compile(r"file\d+\s*=\s*(https?://\S+)", re.IGNORECASE)
_VARIABLE = "{$"


@dataclass(frozen=True)
class _Variant:
    bandwidth: int
    codecs: tuple[str, ...]
    pictures: bool
    audio: str | None
    """The group of renditions its sound is in."""
    uri: str

    @property
    def sounds(self) -> bool:
        """Whether there is sound, as far as it says."""
        return not self.codecs or self.audio is not None or any(codec.startswith(_SOUNDS) for codec in self.codecs)

    @property
    def only_sounds(self) -> bool:
        codecs = self.codecs
        return bool(codecs) and not self.pictures and all(codec.startswith(_SOUNDS) for codec in codecs)


def read_hls(text: bytes, *, whole: bool) -> tuple[bool, str | None]:
    """(whether the playlist is live, the URI of what to play instead); of a master playlist the former is unknown.

    `whole` says that `text` is all of it and not its beginning: a list that goes on is live when it began before its
    first segment.
    """
    lines = list(_lines(text))
    if any(line.startswith("#EXT-X-STREAM-INF:") for line in lines):
        return False, _choose(lines)
    if any(line.startswith("#EXT-X-ENDLIST") or line == "#EXT-X-PLAYLIST-TYPE:VOD" for line in lines):
        return False, None
    return whole or any(_begun(line) for line in lines), None


def read_m3u(text: bytes) -> str | None:
    """The first http(s) URL of a list of them, None if there is none."""
    return next((line for line in _lines(text) if line.lower().startswith(("http://", "https://"))), None)


def read_pls(text: bytes) -> str | None:
    """The first http(s) URL of the entries of a PLS, None if there is none."""
    found = (_PLS.fullmatch(line) for line in _lines(text))
    return next((match[1] for match in found if match), None)


def _lines(text: bytes) -> Iterator[str]:
    for line in text.split(b"\n", LINES_MOST)[:LINES_MOST]:
        if len(line) <= LINE_MOST:
            yield line.decode("utf-8", "replace").strip()


def _begun(line: str) -> bool:
    name, _, number = line.partition(":")
    return name == "#EXT-X-MEDIA-SEQUENCE" and number.strip("0123456789") == "" and number.strip("0") not in ("", "1")


def _attributes(line: str) -> dict[str, str]:
    return {name: value.strip('"') for name, value in _ATTRIBUTE.findall(line.partition(":")[2])}


def _choose(lines: list[str]) -> str | None:
    """The best of the variants of sound alone, else the rendition of sound, else the cheapest variant with sound.

    None where nothing can be chosen: then FFmpeg may.
    """
    variants = [variant for variant in _variants(lines) if variant.sounds and _VARIABLE not in variant.uri]
    sound = [variant for variant in variants if variant.only_sounds and variant.audio is None]
    if sound:
        fitting = [variant for variant in sound if variant.bandwidth <= SOUND_MOST]
        if fitting:
            return max(fitting, key=lambda variant: variant.bandwidth).uri
        return min(sound, key=lambda variant: variant.bandwidth).uri
    for variant in sorted(variants, key=lambda variant: variant.bandwidth, reverse=True):
        if variant.audio is not None and (rendition := _rendition(lines, variant.audio)):
            return rendition
    return min(variants, key=lambda variant: variant.bandwidth).uri if variants else None


def _variants(lines: Iterable[str]) -> Iterator[_Variant]:
    said: dict[str, str] | None = None
    for line in lines:
        if line.startswith("#EXT-X-STREAM-INF:"):
            said = _attributes(line)
        elif line and not line.startswith("#") and said is not None:
            codecs = tuple(codec.strip().lower() for codec in said.get("CODECS", "").split(",") if codec.strip())
            bandwidth = said.get("BANDWIDTH", "")
            number = int(bandwidth) if bandwidth.isascii() and bandwidth.isdigit() and len(bandwidth) < 16 else 0
            yield _Variant(number, codecs, "RESOLUTION" in said, said.get("AUDIO"), line)
            said = None


def _rendition(lines: Iterable[str], group: str) -> str | None:
    """The URI of the default rendition in the group, else of the first."""
    found = [
        said
        for line in lines
        if line.startswith("#EXT-X-MEDIA:")
        and (said := _attributes(line)).get("TYPE") == "AUDIO"
        and said.get("GROUP-ID") == group
    ]
    found.sort(key=lambda said: said.get("DEFAULT") != "YES")
    uri = found[0].get("URI") if found else None
    return uri if uri and _VARIABLE not in uri else None
