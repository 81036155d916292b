"""FFmpeg's command lines, and the environment its children get."""

from __future__ import annotations

import math
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from shlex import quote

from audiosvc.audio import FRAME_SAMPLES, FRAME_SECONDS, SAMPLE_RATE
from audiosvc.codec.passing import LEAD_SECONDS
from audiosvc.errors import UnsupportedUrl
from audiosvc.ffmpeg.binary import demuxer_options
from audiosvc.ffmpeg.report import COLOURS
from audiosvc.log.lines import bare
from audiosvc.sources.model import File, Http, Media, Source, Tone

ALLOC_MOST = 64 * 1024 * 1024
"""Bytes FFmpeg may ask for at once. A picture of 16,000 x 16,000 inside an MP3 takes 780 MB without it."""

STALL_SECONDS = 10
"""How long a server may be silent, in the answer's head as in its body."""

RECONNECT_SECONDS = 4
"""Longest wait between two attempts to resume a dropped transfer; they double from 0, then it gives up."""

EXACT_SECONDS = 600
"""Up to where an MP3 of a varying bit rate is sought in exactly, by fetching all that lies before.

Its table of contents tells places in 256ths of the file and so is off by up to 0.4 % of its length, a second in a song:
too much to go on from after a break. Further on that is what a seek may be off, 14 s in an hour of which to fetch all
would take some 50 MB."""

_PLAYLISTS = {
    "hls": {"seg_max_retry": "3", "extension_picky": "0", "http_seekable": "0", "http_persistent": "0"},
    "dash": {"max_reload": "16"},
}
"""A segment of HLS that does not come is asked for again before it is left out. It may have any name, as CDNs give it
any: what it may be is bounded by the lists of formats and protocols, and where it may lie by the door. Where segments
are ranges of one file FFmpeg 9 loses most of the sound, unless it is told that servers know no ranges (then it asks for
the very ranges, and not for all up to the file's end) and not to use a connection twice.

A segment of DASH that is not there FFmpeg leaves out for the next one at once, and where it reckons by the clock what
is there by now, that is none of them: this is after how many it ends."""

CHUNK_SAMPLES = 5 * FRAME_SAMPLES
"""Samples that go through FFmpeg's filters and into the pipe together: a tenth fewer cycles than a frame at a time.
Pages of copied Opus hold as many."""

LATE_SAMPLES = SAMPLE_RATE
"""The same where HLS is sought in: when the first of the sound is given, FFmpeg has said where it begins. It finds out
behind the first time stamp, which comes half a second after the first sound."""

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

_MONO_AS_IT_IS = "volume=if(eq(nb_channels\\,1)\\,sqrt(2)\\,1)"
"""FFmpeg makes of mono a stereo that is 3 dB softer."""

NO_WAY_OUT = {"http_proxy": "http://127.0.0.1:0"}
"""In the environment of a child without a permit. No port is 0, so it fetches nothing at all; without a proxy it would
fetch from anywhere."""

_NOT_SHOWN = ("-headers", "-codec_whitelist", "-format_whitelist")
"""Options whose values are secret, or long and always the same."""

_PROTOCOLS = "http,https,tcp,tls,crypto,httpproxy"


