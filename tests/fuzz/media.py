"""Two seconds of sound in each container that is fuzzed, made by FFmpeg."""

from __future__ import annotations

import subprocess
from pathlib import Path

from audiosvc.ffmpeg.binary import find_ffmpeg

_CODECS = {
    "mp3": "-c:a libmp3lame -b:a 64k -metadata title=Title",
    "ogg": "-c:a libvorbis -metadata title=Title",
    "opus": "-c:a libopus -b:a 64k -metadata title=Title",
    "webm": "-c:a libopus -b:a 64k -metadata title=Title",
    "m4a": "-c:a aac -b:a 64k -movflags +faststart",
    "flac": "",
    "ts": "-c:a aac -b:a 64k",
    "wav": "-ar 8000 -ac 1",
    "m3u8": "-c:a aac -b:a 64k -f hls -hls_playlist_type vod -hls_time 1",
}

CONTAINERS = tuple(_CODECS)


def make(folder: Path) -> dict[str, bytes]:
    """One file of each; the playlist's segments lie beside it in `folder`."""
    sine = ["-f", "lavfi", "-i", "sine=frequency=440:duration=2:sample_rate=48000"]
    made = {}
    for container, codec in _CODECS.items():
        path = folder / f"whole.{container}"
        argv = [find_ffmpeg(), "-nostdin", "-v", "error", *sine, *codec.split(), str(path)]
        subprocess.run(argv, check=True, timeout=60)
        made[container] = path.read_bytes()
    return made
