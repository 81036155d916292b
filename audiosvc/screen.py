"""Where tracks are shown while they play: a terminal, or a log."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import TextIO

from audiosvc.view import Track, line, sentence

LIVE_INTERVAL, PLAIN_INTERVAL = 0.2, 2.0
"""Seconds between two pictures on a terminal, and between two lines elsewhere."""


class Screen:
    """Draws tracks: in place on a terminal, else as lines that follow each other."""

    def __init__(self, out: TextIO, live: bool) -> None:
        self._out, self._live = out, live
        self._drawn = 0
        self.interval = LIVE_INTERVAL if live else PLAIN_INTERVAL

    def draw(self, tracks: Sequence[Track], now: float) -> None:
        if not self._live:
            self.write("".join(f"{sentence(track, now)}\n" for track in tracks))
            return
        # One column stays free: some terminals wrap when the last one is written to.
        columns = shutil.get_terminal_size().columns - 1
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        self.write(up + "".join(f"{line(track, now, columns)}\x1b[K\n" for track in tracks))
        self._drawn = len(tracks)

    def write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