def decode_argv(ffmpeg: str, source: Source, position: float = 0.0, duration: float | None = None) -> list[str]:
    """Decode `source` from `position` on to s16le 48 kHz stereo on standard output.

    Seconds, both; `duration` None is to the end, and less than a frame is a frame. Where the sound may begin before
    `position` it also goes on to its end: media that are `counted` begin at 0, HLS where `Report.early` says. What
    FFmpeg says, each line with its level, goes to standard error for `report` to read. Raises `UnsupportedUrl` for what
    is not fetched, and for headers that cannot be sent.

    Opus comes as a listener's decoder would give it, so that packets may follow upon it: from the very sample on, and
    mono as loud as it is.
    """
    media = source.media
    if isinstance(media, Tone):
        argv = [*_common(ffmpeg), *_tone(media, position, duration)]
    else:
        early = media.counted or _sought_in_hls(media, position)
        start = max(0.0, position - LEAD_SECONDS) if source.opus and not early else position
        argv = _played(ffmpeg, media, start, None if duration is None or early else max(duration, FRAME_SECONDS))
        if source.live and isinstance(media, Http) and media.demuxer == "dash":
            # Not ahead of its clock, which is not ahead of its segments if the playlist names a delay.
            argv.insert(argv.index("-i"), "-re")
        if start < position:
            argv += ["-ss", _seconds(position - start)]
    shape = f"aformat=sample_fmts=s16:sample_rates={SAMPLE_RATE}:channel_layouts=stereo"
    if source.opus:
        shape = f"{_MONO_AS_IT_IS},{shape}"
    chunk = LATE_SAMPLES if _sought_in_hls(media, position) else CHUNK_SAMPLES
    argv += ["-map", "0:a:0", "-vn", "-sn", "-dn", "-af", f"{shape},asetnsamples=n={chunk}:p=0"]
    return [*argv, "-threads", "1", "-c:a", "pcm_s16le", "-f", "s16le", "pipe:1"]


