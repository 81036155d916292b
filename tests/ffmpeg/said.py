"""What FFmpeg 9.0 and 5.1 said on standard error, taken down with `-v level+info`."""

from __future__ import annotations

import re

OGG = """\
[info] Input #0, ogg, from 'file:/music/a.ogg':
[info]   Duration: 00:05:00.25, start: 0.000000, bitrate: 96 kb/s
[info]   Stream #0:0: Audio: vorbis, 44100 Hz, stereo, fltp, 160 kb/s
[info]     Metadata:
[info]       encoder         : Lavc63.1.102 libvorbis
[info]       title           : Tïtle: with; = colon
[info]       artist          : An Artist
[info] Stream mapping:
[info]   Stream #0:0 -> #0:0 (vorbis (native) -> pcm_s16le (native))
[info] Output #0, s16le, to 'pipe:1':
[info]   Metadata:
[info]     encoder         : Lavf63.1.102
[info]   Stream #0:0: Audio: pcm_s16le, 48000 Hz, stereo, s16, 1536 kb/s
[info]     Metadata:
[info]       encoder         : Lavc63.1.102 pcm_s16le
[out#0/s16le @ 0x55f0c32a7780] [info] video:0KiB audio:188KiB subtitle:0KiB other streams:0KiB
[info] size=     188KiB time=00:00:01.00 bitrate=1536.0kbits/s speed= 247x elapsed=0:00:00.00
"""

MP3_WITH_COVER_51 = """\
[png @ 0x558b66db3840] [error] Codec (png) not on whitelist 'aac,mp3float,mp3'
[mp3 @ 0x558b66db1140] [warning] Failed to open codec in avformat_find_stream_info
[mp3 @ 0x558b66db1140] [warning] Could not find codec parameters for stream 1 (Video: png, none): unspecified size
Consider increasing the value for the 'analyzeduration' (0) and 'probesize' (5000000) options
[info] Input #0, mp3, from 'file:/music/cover.mp3':
[info]   Metadata:
[info]     artist          : An Artist
[info]     title           : A Title
[info]     encoder         : Lavf63.1.102
[info]   Duration: 01:00:20.04, start: 0.025056, bitrate: 220 kb/s
[info]   Stream #0:0: Audio: mp3, 44100 Hz, stereo, fltp, 192 kb/s
[info]     Metadata:
[info]       encoder         : Lavc63.1.
[info]   Stream #0:1: Video: png, none, 90k tbr, 90k tbn (attached pic)
[info]     Metadata:
[info]       title           : The cover
[info] Stream mapping:
[info]   Stream #0:0 -> #0:0 (mp3 (mp3float) -> pcm_s16le (native))
"""

BOOK_WITH_CHAPTERS = """\
[info] Input #0, matroska,webm, from 'file:/music/book.mkv':
[info]   Metadata:
[info]     ENCODER         : Lavf63.1.102
[info]   Duration: 00:00:05.16, start: 0.000000, bitrate: 175 kb/s
[info]   Chapters:
[info]     Chapter #0:0: start 0.000000, end 5.000000
[info]       Metadata:
[info]         title           : Chapter the first
[info]   Stream #0:0: Video: h264 (High), none(progressive), 640x360, 25 fps, 25 tbr, 1k tbn (default)
[info]     Metadata:
[info]       title           : Video title
[info]   Stream #0:1(eng): Audio: aac (LC), 44100 Hz, stereo, fltp (default)
[info]     Metadata:
[info]       TITLE           : The Book
[info]   Stream #0:2(ger): Audio: opus, 48000 Hz, stereo, fltp
[info]     Metadata:
[info]       artist          : The other track's
[info] Stream mapping:
"""

RADIO = """\
[info] Input #0, mp3, from 'http://127.0.0.1:8000/live':
[info]   Metadata:
[info]     icy-name        : A Station
[info]     StreamTitle     : Somebody - Something
[info]   Duration: N/A, start: 0.000000, bitrate: 128 kb/s
[info]   Stream #0:0: Audio: mp3 (mp3float), 44100 Hz, stereo, fltp, 128 kb/s
"""

