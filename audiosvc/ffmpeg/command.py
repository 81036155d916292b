"""FFmpeg's command lines, and the environment its children get."""

from __future__ import annotations

import math
import ssl
from collections.abc import Mapping

from audiosvc.audio import FRAME_SAMPLES, FRAME_SECONDS, SAMPLE_RATE
from audiosvc.errors import UnsupportedUrl
from audiosvc.sources.model import File, Http, Source, Tone

ALLOC_MOST = 64 * 1024 * 1024
"""Bytes FFmpeg may ask for at once. A picture of 16,000 x 16,000 inside an MP3 takes 780 MB without it."""

STALL_SECONDS = 10
"""How long a server may be silent, in the answer's head as in its body."""

RECONNECT_SECONDS = 4
"""Longest wait between two attempts to resume a dropped transfer; they double from 0, then it gives up."""

CHUNK_SAMPLES = 5 * FRAME_SAMPLES
"""Samples that go through FFmpeg's filters and into the pipe together: a tenth fewer cycles than a frame at a time."""

HEADERS_ALLOWED = frozenset({"accept", "accept-language", "cookie", "origin", "referer", "user-agent"})
"""Request headers that a source may bring with it; others are left out. FFmpeg makes those of the transfer itself."""

HEADERS_MOST = 4096
"""Characters of all of a source's headers together."""

TONE_AMPLITUDE = 10 ** (-15 / 20) * math.sqrt(2)
"""Peak of a sine whose root mean square is 15 dB below full scale."""

_CONTAINERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,ogg,tak,tta,w64,wav,wv"
)
"""Demuxers that read sound from the one thing they are given: no playlists, nothing that names other files or hosts."""

_STREAMED = f"{_CONTAINERS},dash,hls,webvtt"
"""Over HTTP playlists are media too; the protocol whitelist holds for what they name. WebVTT is HLS's subtitles."""

_CODECS = ",".join(
    (
        "aac,aac_fixed,aac_latm,ac3,ac3_fixed,adpcm_ima_qt,adpcm_ima_wav,adpcm_ms,adpcm_swf,adpcm_yamaha,alac,als",
        "amrnb,amrwb,ape,dca,eac3,flac,g722,gsm,gsm_ms,libgsm,libgsm_ms,libopencore_amrnb,libopencore_amrwb,libopus",
        "libspeex,libvorbis,mlp,mp1,mp1float,mp2,mp2float,mp3,mp3float,mpc7,mpc8,nellymoser,opus,pcm_alaw,pcm_bluray",
        "pcm_dvd,pcm_f32be,pcm_f32le,pcm_f64be,pcm_f64le,pcm_mulaw,pcm_s16be,pcm_s16le,pcm_s24be,pcm_s24le,pcm_s32be",
        "pcm_s32le,pcm_s8,pcm_u8,speex,tak,truehd,tta,vorbis,wavpack,wmalossless,wmapro,wmav1,wmav2,wmavoice",
    )
)
"""Sound only: pictures and video are not decoded while probing, which costs memory, time and attack surface."""

_PROTOCOLS = "http,https,tcp,tls,crypto,httpproxy"


def decode_argv(ffmpeg: str, source: Source, position: float = 0.0, duration: float | None = None) -> list[str]:
    """Decode `source` from `position` on to s16le 48 kHz stereo on standard output.

    Seconds, both; `duration` None is to the end, and less than a frame is a frame. What FFmpeg says, each line with its
    level, goes to standard error for `report` to read. Raises `UnsupportedUrl` for headers that cannot be sent.
    """
    media = source.media
    if isinstance(media, Tone):
        argv = [*_common(ffmpeg), *_tone(media, position, duration)]
    else:
        argv = [*_common(ffmpeg), *_opened(media, position)]
        if duration is not None:
            argv += ["-t", _seconds(max(duration, FRAME_SECONDS))]
    shape = f"aformat=sample_fmts=s16:sample_rates={SAMPLE_RATE}:channel_layouts=stereo"
    argv += ["-map", "0:a:0", "-vn", "-sn", "-dn", "-af", f"{shape},asetnsamples=n={CHUNK_SAMPLES}:p=0"]
    return [*argv, "-threads", "1", "-c:a", "pcm_s16le", "-f", "s16le", "pipe:1"]


