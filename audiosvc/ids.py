"""Session ids as callers name them, and track ids as we make them."""

from __future__ import annotations

import re
import uuid

from audiosvc.errors import InvalidSessionId

SESSION_ID_BYTES = 36
"""Width of the id's field on the wire: a UUID fits exactly, a Discord snowflake with padding."""

SESSION_ID_PATTERN = r"^[A-Za-z0-9_.:-]{1,36}$(?!\n)"
"""The rule for schemas; the look-ahead is there because `$` alone lets a trailing newline pass."""

_SESSION_ID = re.compile(r"[A-Za-z0-9_.:-]{1,36}", re.ASCII)


def is_session_id(text: str) -> bool:
    """Whether `text` may name a session; nothing is ever truncated or mapped to make it fit."""
    return _SESSION_ID.fullmatch(text) is not None


def session_id(text: str) -> str:
    """`text` itself, or `InvalidSessionId`."""
    if not is_session_id(text):
        raise InvalidSessionId()
    return text


def new_track_id() -> str:
    """A fresh id for one accepted play."""
    return uuid.uuid4().hex