TRANSPORT_STREAM = """\
[info] Input #0, mpegts, from 'file:/music/va.ts':
[info]   Duration: 00:00:20.02, start: 1.456778, bitrate: 235 kb/s
[info]   Program 1
[info]     Metadata:
[info]       title           : The programme
[info]   Stream #0:0[0x100]: Video: h264 (High) ([27][0][0][0] / 0x001B), none(progressive), 25 fps, 25 tbr
[info]   Stream #0:1[0x101](und): Audio: aac (LC) ([15][0][0][0] / 0x000F), 44100 Hz, stereo, fltp, 130 kb/s
[info] Stream mapping:
"""

VIDEO_ONLY = """\
[h264 @ 0x562a64994d00] [error] Codec (h264) not on whitelist 'aac,mp3float,mp3,flac'
[in#0/mov,mp4,m4a,3gp,3g2,mj2 @ 0x562a64993440] [warning] Failed to open codec in avformat_find_stream_info
[info] Input #0, mov,mp4,m4a,3gp,3g2,mj2, from 'file:v.mp4':
[info]   Duration: 00:00:03.00, start: 0.000000, bitrate: 38 kb/s
[info]   Stream #0:0[0x1](und): Video: h264 (High) (avc1 / 0x31637661), none(progressive), 160x120, 34 kb/s
"""

VIDEO_ONLY_DECODED = (
    VIDEO_ONLY
    + """\
[fatal] Stream map '' matches no streams.
To ignore this, add a trailing '?' to the map.
[error] Failed to set value '0:a:0' for option 'map': Invalid argument
[error] Error parsing options for output file pipe:1.
[fatal] Error opening output files: Invalid argument
"""
)

VIDEO_ONLY_PROBED = VIDEO_ONLY + "[fatal] At least one output file must be specified\n"

STATION_VERBOSE = """\
[verbose] Routing option codec_whitelist to both codec and muxer layer
[tcp @ 0x55bcb3ff1f40] [verbose] Successfully connected to 127.0.0.1 port 8301
[http @ 0x55a0feae0e40] [verbose] Metadata update for StreamTitle: First - One
[http @ 0x55a0feae0e40] [verbose] Metadata update for StreamUrl: http://x/
[info] Input #0, mp3, from 'http://127.0.0.1:8301/icy':
[info]   Metadata:
[info]     icy-name        : A Station
[info]     StreamTitle     : First - One
[info]   Duration: N/A, start: 0.000000, bitrate: 128 kb/s
[info]   Stream #0:0: Audio: mp3 (mp3float), 44100 Hz, stereo, fltp, 128 kb/s
[out#0/s16le @ 0x55a0feaefc00] [verbose] Adding streams from explicit maps...
[info] Stream mapping:
[info]   Stream #0:0 -> #0:0 (mp3 (mp3float) -> pcm_s16le (native))
[graph_-1_in_0:0 @ 0x7f2ccc0033c0] [verbose] tb:1/44100 samplefmt:fltp samplerate:44100 chlayout:stereo
[info] Output #0, s16le, to 'pipe:1':
"""

HLS_SOUGHT = """\
[in#0 @ 0x55714af78cc0] [info] Opening 'http://127.0.0.1:8300/hour/hls/a0.ts' for reading
[info] Input #0, hls, from 'http://127.0.0.1:8300/hour/hls/a.m3u8':
[info]   Duration: 01:00:00.05, start: 1.400000, bitrate: 0 kb/s
[info]   Program 0
[info]     Metadata:
[info]       variant_bitrate : 0
[info]   Stream #0:0[0x0](und): Audio: aac (LC) ([15][0][0][0] / 0x000F), 44100 Hz, stereo, fltp, start 1.400000
[info] Stream mapping:
[info]   Stream #0:0 -> #0:0 (aac (native) -> pcm_s16le (native))
[in#0/hls @ 0x55714af78cc0] [info] Opening 'http://127.0.0.1:8300/hour/hls/a100.ts' for reading
[aist#0:0/aac @ 0x55714b01eb40] [warning] timestamp discontinuity (stream id=0): -473139, new offset= 473139
[info] Output #0, s16le, to 'pipe:1':
"""