def probe_argv(ffmpeg: str, source: Source) -> list[str]:
    """Open `source`, describe it on standard error, decode nothing.

    FFmpeg then complains that it was given no output, which `report` knows.
    """
    media = source.media
    opened = _tone(media, 0.0, None) if isinstance(media, Tone) else _opened(media, 0.0)
    return [*_common(ffmpeg), *opened]


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """All that a child sees of the daemon's environment.

    Made from nothing: `no_proxy`, `http_proxy` and whatever else libraries obey stays outside. SSL_CERT_FILE is the
    trust store Python would use: an FFmpeg with OpenSSL inside looks for one in its builder's paths.
    """
    made = {"PATH": environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"), "LANG": "C.UTF-8"}
    trusted = ssl.get_default_verify_paths().cafile
    if trusted is not None:
        made["SSL_CERT_FILE"] = trusted
    return made


def _common(ffmpeg: str) -> list[str]:
    """One stream is all a child does: one thread in each of its parts."""
    quiet = ["-nostdin", "-hide_banner", "-nostats", "-v", "level+info"]
    return [ffmpeg, *quiet, "-max_alloc", str(ALLOC_MOST), "-filter_threads", "1", "-threads", "1"]


def _opened(media: File | Http, position: float) -> list[str]:
    seek = ["-ss", _seconds(position)] if position > 0 else []
    return [*(_file() if isinstance(media, File) else _http(media)), *seek, "-i", _input(media)]


def _input(media: File | Http) -> str:
    return f"file:{media.path}" if isinstance(media, File) else media.url


def _file() -> list[str]:
    return ["-protocol_whitelist", "file", "-format_whitelist", _CONTAINERS, "-codec_whitelist", _CODECS]


def _http(media: Http) -> list[str]:
    """A server's media.

    Not `-reconnect_streamed`: where a server ignores Range, FFmpeg would begin the media anew in mid-track, again and
    again. `+fastseek` jumps within an MP3 by its bit rate, where to seek exactly is to fetch all that lies before; of a
    file that costs little, so files are sought in exactly. Certificates are verified by default, which FFmpeg 5 does
    not; `-tls_verify` would make a redirect from https to http an unknown option.
    """
    argv = ["-protocol_whitelist", _PROTOCOLS, "-format_whitelist", _STREAMED, "-codec_whitelist", _CODECS]
    argv += ["-rw_timeout", str(STALL_SECONDS * 1_000_000)]
    argv += ["-reconnect", "1", "-reconnect_delay_max", str(RECONNECT_SECONDS), "-fflags", "+fastseek"]
    headers = _headers(media.headers)
    return [*argv, "-headers", headers] if headers else argv


def _headers(headers: Mapping[str, str]) -> str:
    lines = []
    for name, value in headers.items():
        if name.lower() not in HEADERS_ALLOWED:
            continue
        if any(character in value for character in "\r\n\0"):
            raise UnsupportedUrl(f"the source's {name} header holds a line break")
        lines.append(f"{name}: {value}\r\n")
    text = "".join(lines)
    if len(text) > HEADERS_MOST:
        raise UnsupportedUrl("the source's headers are too long")
    return text


def _tone(tone: Tone, position: float, duration: float | None) -> list[str]:
    """The sine as an expression of the sample's number, so that it has the same samples wherever it is entered."""
    start = round(position * SAMPLE_RATE)
    samples = max(0, round(tone.seconds * SAMPLE_RATE) - start)
    if duration is not None:
        samples = min(samples, round(max(duration, FRAME_SECONDS) * SAMPLE_RATE))
    sine = f"{TONE_AMPLITUDE!r}*sin({2 * math.pi * tone.hz / SAMPLE_RATE!r}*(n+{start}))"
    source = f"aevalsrc=exprs={sine}:s={SAMPLE_RATE}:n={CHUNK_SAMPLES}:d={_seconds(samples / SAMPLE_RATE)}"
    return ["-f", "lavfi", "-i", f"{source},pan=stereo|c0=c0|c1=c0"]


def _seconds(seconds: float) -> str:
    """As FFmpeg reads it, to the microsecond."""
    return f"{seconds:.6f}"
