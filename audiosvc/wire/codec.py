"""Messages to bytes and back, without I/O. docs/wire-protocol.rst is the public form of what is done here.

The daemon encodes packets and events and decodes lines; a client does the reverse. Both decoders take the stream in
any split, copy each byte a fixed number of times, and hold at most one unfinished message.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Union, get_args

import msgspec

from audiosvc.errors import InvalidSessionId
from audiosvc.ids import SESSION_ID_BYTES, is_session_id, session_id
from audiosvc.wire.messages import Event, Line, Packet, UnknownEvent

PACKET_MOST = 1024 * 1024
"""The largest `length` of a packet: the id's field and the payload."""

LINE_MOST = 64 * 1024
"""Bytes of one line of JSON in either direction, its newline included."""

Received = Union[Packet, Event, UnknownEvent]

_PACKET_LEAST = SESSION_ID_BYTES + 1
_BRACE = 0x7B
_BLANK = b" \t\r"
_LENGTH = struct.Struct(">I")
HEAD_BYTES = _LENGTH.size + SESSION_ID_BYTES
"""What goes before a payload: the length and the id's field."""

_TEXT_MOST = 1_000
"""Characters left of a text in an event that would not fit a line; six such texts fit, whatever they hold."""

_ECHO_MOST = 200
"""Characters of a refusal, which may repeat what the client sent."""

_KNOWN_IDS_MOST = 1024

_json = msgspec.json.Encoder()
_events: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_lines: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
_any_object = msgspec.json.Decoder(dict[str, Any])
_raw_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str)

_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def _types_of(union: Any) -> frozenset[str]:
    return frozenset(message.__struct_config__.tag for message in get_args(union))


_EVENT_TYPES = _types_of(Event)
_LINE_TYPES = _types_of(Line)


# --- daemon to client ----------------------------------------------------------------------------------------


def id_field(text: str) -> bytes:
    """The session id `text` as its 36 bytes of the wire; `InvalidSessionId` if it is none."""
    return session_id(text).encode("ascii").ljust(SESSION_ID_BYTES)


def packet_head(field: bytes, payload_bytes: int) -> bytes:
    """What goes before a payload of `payload_bytes` (1 to 1 MiB - 36, else ValueError); `field` is from `id_field`."""
    length = SESSION_ID_BYTES + payload_bytes
    if not _PACKET_LEAST <= length <= PACKET_MOST:
        raise ValueError(f"a packet holds 1 to {PACKET_MOST - SESSION_ID_BYTES} bytes, not {payload_bytes}")
    return _LENGTH.pack(length) + field


def encode_packet(text: str, payload: bytes) -> bytes:
    """One packet of the session `text`, whole."""
    return packet_head(id_field(text), len(payload)) + payload


def encode_event(event: Event) -> bytes:
    """One line, newline included. It always succeeds, since a track's terminal event must get out.

    Lone surrogates (a file name that is not UTF-8) become U+FFFD; in an event beyond 64 KiB each text is cut.
    """
    try:
        line = _json.encode(event)
    except UnicodeEncodeError:
        event = _with_texts(event, _without_surrogates)
        line = _json.encode(event)
    if len(line) >= LINE_MOST:
        line = _json.encode(_with_texts(event, _shortened))
    return line + b"\n"


def _with_texts(event: Event, change: Callable[[str], str]) -> Event:
    fields = msgspec.structs.asdict(event).items()
    return msgspec.structs.replace(event, **{name: change(value) for name, value in fields if isinstance(value, str)})


