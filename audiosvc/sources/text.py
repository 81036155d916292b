"""What a URL or a name may be written in."""

from __future__ import annotations

import re

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def is_plain(text: str) -> bool:
    """Whether `text` is free of control characters, line breaks of any kind, and lone surrogates."""
    return _CONTROL.search(text) is None