OGG_CHAINED = """\
[info] Input #0, ogg, from 'http://127.0.0.1:8301/chain.ogg':
[info]   Duration: N/A, start: 0.000000, bitrate: 112 kb/s
[info]   Stream #0:0: Audio: vorbis, 44100 Hz, stereo, fltp, 112 kb/s
[info] Stream mapping:
[info] Output #0, s16le, to 'pipe:1':
[aist#0:0/vorbis @ 0x56212e89ff80] [warning] timestamp discontinuity (stream id=0): -4000000, new offset= 4000000
"""

ADTS = """\
[in#0/aac @ 0x558d27169080] [warning] Estimating duration from bitrate, this may be inaccurate
[info] Input #0, aac, from 'http://127.0.0.1:8300/hour/hour.aac':
[info]   Duration: 01:29:08.69, bitrate: 89 kb/s
[info]   Stream #0:0: Audio: aac (LC), 44100 Hz, stereo, fltp, 89 kb/s
"""

FAILURES: dict[str, tuple[str, ...]] = {
    "missing file": (
        """\
[in#0 @ 0x5594e2fcb0c0] [error] Error opening input: No such file or directory
[error] Error opening input file file:missing.mp3.
[fatal] Error opening input files: No such file or directory
""",
        "[error] file:missing.mp3: No such file or directory\n",
    ),
    "not media": (
        """\
[in#0 @ 0x56146854e440] [warning] Format mp3 detected only with low score of 1, misdetection possible!
[in#0 @ 0x56146854e440] [error] Failed to find two consecutive MPEG audio frames.
[in#0 @ 0x56146854e0c0] [error] Error opening input: Invalid data found when processing input
[error] Error opening input file file:text.mp3.
[fatal] Error opening input files: Invalid data found when processing input
""",
        """\
[mp3 @ 0x55f609816b40] [warning] Format mp3 detected only with low score of 1, misdetection possible!
[mp3 @ 0x55f609816b40] [error] Failed to read frame size: Could not seek to 1035.
[error] file:text.mp3: Invalid argument
""",
    ),
    "playlist": (
        """\
[in#0 @ 0x55e549437440] [error] Format not on whitelist 'aac,flac,mp3,ogg,wav'
[in#0 @ 0x55e5494370c0] [error] Error opening input: Invalid argument
[error] Error opening input file file:l.m3u8.
[fatal] Error opening input files: Invalid argument
""",
        """\
[hls @ 0x5568f63c1b40] [error] Format not on whitelist 'aac,flac,mp3,ogg,wav'
[error] file:l.m3u8: Invalid argument
""",
    ),
    "unknown codec": (
        """\
[info] Input #0, wav, from 'file:bad.wav':
[info]   Duration: 00:00:00.57, bitrate: 1412 kb/s
[info]   Stream #0:0: Audio: none ([153]z[0][0] / 0x7A99), 44100 Hz, stereo, 1411 kb/s
[aist#0:0/none @ 0x56238d8cdd80] [error] Decoding requested, but no decoder found for: none
[error] Error opening output file pipe:1.
[fatal] Error opening output files: Invalid argument
""",
        """\
[info] Input #0, wav, from 'file:bad.wav':
[info]   Duration: 00:00:00.57, bitrate: 1412 kb/s
[info]   Stream #0:0: Audio: none ([153]z[0][0] / 0x7A99), 44100 Hz, stereo, 1411 kb/s
[info] Stream mapping:
[info]   Stream #0:0 -> #0:0 (? (?) -> pcm_s16le (native))
[error] Decoder (codec none) not found for input stream #0:0
""",
    ),
    "decoder not allowed": (
        """\
[vorbis @ 0x5599dca7a9c0] [error] Codec (vorbis) not on whitelist 'aac,mp3'
[aist#0:0/vorbis @ 0x55cb00] [dec:vorbis @ 0x5599dca79e00] [error] Error while opening decoder: Invalid argument
[error] Error opening output file pipe:1.
[fatal] Error opening output files: Invalid argument
""",
        """\
[vorbis @ 0x56164c3a4b80] [error] Codec (vorbis) not on whitelist 'aac,mp3'
[error] Error while opening decoder for input stream #0:0 : Invalid argument
""",
    ),
    "401": (
        """\
[in#0 @ 0x561a8baf7340] [error] Error opening input: Server returned 401 Unauthorized (authorization failed)
[error] Error opening input file http://127.0.0.1:37799/c/401.
[fatal] Error opening input files: Server returned 401 Unauthorized (authorization failed)
""",
        "[error] http://127.0.0.1:37799/c/401: Server returned 401 Unauthorized (authorization failed)\n",
    ),
    "404": (
        """\
[http @ 0x5559a6bc85c0] [warning] HTTP error 404 Not Found
[in#0 @ 0x5559a6bc7340] [error] Error opening input: Server returned 404 Not Found
[error] Error opening input file http://127.0.0.1:37799/c/404.
[fatal] Error opening input files: Server returned 404 Not Found
""",
        """\
[http @ 0x555a4edce540] [warning] HTTP error 404 Not Found
[error] http://127.0.0.1:37799/c/404: Server returned 404 Not Found
""",
    ),
    "410": (
        """\
[http @ 0x555fafe445c0] [warning] HTTP error 410 Gone
[in#0 @ 0x555fafe43340] [error] Error opening input: Server returned 4XX Client Error, but not one of 40{0,1,3,4}
[error] Error opening input file http://127.0.0.1:37799/c/410.
[fatal] Error opening input files: Server returned 4XX Client Error, but not one of 40{0,1,3,4}
""",
        """\
[http @ 0x55be8d2f6540] [warning] HTTP error 410 Gone
[error] http://127.0.0.1:37799/c/410: Server returned 4XX Client Error, but not one of 40{0,1,3,4}
""",
    ),
    "503": (
        """\
[http @ 0x556a3d0e85c0] [warning] HTTP error 503 Service Unavailable
[in#0 @ 0x556a3d0e7340] [error] Error opening input: Server returned 5XX Server Error reply
[error] Error opening input file http://127.0.0.1:37799/c/503.
[fatal] Error opening input files: Server returned 5XX Server Error reply
""",
        """\
[http @ 0x56181136c540] [warning] HTTP error 503 Service Unavailable
[error] http://127.0.0.1:37799/c/503: Server returned 5XX Server Error reply
""",
    ),
    "silent server": (
        """\
[http @ 0x564143d4a5c0] [error] Error reading HTTP response: Connection timed out
[in#0 @ 0x564143d49340] [error] Error opening input: Connection timed out
[error] Error opening input file http://127.0.0.1:37799/c/stall.
[fatal] Error opening input files: Connection timed out
""",
        "[error] http://127.0.0.1:37799/c/stall: Connection timed out\n",
    ),
    "connection refused": (
        """\
[tcp @ 0x561db4cd3c00] [error] Connection to tcp://127.0.0.1:1 failed: Connection refused
[in#0 @ 0x561db4ccf340] [error] Error opening input: Connection refused
[error] Error opening input file http://127.0.0.1:1/x.
[fatal] Error opening input files: Connection refused
""",
        """\
[tcp @ 0x5611393c88c0] [error] Connection to tcp://127.0.0.1:1 failed: Connection refused
[error] http://127.0.0.1:1/x: Connection refused
""",
    ),
    "unknown host": (
        """\
[tcp @ 0x55715bbf5c00] [error] Failed to resolve hostname nohost.invalid: Name or service not known
[in#0 @ 0x55715bbf1340] [error] Error opening input: Input/output error
[error] Error opening input file http://nohost.invalid/x.
[fatal] Error opening input files: Input/output error
""",
        """\
[tcp @ 0x5567362b38c0] [error] Failed to resolve hostname nohost.invalid: Name or service not known
[error] http://nohost.invalid/x: Input/output error
""",
    ),
    "untrusted certificate": (
        """\
[tls @ 0x56249bc93bc0] [error] error:0A000086:SSL routines::certificate verify failed
[in#0 @ 0x56249bc8f340] [error] Error opening input: Input/output error
[error] Error opening input file https://127.0.0.1:43585/f/m.mp3.
[fatal] Error opening input files: Input/output error
""",
        """\
[tls @ 0x55a1728c1740] [error] Peer certificate failed verification
[error] https://localhost:40857/f/m.mp3: Input/output error
""",
    ),
    "redirect to a file": (
        """\
[http @ 0x55fe81d83e80] [error] Protocol 'file' not on whitelist 'http,https,tcp,tls,crypto,httpproxy'!
[in#0 @ 0x55fe81d82900] [error] Error opening input: Invalid argument
[fatal] Error opening input files: Invalid argument
""",
    ),
}
"""By what happened: FFmpeg 9.0's words, and 5.1's where they say it."""