def _without_surrogates(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _shortened(text: str) -> str:
    return text if len(text) <= _TEXT_MOST else text[: _TEXT_MOST - 1] + "…"


class WireError(Exception):
    """The daemon's stream is broken and cannot be followed any further.

    `code` is one of `invalid_length`, `invalid_session_id`, `invalid_event`, `event_too_long`, or `closed` when a
    decoder that has failed is fed again. `decoded` are the messages of the same feed that came before the fault.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        self.message = message
        self.decoded: list[Received] = []
        super().__init__(message)


class Decoder:
    """The client's half: bytes from the daemon to packets and events."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._need = 0
        """Length `_rest` must reach before anything more can be told; a newline makes it an event sooner."""
        self._ids: dict[bytes, str] = {}
        self._failed: WireError | None = None

    def feed(self, data: bytes) -> list[Received]:
        """The messages that `data` completes, in order. Raises `WireError`, and from then on at every call."""
        if self._failed is not None:
            raise WireError("closed", f"the stream broke before: {self._failed.message}")
        rest = self._rest
        if rest:
            rest += data
            if len(rest) < self._need and not (rest[0] == _BRACE and b"\n" in data):
                return []
            data = bytes(rest)
            rest.clear()
        out: list[Received] = []
        try:
            end = self._decode(data, out)
        except WireError as error:
            self._failed = error
            error.decoded = out
            raise
        if end < len(data):
            rest += data[end:]
        return out

    def _decode(self, data: bytes, out: list[Received]) -> int:
        """Put the messages that are whole into `out`; returns where the first unfinished one starts."""
        at, size = 0, len(data)
        length_at, ids = _LENGTH.unpack_from, self._ids
        while at < size:
            first = data[at]
            if first == _BRACE:
                newline = data.find(b"\n", at, at + LINE_MOST)
                if newline < 0:
                    if size - at >= LINE_MOST:
                        raise WireError("event_too_long", f"an event is longer than {LINE_MOST} bytes")
                    self._need = LINE_MOST
                    break
                out.append(_read_event(data[at:newline]))
                at = newline + 1
                continue
            if first:
                raise WireError("invalid_length", f"no message begins with the byte 0x{first:02x}")
            if size - at < _LENGTH.size:
                self._need = _LENGTH.size
                break
            (length,) = length_at(data, at)
            if not _PACKET_LEAST <= length <= PACKET_MOST:
                raise WireError(
                    "invalid_length", f"a packet's length is {_PACKET_LEAST} to {PACKET_MOST}, not {length}"
                )
            end = at + _LENGTH.size + length
            if end > size:
                self._need = end - at
                break
            payload_at = at + HEAD_BYTES
            field = data[at + _LENGTH.size : payload_at]
            out.append(Packet(ids.get(field) or self._read_id(field), data[payload_at:end]))
            at = end
        return at

    def _read_id(self, field: bytes) -> str:
        text = field.rstrip(b" ").decode("latin-1")
        if not is_session_id(text):
            raise WireError("invalid_session_id", f"a packet's session id is malformed: {field!r}")
        if len(self._ids) >= _KNOWN_IDS_MOST:
            self._ids.clear()
        self._ids[field] = text
        return text


def _read_event(line: bytes) -> Event | UnknownEvent:
    try:
        return _events.decode(line)
    except _NOT_JSON as error:
        fault = error
    if isinstance(fault, msgspec.ValidationError):
        try:
            fields = _any_object.decode(line)
        except _NOT_JSON as error:
            fault = error
        else:
            type_ = fields.pop("type", None)
            if isinstance(type_, str) and type_ not in _EVENT_TYPES:
                return UnknownEvent(type_, fields)
    raise WireError("invalid_event", f"an event cannot be read: {_readable(fault)}") from fault


# --- client to daemon ----------------------------------------------------------------------------------------


def encode_line(line: Line) -> bytes:
    """One line, newline included; ValueError beyond 64 KiB (a `resume` of too many sessions)."""
    data = _json.encode(line)
    if len(data) >= LINE_MOST:
        raise ValueError(f"a line holds at most {LINE_MOST} bytes, not {len(data) + 1}")
    return data + b"\n"


class BadLine(msgspec.Struct, frozen=True):
    """A line from a client that cannot be taken; `code` and `message` are for its `refused`.

    Fatal, since the stream can no longer be trusted: `invalid_json` (not a JSON object in UTF-8), `line_too_long`.
    Not fatal: `unknown_type`, `invalid_line` (a field is missing or does not fit).
    """

    code: str
    message: str
    fatal: bool


class LineDecoder:
    """The daemon's half: bytes from a client to lines. Blank lines say nothing; `\\r\\n` ends a line as `\\n` does."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._over = False

    def feed(self, data: bytes) -> list[Line | BadLine]:
        """The lines that `data` completes, in order. A fatal `BadLine` is the last ever given."""
        if self._over:
            return []
        rest = self._rest
        if len(rest) + len(data) < LINE_MOST and b"\n" not in data:
            rest += data
            return []
        if rest:
            data = bytes(rest) + data
            rest.clear()
        out: list[Line | BadLine] = []
        start = 0
        while (newline := data.find(b"\n", start, start + LINE_MOST)) >= 0:
            line = data[start:newline]
            start = newline + 1
            if not line.strip(_BLANK):
                continue
            said = _read_line(line)
            out.append(said)
            if isinstance(said, BadLine) and said.fatal:
                self._over = True
                return out
        if len(data) - start >= LINE_MOST:
            self._over = True
            out.append(BadLine("line_too_long", f"a line holds at most {LINE_MOST} bytes", True))
        else:
            rest += data[start:]
        return out


def _read_line(line: bytes) -> Line | BadLine:
    try:
        # msgspec skips the value of an unknown field without looking at its encoding.
        if not line.isascii():
            line.decode()
        return _lines.decode(line)
    except _NOT_JSON as error:
        fault = error
    if not isinstance(fault, msgspec.ValidationError):
        return BadLine("invalid_json", f"not JSON: {_readable(fault)}", True)
    # A field can be found not to fit before the text turns out not to be JSON at all.
    try:
        fields = _raw_object.decode(line)
    except _NOT_JSON as error:
        return BadLine("invalid_json", f"not a JSON object: {_readable(error)}", True)
    type_ = bytes(fields.get("type", b""))
    if type_.startswith(b'"') and (name := _text.decode(type_)) not in _LINE_TYPES:
        return BadLine("unknown_type", f"unknown type {name!r}"[:_ECHO_MOST], False)
    return BadLine("invalid_line", _readable(fault)[:_ECHO_MOST], False)


def _readable(error: Exception) -> str:
    """msgspec's "Expected `int` <= 500 - at `$.packets`" as "packets: expected int <= 500"."""
    text, _, where = str(error).removeprefix("JSON is malformed: ").rpartition(" - at ")
    if not text:
        text, where = where, ""
    text = InvalidSessionId.default if "matching regex" in text else text[:1].lower() + text[1:].replace("`", "")
    where = where.replace("`", "").replace("key in", "key of").replace("$.", "").replace("$", "")
    return f"{where}: {text}" if where else text
