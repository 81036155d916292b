"""What FFmpeg says on standard error, read: the description of its input, and what went wrong.

Written against the output of `-v level+info` of FFmpeg 5.1 and 9.0, and of `level+verbose` for stations. FFmpeg's exit
status is no part of this: it is 0 for a dropped source, a stall and a refusal in mid-track.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable

from audiosvc.errors import (
    AudioServiceError,
    DecoderFailed,
    NotAudio,
    SourceNotFound,
    SourceRefused,
    SourceTimeout,
    SourceUnreachable,
    SpawnFailed,
    UnsupportedUrl,
)

LINE_MOST = 1024
"""Bytes kept of a line."""

COLOURS = {"AV_LOG_FORCE_COLOR": "1"}
"""In the environment of a child: colours tell where a message ends that has line ends in it."""

TROUBLES_MOST = 64
"""Warnings and errors kept, the newest."""

TEXT_MOST = 200
"""Characters of a message or a title that are passed on."""

_LINE = re.compile(r"(?:\[[^\[\]]* @ [^\[\]]*\] ?)*\[(panic|fatal|error|warning|info|verbose)\] (.*)")
_INPUT = re.compile(r"Input #0, (\w+),")
_DURATION = re.compile(r"  Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_STREAM = re.compile(r" +Stream #0:\d+\S*: (\w+): (\w+)")
_TAG = re.compile(r" {4,}(\S[^:]*?) *: (.*)")
_STATUS = re.compile(r"(?:HTTP error|Server returned) (\d{3})\b")
_PLAYLISTS = ("hls", "dash")
_ANNOUNCED = "Metadata update for StreamTitle: "
_EARLY = re.compile(r"timestamp discontinuity \(stream id=\d+\): -(\d+),")
_TITLES = ("title", "streamtitle", "icy-name")
_ARTISTS = ("artist", "album_artist", "performer")

_NOISE = re.compile(
    r"Codec \(\S*\) not on whitelist"  # a cover or a video track, left alone on purpose
    r"|At least one output file must be specified"  # a probe has none
    r"|Error opening (?:in|out)put files?\b|Error parsing options for output file|Failed to set value '0:a:0'"
)

_DIAGNOSES: tuple[tuple[re.Pattern[str], type[AudioServiceError], str | None], ...] = tuple(
    (re.compile(pattern), error, message)
    for pattern, error, message in (
        (r"(?:HTTP error|Server returned) (404|410)\b", SourceNotFound, "the source's server answered {}: not there"),
        (r"(?:HTTP error|Server returned) (\d{3})\b", SourceRefused, "the source's server answered {}"),
        (r"Protocol '\S*' not on whitelist", UnsupportedUrl, "the source leads to a kind of URL that is not played"),
        (r"Format not on whitelist", NotAudio, "the source is of a kind that is not played"),
        (r"matches no streams", NotAudio, "the source holds no audio"),
        (r"[Dd]ecoder.* (?:not )?found for|Error while opening decoder", NotAudio, None),
        (r"No such file or directory", SourceNotFound, None),
        (r"Permission denied", SourceRefused, "the file may not be read"),
        (r"timed out", SourceTimeout, None),
        (r"certificate", SourceUnreachable, "the certificate of the source's server cannot be verified"),
        (r"SSL routines|handshake|\bTLS\b", SourceUnreachable, "no secure connection to the source's server"),
        (r"Failed to resolve hostname", SourceUnreachable, "the source's host name is not known"),
        (r"Connection refused", SourceUnreachable, "the source's server refused the connection"),
        (r"No route to host|Network is unreachable|Connection reset|Broken pipe", SourceUnreachable, None),
    )
)
"""First match decides, newest line first."""

_NO_SENSE = re.compile(
    r"Invalid data found|two consecutive MPEG audio frames|Failed to read frame size|Error opening input: End of file"
)
"""What FFmpeg says last of what is no audio, but also of what it could not fetch, and why it had said before."""

_UNSTATED = re.compile(r"Stream ends prematurely at \d+, should be 18446744073709551615\b")
"""2^64 - 1 is a length that nobody stated: what ended is the connection."""

_UNREAD = re.compile(r"(?:Error during demuxing|(?:file|https?):.*): Input/output error")
"""FFmpeg 9 says this at the end of every answer of no stated length, older ones where a connection ends it."""

_BROKEN = re.compile(
    r"Stream ends prematurely|File ended prematurely|Error during demuxing|partial file|timed out|Connection reset"
    r"|Will reconnect|HTTP error [45]|IO error|Error in the pull function|non-properly terminated|unexpected eof"
    r"|corrupt input packet|filesize and duration do not match|decode_frame\(\) failed"
    r"|failed too many times, skipping"
)

_PIPED = "Ignoring maximum wav data size"
_SHORT_PACKET = "corrupt input packet"
"""The last one of a WAV that was written to a pipe, and so does not know its length, is always short."""

_COLOUR = re.compile(rb"\x1b\[[\d;]*m")
_PLAIN = b"\x1b[0m"

_URL = re.compile(r"([a-z][a-z0-9+.-]*://)(?:[^\s/@'\"]*@)?([^\s?#'\"]*)(?:[?#][^\s'\"]*)?", re.IGNORECASE)
_INPUT_NAMED = re.compile(r"^(?:file|https?):.*: ")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


class Report:
    """Fed the bytes of standard error in any split, keeps at most 64 KiB of them.

    `duration` is in seconds, None where FFmpeg does not know it; `guessed` says that it was reckoned from the bit rate
    of the beginning, which can be wrong by half, and in Ogg is worth nothing. `container` is FFmpeg's (first) name for
    it. `codec` is the name of the first audio stream's, None if there is no such stream. `broken` says that the source
    broke off at least once; it may have been resumed. `ceased` says that no more could be read and FFmpeg names no
    cause: so it tells the end where no length was stated, but also that a disk fails. By itself it is no failure.
    `early` is by how many seconds the sound begins before the position that was asked for: in HLS of MPEG-TS it begins
    with a segment, and FFmpeg takes the time up to the position for a leap of the clock.
    """

    def __init__(self) -> None:
        self.on_title: Callable[[str], None] | None = None
        """Called with each title that the source announces while it plays, repetitions too."""
        self.opened = False
        self.duration: float | None = None
        self.guessed = False
        self.early = 0.0
        self.container: str | None = None
        self.codec: str | None = None
        self.broken = False
        self.ceased = False
        self._piped = False
        self._rest = b""
        self._coloured = False
        """Whether the message that was begun goes on."""
        self._colours = False
        """Whether FFmpeg has used any: see `COLOURS`."""
        self._tags: dict[str, str] = {}
        self._tagging = False
        self._flowing = False
        self._described = False
        self._giving = False
        self._spoken = False
        self._failure: str | None = None
        self._troubles: deque[str] = deque(maxlen=TROUBLES_MOST)
        self._error: AudioServiceError | None = None
        self._error_status: int | None = None

    def describe(
        self, title: str | None, artist: str | None, duration: float | None, container: str | None = None
    ) -> None:
        """What FFmpeg would say of Opus that the daemon reads itself, out of `container` or, without one, kept."""
        self.opened, self.codec, self.container, self.duration = True, "opus", container, duration
        for name, text in ((_TITLES[0], title), (_ARTISTS[0], artist)):
            if text and (shown := _shown(text)):
                self._tags[name] = shown

    def note(self, error: AudioServiceError, status: int | None = None) -> None:
        """Why the daemon could not read it; `status` is the one that a server answered."""
        self._error, self._error_status = error, status

    @property
    def title(self) -> str | None:
        return self._tag(_TITLES)

    @property
    def artist(self) -> str | None:
        """Whose it is: of a station's song, the station."""
        station = self._tags.get("icy-name")
        return self._tag(_ARTISTS) or (station if station != self.title else None)

    @property
    def live(self) -> bool:
        """Whether the source goes on by itself: a radio station, or a playlist whose end is not known."""
        return self._flowing and self.duration is None

    @property
    def status(self) -> int | None:
        """The status with which a server refused something last."""
        if self._error_status is not None:
            return self._error_status
        found = (_STATUS.search(line) for line in reversed(self._troubles))
        return next((int(match[1]) for match in found if match), None)

    @property
    def last_trouble(self) -> str | None:
        """What FFmpeg warned of or complained about last, as it said it."""
        return self._troubles[-1] if self._troubles else None

    @property
    def prepared(self) -> bool:
        """Whether FFmpeg had all it takes to give sound: it made out the source, and can decode what is in it."""
        return self._giving

    @property
    def failed(self) -> bool:
        """Whether FFmpeg spoke of an error, which may be one it got over."""
        return self._failure is not None or self._error is not None

    def feed(self, data: bytes) -> None:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()[:LINE_MOST]
        for line in lines:
            self._take(line[:LINE_MOST])

    def error(self) -> AudioServiceError:
        """Why FFmpeg failed, given that it did."""
        if self._error is not None:
            return self._error
        if self._failure is not None and not self._spoken:
            return SpawnFailed()
        for line in reversed(self._troubles):
            for pattern, error, message in _DIAGNOSES:
                if match := pattern.search(line):
                    return error(message and message.format(*match.groups()))
        if any(_NO_SENSE.search(line) for line in self._troubles):
            return NotAudio()
        if self.opened and self.codec is None:
            return NotAudio("the source holds no audio")
        return DecoderFailed(_shown(f"FFmpeg: {_named(self._failure)}") if self._failure else None)

    def _take(self, line: bytes) -> None:
        """A message is in colour up to behind its last line end, and FFmpeg lets no escape of a source into one.

        So what is still in colour where a line begins is of the message before, whatever it looks like: the titles of
        stations are written as they are, with their line ends.
        """
        if self._coloured:
            _, plain, line = line.partition(_PLAIN)
            if not plain:
                return
        codes = _COLOUR.findall(line)
        self._coloured = bool(codes) and codes[-1] != _PLAIN
        self._colours = self._colours or bool(codes)
        self._read(_text(_COLOUR.sub(b"", line)), coloured=bool(codes))

    def _read(self, line: str, *, coloured: bool) -> None:
        match = _LINE.match(line)
        if match is None:
            # The second line of a message; or what the loader says where FFmpeg itself did not start.
            if not self._spoken and line.strip():
                self._failure = line
            return
        if not self._spoken:
            self._spoken, self._failure = True, None
        level, text = match.groups()
        if self._colours and not coloured and level != "info":
            # Out of the name of a tag, which is written as it is too, but not in colour.
            return
        if level == "info":
            self._describe(text)
        elif level == "verbose":
            title = _shown(text.removeprefix(_ANNOUNCED)) if text.startswith(_ANNOUNCED) else ""
            if title and self.on_title is not None:
                self.on_title(title)
        elif _UNSTATED.search(text) or (self.opened and _UNREAD.fullmatch(text)):
            self.ceased = True
        elif not _NOISE.search(text):
            self._troubles.append(text)
            self._piped = self._piped or text.startswith(_PIPED)
            whole = self._piped and _SHORT_PACKET in text
            self.broken = self.broken or (not whole and _BROKEN.search(text) is not None)
            self.guessed = self.guessed or text.startswith("Estimating duration from bitrate")
            if not self._giving and (leap := _EARLY.match(text)):
                self.early = int(leap[1]) / 1e6
            if level != "warning":
                self._failure = text

    def _describe(self, text: str) -> None:
        """The container, its tags, its duration, then the streams and theirs; only the first of audio counts."""
        if text.startswith("Output #0"):
            self._giving = True
        if self._described:
            return
        if container := _INPUT.match(text):
            self.opened = self._tagging = True
            self.container = container[1]
            self._flowing = self.container in _PLAYLISTS
        elif not self.opened:
            return
        elif text.startswith(("Stream mapping:", "Output #0")):
            self._described = True
        elif stream := _STREAM.match(text):
            kind, codec = stream.groups()
            self._tagging = kind == "Audio" and self.codec is None
            if self._tagging:
                self.codec = codec
        elif duration := _DURATION.match(text):
            hours, minutes, seconds = duration.groups()
            if not (self.guessed and self.container == "ogg"):
                # The bit rate that Vorbis says of itself is the one that its encoder was asked for.
                self.duration = round(int(hours) * 3600 + int(minutes) * 60 + float(seconds), 2)
        elif text.startswith(("  Chapters:", "  Program", "  Stream group")):
            self._tagging = False
        elif self._tagging and (tag := _TAG.match(text)):
            name, value = tag[1].lower(), _shown(tag[2])
            self._flowing = self._flowing or name.startswith("icy-")
            if name in (*_TITLES, *_ARTISTS) and value:
                self._tags.setdefault(name, value)

    def _tag(self, names: tuple[str, ...]) -> str | None:
        return next((self._tags[name] for name in names if name in self._tags), None)


def _text(line: bytes) -> str:
    """`line` as UTF-8; as the code page of Western Europe where it is none, as titles of old stations often are."""
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        cut = error.start > LINE_MOST - 4
        return line.decode("utf-8" if cut else "cp1252", "replace")


def _named(line: str) -> str:
    """`line` without the name of the input, and without what may be secret in a URL."""
    return _URL.sub(r"\1\2", _INPUT_NAMED.sub("", line))


def _shown(text: str) -> str:
    """Fit to be shown: no control characters, not long."""
    return _CONTROL.sub(" ", text).strip()[:TEXT_MOST]
