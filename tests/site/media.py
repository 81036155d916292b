"""Media of every kind for the site, made by FFmpeg once a run, each when it is first asked for."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from audiosvc.codec.ogg import OggMuxer
from audiosvc.ffmpeg.binary import find_ffmpeg
from tests.site import clock

SECONDS = 16
"""Length of each of the kinds."""

LONG = 120
"""Length of `long.*`, for tests that listen in real time."""

HOUR = 3600

PIECES = Path(__file__).parents[2] / "audiosvc" / "sources" / "pieces"


@dataclass(frozen=True)
class Kind:
    """One kind of media: where the site has it, and what is true of it."""

    name: str
    path: str
    """Below the site's root."""
    mono: bool = False
    titled: bool = True
    """Whether it carries its title, "Clock in NAME", and its artist, "A Clock"."""
    timed: bool = True
    """Whether its duration is known when it is opened."""
    slack: float = 0.06
    """Seconds by which that may be off."""

    @property
    def title(self) -> str:
        return f"Clock in {self.name}"


KINDS = (
    Kind("mp3", "media/mp3.mp3"),
    Kind("mp3-vbr", "media/mp3-vbr.mp3"),
    Kind("mp3-cover", "media/mp3-cover.mp3"),
    Kind("ogg", "media/ogg.ogg"),
    Kind("opus", "media/opus.opus"),
    Kind("opus-60", "media/opus-60.opus"),
    Kind("opus-mono", "media/opus-mono.opus", mono=True),
    Kind("opus-chained", "media/opus-chained.opus", timed=False),
    Kind("webm", "media/webm.webm"),
    Kind("m4a", "media/m4a.m4a"),
    Kind("m4a-fast", "media/m4a-fast.m4a"),
    Kind("m4a-fragmented", "media/m4a-fragmented.m4a"),
    Kind("aac", "media/aac.aac", titled=False, timed=False),
    Kind("flac", "media/flac.flac"),
    Kind("wav", "media/wav.wav"),
    Kind("wav-piped", "media/wav-piped.wav"),
    Kind("au-piped", "media/au-piped.au"),
    Kind("ts", "media/ts.ts", titled=False, slack=0.12),
    Kind("film", "media/film.mp4"),
    Kind("hls", "media/hls/index.m3u8", titled=False),
    Kind("hls-fmp4", "media/hls-fmp4/index.m3u8", titled=False),
    Kind("hls-aes", "media/hls-aes/index.m3u8", titled=False),
    Kind("hls-master", "media/hls-master/index.m3u8", titled=False),
    Kind("dash", "media/dash/index.mpd", titled=False),
)
"""`aac` has no header that says how long it is, and a chained Ogg has one for each of its parts."""

HOURS = ("hour.mp3", "hour-vbr.mp3", "hour.m4a", "hour-fast.m4a", "hour.webm", "hour.opus", "hour.ogg", "hour.flac")
"""An hour each, mono: the sweep only."""

_ARGUMENTS: dict[str, str] = {
    "mp3.mp3": "-b:a 128k",
    "mp3-vbr.mp3": "-q:a 4",
    "ogg.ogg": "-c:a libvorbis",
    "opus.opus": "-c:a libopus",
    "opus-60.opus": "-c:a libopus -frame_duration 60",
    "webm.webm": "-c:a libopus",
    "m4a.m4a": "-c:a aac",
    "m4a-fast.m4a": "-c:a aac -movflags +faststart",
    "m4a-fragmented.m4a": "-c:a aac -movflags +frag_keyframe+empty_moov+default_base_moof -frag_duration 1000000",
    "aac.aac": "-c:a aac",
    "flac.flac": "",
    "wav.wav": "-c:a copy",
    "ts.ts": "-c:a aac",
}
_HLS = "-c:a aac -f hls -hls_playlist_type vod -hls_time 2"