def copy_argv(ffmpeg: str, media: File | Http, position: float = 0.0, duration: float | None = None) -> list[str]:
    """Copy the Opus of `media` into Ogg on standard output, for `codec.passing`; the rest is as in `decode_argv`.

    It begins with the page or the cluster that holds what is `LEAD_SECONDS` before `position`. Granule positions count
    from there, so they may be negative. Where the source is of another codec FFmpeg says so, or gives Ogg that is not
    Opus. Media that are `counted` begin at 0 whatever `position` is.
    """
    start = 0.0 if media.counted else max(0.0, position - LEAD_SECONDS)
    # Packets that begin within `duration` are copied. The first begins before `position`, by less than half a frame.
    until = None if duration is None else position - start + max(duration, FRAME_SECONDS) - FRAME_SECONDS / 2
    pages = ["-page_duration", str(CHUNK_SAMPLES * 1_000_000 // SAMPLE_RATE), "-avoid_negative_ts", "disabled"]
    argv = [*_played(ffmpeg, media, start, until), "-map", "0:a:0", "-vn", "-sn", "-dn", "-map_metadata", "-1"]
    return [*argv, "-c:a", "copy", *pages, "-f", "opus", "pipe:1"]


def probe_argv(ffmpeg: str, source: Source) -> list[str]:
    """Open `source`, describe it on standard error, decode nothing.

    FFmpeg then complains that it was given no output, which `report` knows.
    """
    media = source.media
    opened = _tone(media, 0.0, None) if isinstance(media, Tone) else _opened(ffmpeg, media, 0.0)
    return [*_common(ffmpeg), *opened]


@dataclass(frozen=True, repr=False)
class Shown:
    """`argv` as it is logged, if it is: without headers, in which are cookies, and with URLs bare."""

    argv: Sequence[str]

    def __str__(self) -> str:
        pairs = pairwise(("", *self.argv))
        return " ".join("…" if before in _NOT_SHOWN else quote(bare(word)) for before, word in pairs)

    __repr__ = __str__


def headers_sent(headers: Mapping[str, str]) -> dict[str, str]:
    """Those of a source's `headers` that its server is sent. Raises `UnsupportedUrl` for what cannot be sent."""
    sent = {name: value for name, value in headers.items() if name.lower() in HEADERS_ALLOWED}
    for name, value in sent.items():
        if any(character in value for character in "\r\n\0"):
            raise UnsupportedUrl(f"the source's {name} header holds a line break")
    if sum(len(name) + len(value) + 4 for name, value in sent.items()) > HEADERS_MOST:
        raise UnsupportedUrl("the source's headers are too long")
    return sent


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """All that a child sees of the daemon's environment.

    Made from nothing: `no_proxy`, `http_proxy` and whatever else libraries obey stays outside. SSL_CERT_FILE is the
    trust store Python would use: an FFmpeg with OpenSSL inside looks for one in its builder's paths.
    """
    made = {"PATH": environ.get("PATH", "/usr/local/bin:/usr/bin:/bin"), "LANG": "C.UTF-8", **COLOURS}
    trusted = ssl.get_default_verify_paths().cafile
    if trusted is not None:
        made["SSL_CERT_FILE"] = trusted
    return made


def _common(ffmpeg: str) -> list[str]:
    """One stream is all a child does: one thread in each of its parts."""
    quiet = ["-nostdin", "-hide_banner", "-nostats", "-v", "level+info"]
    return [ffmpeg, *quiet, "-max_alloc", str(ALLOC_MOST), "-filter_threads", "1", "-threads", "1"]


def _sought_in_hls(media: Media, position: float) -> bool:
    return isinstance(media, Http) and media.demuxer == "hls" and position > 0


def _verbose(media: File | Http) -> list[str]:
    """That a station has announced another title FFmpeg says at this level only."""
    return ["-v", "level+verbose"] if isinstance(media, Http) and media.station else []


def _played(ffmpeg: str, media: File | Http, position: float, until: float | None) -> list[str]:
    limit = [] if until is None else ["-t", _seconds(until)]
    return [*_common(ffmpeg), *_verbose(media), *_opened(ffmpeg, media, position), *limit]


def _opened(ffmpeg: str, media: File | Http, position: float) -> list[str]:
    argv = _file() if isinstance(media, File) else _http(ffmpeg, media, position)
    if media.counted:
        # Nor does FFmpeg then look for the duration at the end of an Ogg, where it finds that of the last stream.
        argv += ["-seekable", "0"]
    elif position > 0:
        argv += ["-ss", _seconds(position)]
    return [*argv, "-i", _input(media)]


def _input(media: File | Http) -> str:
    if isinstance(media, File):
        return f"file:{media.path}"
    # `tcp:` and `httpproxy:` have to be allowed as what HTTP goes over, and as a source would go past the proxy.
    if not media.url.startswith(("http://", "https://")):
        raise UnsupportedUrl("only http:// and https:// are fetched")
    return media.url


def _file() -> list[str]:
    return ["-protocol_whitelist", "file", "-format_whitelist", _CONTAINERS, "-codec_whitelist", _CODECS]


def _http(ffmpeg: str, media: Http, position: float) -> list[str]:
    """A server's media.

    Not `-reconnect_streamed`: where a server ignores Range, FFmpeg would begin the media anew in mid-track, again and
    again. `+fastseek` jumps within an MP3 by its bit rate, where to seek exactly is to fetch all that lies before; of a
    file that costs little, so files are sought in exactly. Certificates are verified by default, which FFmpeg 5 does
    not; `-tls_verify` would make a redirect from https to http an unknown option.
    """
    argv = ["-protocol_whitelist", _PROTOCOLS, "-format_whitelist", _STREAMED, "-codec_whitelist", _CODECS]
    argv += ["-rw_timeout", str(STALL_SECONDS * 1_000_000)]
    argv += ["-reconnect", "1", "-reconnect_delay_max", str(RECONNECT_SECONDS)]
    if not (media.vbr and position <= EXACT_SECONDS):
        argv += ["-fflags", "+fastseek"]
    if media.demuxer is not None:
        # Options of a demuxer are fatal to every other one.
        known = demuxer_options(ffmpeg, media.demuxer)
        options = {name: value for name, value in _PLAYLISTS[media.demuxer].items() if name in known}
        argv += ["-f", media.demuxer, *(word for name, value in options.items() for word in (f"-{name}", value))]
    headers = _headers(media.headers)
    return [*argv, "-headers", headers] if headers else argv


def _headers(headers: Mapping[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers_sent(headers).items())


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
