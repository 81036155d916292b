"""A track as an Ogg Opus file."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import BinaryIO

from audiosvc.audio import FRAME_BYTES
from audiosvc.codec.ogg import MalformedPacket, OggDemuxer, OggMuxer, begins_stream, end_after, is_page


def free_path(folder: Path, name: str, joint: str) -> Path:
    """`NAME.ogg`, or with `joint` and a number behind, that does not exist yet: a recording never replaces one."""
    path, number = folder / f"{name}.ogg", 2
    while path.exists():
        path, number = folder / f"{name}{joint}{number}.ogg", number + 1
    return path


class Recorder:
    """One track into one Ogg Opus stream: Opus packets are put into pages, Ogg pages written as they are.

    A path is opened here, replaced if it is there, and closed by `close`; an open file only gets this stream.
    """

    def __init__(self, target: Path | BinaryIO, title: str | None = None) -> None:
        self._muxer = OggMuxer(secrets.randbits(32), title=title)
        self._demuxer = OggDemuxer()
        self._begun = False
        self._page = b""
        """The last page that was written as it came."""
        self._owned = isinstance(target, Path)
        self._file: BinaryIO = target.open("wb") if isinstance(target, Path) else target

    def packet(self, payload: bytes) -> None:
        """Write a packet and flush it. Raises `OSError`, and `MalformedPacket` for what is neither Opus nor Ogg."""
        if not is_page(payload):
            if len(payload) == FRAME_BYTES:
                raise MalformedPacket("the payload is PCM, not Opus")
            self._add(payload)
        elif self._page or (begins_stream(payload) and not self._begun):
            self._page = payload
            self._write(payload)
        else:
            # Heard from its middle on, a stream lacks its headers: the packets go into one of our own.
            for found in self._demuxer.feed(payload):
                if not found.data.startswith((b"OpusHead", b"OpusTags")):
                    self._add(found.data)

    def close(self) -> None:
        """End the stream properly. Raises `OSError`."""
        try:
            if self._page:
                self._write(end_after(self._page))
            elif self._begun:
                self._write(self._muxer.end())
        finally:
            if self._owned:
                self._file.close()

    def _add(self, packet: bytes) -> None:
        headers = [] if self._begun else self._muxer.headers()
        self._write(b"".join([*headers, self._muxer.page(packet)]))
        self._begun = True

    def _write(self, data: bytes) -> None:
        self._file.write(data)
        self._file.flush()