UNMEASURED = {
    "chunked": """\
[in#0 @ 0x56354f69dc80] [warning] Ignoring maximum wav data size, file may be invalid
[aist#0:0/pcm_s16le @ 0x56354f72fb40] [warning] Guessed Channel Layout: stereo
[info] Input #0, wav, from 'http://127.0.0.1:36581/chunked/piped.wav':
[info]   Duration: N/A, bitrate: 1536 kb/s
[info]   Stream #0:0: Audio: pcm_s16le ([1][0][0][0] / 0x0001), 48000 Hz, stereo, s16, 1536 kb/s
[info] Stream mapping:
[info]   Stream #0:0 -> #0:0 (pcm_s16le (native) -> pcm_s16le (native))
[info] Output #0, s16le, to 'pipe:1':
[in#0/wav @ 0x56354f69dc80] [warning] Packet corrupt (stream = 0, dts = NOPTS).
[in#0/wav @ 0x56354f69d900] [warning] corrupt input packet in stream 0
[in#0/wav @ 0x56354f69d900] [error] Error during demuxing: Input/output error
""",
    "closed": """\
[aist#0:0/pcm_s16be @ 0x55c2fff9b5c0] [warning] Guessed Channel Layout: mono
[info] Input #0, au, from 'http://127.0.0.1:36581/closed/node.au':
[info]   Duration: N/A, start: 0.000000, bitrate: 128 kb/s
[info]   Stream #0:0: Audio: pcm_s16be ([3][0][0][0] / 0x0003), 8000 Hz, mono, s16, 128 kb/s
[info] Stream mapping:
[info]   Stream #0:0 -> #0:0 (pcm_s16be (native) -> pcm_s16le (native))
[info] Output #0, s16le, to 'pipe:1':
[http @ 0x55c2fff96e80] [error] Stream ends prematurely at 960024, should be 18446744073709551615
[in#0/au @ 0x55c2fff95900] [error] Error during demuxing: Input/output error
""",
}
"""What was sent whole, and of which nobody said how long it is, in chunks or until the connection was closed."""