@cache
def folder() -> Path:
    """Where all of it is made; gone when the tests are."""
    made = Path(tempfile.mkdtemp(prefix="site"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def find(path: str) -> Path | None:
    """The file at `path` (below `media/`), made if need be; None if there is none of that name."""
    name = path.partition("/")[0]
    if name not in _MAKERS:
        return None
    _make(name)
    found = folder() / path
    return found if found.is_file() and found.resolve().is_relative_to(folder()) else None


def content(path: str) -> bytes:
    """All of a file that is known to be there."""
    found = find(path)
    assert found is not None, path
    return found.read_bytes()


def content_type(path: str) -> str:
    return _TYPES.get(path.rpartition(".")[2], "application/octet-stream")


_TYPES = {
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "opus": "audio/ogg",
    "webm": "audio/webm",
    "m4a": "audio/mp4",
    "m4s": "audio/mp4",
    "mp4": "video/mp4",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "au": "audio/basic",
    "ts": "video/mp2t",
    "m3u8": "application/vnd.apple.mpegurl",
    "mpd": "application/dash+xml",
}


def ffmpeg(*arguments: object) -> None:
    argv = [find_ffmpeg(), "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    subprocess.run(argv, check=True, timeout=120, cwd=folder())


# --- the makers -------------------------------------------------------------------------------------------------------


@cache
def _make(name: str) -> None:
    _MAKERS[name](name)


def _signal(seconds: int) -> str:
    _make(name := f"signal-{seconds}.wav")
    return name


def _tagged(name: str) -> list[str]:
    return ["-metadata", f"title=Clock in {name.partition('.')[0]}", "-metadata", "artist=A Clock"]


def _piped(name: str) -> None:
    """Written to a pipe, and so with a header that does not know how long it will be."""
    container = name.rpartition(".")[2]
    argv = [find_ffmpeg(), "-v", "error", "-nostdin", "-i", _signal(SECONDS), *_tagged(name), "-f", container, "pipe:1"]
    made = subprocess.run(argv, check=True, timeout=120, cwd=folder(), stdout=subprocess.PIPE)
    (folder() / name).write_bytes(made.stdout)


def _write_signal(name: str) -> None:
    seconds = int(name.removeprefix("signal-").removesuffix(".wav"))
    clock.write(folder() / name, seconds)


def _plain(name: str) -> None:
    ffmpeg("-i", _signal(SECONDS), *_ARGUMENTS[name].split(), *_tagged(name), name)


def _long(name: str) -> None:
    codec = {"mp3": "-b:a 192k", "opus": "-c:a libopus", "webm": "-c:a libopus", "flac": "", "m4a": "-c:a aac"}
    ffmpeg("-i", _signal(LONG), *codec[name.partition(".")[2]].split(), *_tagged(name), name)


def _cover(name: str) -> None:
    """With a picture of some megabytes once it is unpacked, as albums have it."""
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=3000x3000", "-frames:v", "1", "cover.png")
    ffmpeg(
        "-i", _signal(SECONDS), "-i", "cover.png", "-map", "0:a", "-map", "1:v", "-c:v", "copy", *_tagged(name), name
    )


def _mono(name: str) -> None:
    clock.write(folder() / "mono.wav", SECONDS, mono=True)
    ffmpeg("-i", "mono.wav", "-c:a", "libopus", *_tagged(name), name)


def _chained(name: str) -> None:
    """Two streams, each half as long."""
    seconds = LONG if name.startswith("long") else SECONDS
    half = seconds // 2
    for at, part in ((0, "first.opus"), (half, "second.opus")):
        ffmpeg("-ss", at, "-t", half, "-i", _signal(seconds), "-c:a", "libopus", *_tagged(name), part)
    whole = (folder() / "first.opus").read_bytes() + (folder() / "second.opus").read_bytes()
    (folder() / name).write_bytes(whole)


def _film(name: str) -> None:
    picture = ["-f", "lavfi", "-i", f"testsrc=d={SECONDS}:s=64x48:r=5"]
    ffmpeg("-i", _signal(SECONDS), *picture, "-c:a", "aac", "-c:v", "mpeg4", *_tagged(name), "-shortest", name)


def _hls(name: str) -> None:
    (folder() / name).mkdir()
    more: list[object] = []
    if name == "hls-fmp4":
        more = ["-hls_segment_type", "fmp4"]
    elif name == "hls-aes":
        (folder() / name / "key.key").write_bytes(bytes(range(16)))
        (folder() / "key-info").write_text(f"key.key\n{folder() / name / 'key.key'}\n")
        more = ["-hls_key_info_file", "key-info"]
    ffmpeg("-i", _signal(SECONDS), *_HLS.split(), *more, f"{name}/index.m3u8")


def _master(name: str) -> None:
    _make("hls")
    (folder() / name).mkdir()
    lines = "".join(f'#EXT-X-STREAM-INF:BANDWIDTH={n}000,CODECS="mp4a.40.2"\n../hls/index.m3u8\n' for n in (64, 128))
    (folder() / name / "index.m3u8").write_text(f"#EXTM3U\n{lines}")


def _dash(name: str) -> None:
    """Without an edit list, which FFmpeg would apply to every segment: 7 times 21 ms would be missing."""
    (folder() / name).mkdir()
    plain = ["-format_options", "use_editlist=0"]
    ffmpeg("-i", _signal(SECONDS), "-c:a", "aac", "-f", "dash", "-seg_duration", 2, *plain, f"{name}/index.mpd")


def _live(name: str) -> None:
    """A minute in segments of one second, for a window to slide over."""
    (folder() / name).mkdir()
    cut = "-c:a aac -f hls -hls_list_size 0 -hls_time 1 -hls_segment_filename"
    ffmpeg("-i", _signal(LONG), *cut.split(), f"{name}/%d.ts", f"{name}/whole.m3u8")


def _piece(name: str) -> None:
    """Music for the radio: frames only, no header."""
    bare = ["-map", "0:a", "-map_metadata", "-1", "-id3v2_version", "0", "-write_xing", "0"]
    ffmpeg("-i", PIECES / "prelude.ogg", "-t", 60, *bare, "-b:a", "128k", name)


# --- an hour, cheaply ------------------------------------------------------------------------------------------------


def _hour(name: str) -> None:
    """A minute or so of packets that begin and end at the same point of the signal, many times over.

    16 kHz: 72 s are 2,000 frames of MP3, 64 s are 1,000 of AAC; of Opus every second is a whole number.
    """
    clock.write(folder() / "minute.wav", 80, mono=True, rate=16_000)
    stem, _, suffix = name.partition(".")
    tags = _tagged(name)
    if suffix == "mp3":
        rate = ["-q:a", "6"] if stem == "hour-vbr" else ["-b:a", "32k"]
        raw = ["-reservoir", "0", "-write_xing", "0", "-id3v2_version", "0"]
        ffmpeg("-i", "minute.wav", *rate, *raw, "minute.mp3")
        frames = _mp3_frames((folder() / "minute.mp3").read_bytes())
        # The first frame is the encoder's delay.
        (folder() / "looped.mp3").write_bytes(b"".join(frames[1:2001]) * (HOUR // 72))
        ffmpeg("-i", "looped.mp3", "-c", "copy", *tags, name)
    elif suffix == "m4a":
        ffmpeg("-i", "minute.wav", "-c:a", "aac", "-b:a", "32k", "minute.aac")
        frames = _adts_frames((folder() / "minute.aac").read_bytes())
        whole = frames[1:1001] * (HOUR // 64 + 1)
        (folder() / "looped.aac").write_bytes(b"".join(whole[: HOUR * 16_000 // 1024]))
        fast = ["-movflags", "+faststart"] if stem == "hour-fast" else []
        ffmpeg("-i", "looped.aac", "-c", "copy", *fast, *tags, name)
    elif suffix in ("opus", "webm"):
        ffmpeg("-i", "minute.wav", "-c:a", "libopus", "-b:a", "24k", "-page_duration", "1", "minute.opus")
        packets = _ogg_packets((folder() / "minute.opus").read_bytes())[2:]
        muxer = OggMuxer(1, title="Clock in " + stem, artist="A Clock")
        looped = packets[200:3200] * (HOUR // 60)
        with (folder() / "looped.opus").open("wb") as file:
            file.writelines(muxer.headers())
            file.writelines(muxer.page(packet, last=i == len(looped)) for i, packet in enumerate(looped, 1))
        ffmpeg("-i", "looped.opus", "-c", "copy", *tags, name)
    elif suffix == "ogg":
        # The encoder's last block is 32 ms longer than the sound, so a minute less 32 ms repeats each minute.
        slow = ["-ar", "8000", "-c:a", "libvorbis"]
        ffmpeg("-i", "minute.wav", "-t", 59.968, *slow, "minute.ogg")
        ffmpeg("-stream_loop", HOUR // 60 - 1, "-i", "minute.ogg", "-c", "copy", *tags, name)
    else:
        looped = ["-stream_loop", HOUR // 80 - 1, "-i", "minute.wav"]
        ffmpeg(*looped, "-compression_level", "0", *tags, name)


def _mp3_frames(data: bytes) -> list[bytes]:
    """Of MPEG-2 layer III at 16 kHz."""
    rates = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    frames, at = [], 0
    while at + 4 <= len(data) and data[at] == 0xFF:
        size = 72_000 * rates[data[at + 2] >> 4] // 16_000 + (data[at + 2] >> 1 & 1)
        frames.append(data[at : at + size])
        at += size
    return frames


def _adts_frames(data: bytes) -> list[bytes]:
    frames, at = [], 0
    while at < len(data):
        size = (data[at + 3] & 3) << 11 | data[at + 4] << 3 | data[at + 5] >> 5
        frames.append(data[at : at + size])
        at += size
    return frames


def _ogg_packets(data: bytes) -> list[bytes]:
    packets: list[bytes] = []
    rest, at = b"", 0
    while at < len(data):
        lacing = data[at + 27 : at + 27 + data[at + 26]]
        at += 27 + len(lacing)
        for size in lacing:
            rest += data[at : at + size]
            at += size
            if size < 255:
                packets.append(rest)
                rest = b""
    return packets


_MAKERS: dict[str, Callable[[str], None]] = {
    **dict.fromkeys(_ARGUMENTS, _plain),
    **{f"signal-{n}.wav": _write_signal for n in (SECONDS, LONG)},
    **{f"long.{suffix}": _long for suffix in ("mp3", "opus", "webm", "flac", "m4a")},
    **dict.fromkeys(("wav-piped.wav", "au-piped.au"), _piped),
    "mp3-cover.mp3": _cover,
    "opus-mono.opus": _mono,
    **dict.fromkeys(("opus-chained.opus", "long-chained.opus"), _chained),
    "film.mp4": _film,
    **dict.fromkeys(("hls", "hls-fmp4", "hls-aes"), _hls),
    "hls-master": _master,
    "dash": _dash,
    "live": _live,
    "piece.mp3": _piece,
    **dict.fromkeys(HOURS, _hour),
}
