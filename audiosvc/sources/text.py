"""What a URL or a name may be written in."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


_UNSEEN = re.compile(r"[\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]")
"""What turns the direction of the text around it (UAX #9), and other characters without a shape.

Joiners stay: emoji and several scripts are written with them.
"""

TITLE_MOST = 200
"""Characters of a title or a name that somebody else wrote."""


def is_plain(text: str) -> bool:
    """Whether `text` is free of control characters, line breaks of any kind, and lone surrogates."""
    return _CONTROL.search(text) is None


def clean(text: str, most: int = TITLE_MOST) -> str:
    """`text` on one line, without what is unseen or turns text around, at most `most` characters of it."""
    plain = _UNSEEN.sub("", _CONTROL.sub(" ", text[: most * 4]))
    return " ".join(plain.split())[:most].rstrip()
