"""Whether a play takes anything worth counting, as far as can be known before it is looked up."""

from __future__ import annotations

from audiosvc.flow.shared import key_of
from audiosvc.session.session import House
from audiosvc.session.track import Play
from audiosvc.sources.model import Http


def is_light(house: House, play: Play) -> bool:
    """Whether what `play` asks for is known to need no work: Opus to be passed on, a kept track, or a broadcast."""
    cache, asked = house.workshop.cache, play.bitrate is not None
    bitrate = None if play.format == "pcm" else play.bitrate or house.bitrate
    source = house.resolver.known(play.url)
    if source is None and cache is not None and bitrate is not None:
        source = cache.known(play.url, bitrate, asked)
    if source is None:
        return False
    if source.live:
        media = source.media
        return isinstance(media, Http) and house.broadcasts.find(key_of(media, bitrate, play.volume)) is not None
    if play.volume != 1:
        return False
    return source.may_pass(bitrate, asked) or (cache is not None and cache.find(source, bitrate, asked) is not None)