HLS_OF_AN_UNTRUSTED_SERVER = """\
[in#0 @ 0x56208c857040] [info] Opening 'https://127.0.0.1:40275/media/hls/index7.ts' for reading
[tls @ 0x56208c87b640] [error] error:0A000086:SSL routines::certificate verify failed
[in#0 @ 0x56208c857040] [warning] Failed to open segment 7 of playlist 0
[in#0 @ 0x56208c857040] [warning] Segment 7 of playlist 0 failed too many times, skipping
[in#0 @ 0x56208c857040] [error] Error when loading first segment 'https://127.0.0.1:40275/media/hls/index0.ts'
[in#0 @ 0x56208c856cc0] [error] Error opening input: Invalid data found when processing input
[error] Error opening input file http://127.0.0.1:42293/a.m3u8.
[fatal] Error opening input files: Invalid data found when processing input
"""

PLAIN = "\x1b[0m"
ANNOUNCED = f"\x1b[0;39m[http @ 0x1] {PLAIN}\x1b[0;32m[verbose] {PLAIN}\x1b[0;32mMetadata update for StreamTitle: "


def coloured(text: str) -> str:
    """`text` as FFmpeg says it where colours are asked for: `info` has none, and a line's end is within them."""
    pattern = r"((?:\[[^\[\]]* @ [^\[\]]*\] ?)*)(\[(?:fatal|error|warning)\] )(.*\n)"
    return re.sub(pattern, f"\x1b[0;39m\\1{PLAIN}\x1b[1;31m\\2{PLAIN}\x1b[1;31m\\3{PLAIN}", text)
