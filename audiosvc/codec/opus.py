"""The Opus encoder and decoder: libopus through opuslib, frames in, packets out.

opuslib looks for the library once, when it is imported, and only where the system keeps its own. So it is
imported here, with one more place to look: the libopus that the wheel of opuslib-next-bundled carries.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.util
import threading
import warnings
from pathlib import Path
from typing import Any

from audiosvc.audio import CHANNELS, FRAME_BYTES, FRAME_SAMPLES, OPUS_PACKET_MOST, SAMPLE_RATE

COMPLEXITY_MOST = 10
FRAMES_AT_ONCE = 16
"""Frames one call into the encoder may bring; a longer piece is taken in several."""


def _bundled_libopus() -> str | None:
    spec = importlib.util.find_spec("opuslib_next")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for name in ("libopus.so", "libopus.dylib"):
            path = Path(folder, "_native", name)
            if path.is_file():
                return str(path)
    return None


def _import_opuslib() -> Any:
    find = ctypes.util.find_library

    def find_opus(name: str) -> str | None:
        found = find(name)
        if name == "opus":
            try:
                return found if found and ctypes.CDLL(found) else _bundled_libopus()
            except OSError:
                # The loader's cache can name a library that is gone.
                return _bundled_libopus()
        return found

    ctypes.util.find_library = find_opus
    try:
        with warnings.catch_warnings():
            # opuslib compares numbers with `is not`, of which Python warns wherever it has to compile it anew.
            warnings.simplefilter("ignore", SyntaxWarning)
            import opuslib.api.ctl
            import opuslib.api.decoder
            import opuslib.api.encoder
            import opuslib.api.info
    except Exception as error:
        raise ImportError(f"libopus was found neither on this system nor in a wheel: {error}") from error
    finally:
        ctypes.util.find_library = find
    return opuslib


opuslib = _import_opuslib()


def libopus_version() -> str:
    """What libopus calls itself, "libopus 1.5.2" for example."""
    return str(opuslib.api.info.get_version_string().decode("ascii", "replace"))


class _Desk(threading.local):
    """Where frames lie while they are encoded, one for each thread: nothing is allocated a packet."""

    def __init__(self) -> None:
        samples = (ctypes.c_int16 * (FRAMES_AT_ONCE * FRAME_SAMPLES * CHANNELS))()
        self.pcm = memoryview(samples).cast("B")
        first, pointer = ctypes.addressof(samples), opuslib.api.c_int16_pointer
        self.frames = [ctypes.cast(first + i * FRAME_BYTES, pointer) for i in range(FRAMES_AT_ONCE)]
        self.out = ctypes.create_string_buffer(OPUS_PACKET_MOST)
        self.packet = memoryview(self.out)


_desk = _Desk()


class Encoder:
    """One track's encoder: every packet depends on those before it, so calls must not overlap.

    `bitrate` is in bits per second (variable, this on average), `complexity` 0 to 10; it may be changed between calls.
    """

    def __init__(self, bitrate: int, complexity: int) -> None:
        api, ctl = opuslib.api.encoder, opuslib.api.ctl
        self._encode = api.libopus_encode
        self._destroy = api.destroy
        self._state = api.create_state(SAMPLE_RATE, CHANNELS, opuslib.APPLICATION_AUDIO)
        api.encoder_ctl(self._state, ctl.set_bitrate, bitrate)
        self._complexity = -1
        self.set_complexity(complexity)

    def set_complexity(self, complexity: int) -> None:
        """From the next frame on; the stream goes on as it was."""
        if complexity != self._complexity:
            self._complexity = complexity
            opuslib.api.encoder.encoder_ctl(self._state, opuslib.api.ctl.set_complexity, complexity)

    def encode(self, pcm: bytes) -> list[bytes]:
        """One packet per frame of `pcm`. ValueError for a partial frame; raises `opuslib.OpusError`."""
        if len(pcm) % FRAME_BYTES:
            raise ValueError(f"{len(pcm)} bytes are not whole frames of {FRAME_BYTES}")
        encode, state, desk = self._encode, self._state, _desk
        out, packet, packets = desk.out, desk.packet, []
        for start in range(0, len(pcm), FRAMES_AT_ONCE * FRAME_BYTES):
            piece = pcm[start : start + FRAMES_AT_ONCE * FRAME_BYTES]
            desk.pcm[: len(piece)] = piece
            for frame in desk.frames[: len(piece) // FRAME_BYTES]:
                size = encode(state, frame, FRAME_SAMPLES, out, OPUS_PACKET_MOST)
                if size < 0:
                    raise opuslib.OpusError(size)
                packets.append(packet[:size].tobytes())
        return packets

    def __del__(self) -> None:
        if state := getattr(self, "_state", None):
            self._destroy(state)


class Decoder:
    """Packets back to PCM, for level meters and tests."""

    def __init__(self) -> None:
        self._decoder = opuslib.Decoder(SAMPLE_RATE, CHANNELS)

    def decode(self, packet: bytes) -> bytes:
        """s16le PCM of one packet of at most 20 ms; raises `opuslib.OpusError`."""
        return bytes(self._decoder.decode(packet, FRAME_SAMPLES))
