"""Every vector of tests/vectors/wire.json gives the same result whole, byte by byte and at any other split."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosvc.wire.codec import BadLine
from audiosvc.wire.messages import Event, Line, Packet, UnknownEvent
from tests.wire.helpers import WireTestCase, bytewise, cut_at, cuts, decode, read_lines, whole

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "wire.json").read_text("utf-8"))

any_split = settings(deadline=None, max_examples=200)


def octets(spec: Any) -> bytes:
    if isinstance(spec, str):
        return bytes.fromhex(spec)
    if isinstance(spec, list):
        return b"".join(map(octets, spec))
    if "text" in spec:
        return str(spec["text"]).encode()
    return octets(spec["repeat"]) * int(spec["times"])


def fields(message: dict[str, Any]) -> dict[str, Any]:
    return {k: v["repeat"] * v["times"] if isinstance(v, dict) and "repeat" in v else v for k, v in message.items()}


def packet(vector: dict[str, Any]) -> Packet:
    return Packet(vector["session_id"], octets(vector["payload"]))


def received(vector: dict[str, Any]) -> Any:
    ((kind, value),) = vector.items()
    if kind == "packet":
        return packet(value)
    if kind == "event":
        return msgspec.convert(fields(value), Event)
    return UnknownEvent(value["type"], {name: field for name, field in value.items() if name != "type"})


def said(vector: dict[str, Any]) -> Any:
    """A line, or the code of a bad one and whether it is fatal."""
    if "line" in vector:
        return msgspec.convert(vector["line"], Line)
    return vector["bad"]["code"], vector["bad"]["fatal"]


class Vectors(WireTestCase):
    streams: ClassVar = [*VECTORS["streams"], *VECTORS["malformed"]]

    def test_packets_in_both_directions(self) -> None:
        for vector in VECTORS["packets"]:
            self.assert_wire(packet(vector), octets(vector["wire"]))

    def test_events_in_both_directions(self) -> None:
        for vector in VECTORS["events"]:
            self.assert_wire(msgspec.convert(vector["message"], Event), octets(vector["wire"]))

    def test_lines_in_both_directions(self) -> None:
        for vector in VECTORS["lines"]:
            self.assert_wire(msgspec.convert(vector["line"], Line), octets(vector["wire"]))

    def check_stream(self, vector: dict[str, Any], pieces: Iterable[bytes]) -> None:
        messages, error = decode(pieces)
        self.assertEqual(messages, [received(message) for message in vector["messages"]], vector["name"])
        self.assertEqual(error and error.code, vector.get("error"), vector["name"])

    def check_lines(self, vector: dict[str, Any], pieces: Iterable[bytes]) -> None:
        got = [(line.code, line.fatal) if isinstance(line, BadLine) else line for line in read_lines(pieces)]
        self.assertEqual(got, [said(message) for message in vector["messages"]], vector["name"])

    def test_streams_whole_and_byte_by_byte(self) -> None:
        for vector in self.streams:
            for split in (whole, bytewise):
                self.check_stream(vector, split(octets(vector["wire"])))

    def test_line_streams_whole_and_byte_by_byte(self) -> None:
        for vector in VECTORS["line_streams"]:
            for split in (whole, bytewise):
                self.check_lines(vector, split(octets(vector["wire"])))

    @any_split
    @given(st.sampled_from(streams), cuts)
    def test_streams_at_any_split(self, vector: dict[str, Any], shares: list[float]) -> None:
        self.check_stream(vector, cut_at(octets(vector["wire"]), shares))

    @any_split
    @given(st.sampled_from(VECTORS["line_streams"]), cuts)
    def test_line_streams_at_any_split(self, vector: dict[str, Any], shares: list[float]) -> None:
        self.check_lines(vector, cut_at(octets(vector["wire"]), shares))

    def test_every_type_and_every_error_has_a_vector(self) -> None:
        types = {vector["message"]["type"] for vector in VECTORS["events"]}
        self.assertEqual(types, {event.__struct_config__.tag for event in Event.__args__})
        types = {vector["line"]["type"] for vector in VECTORS["lines"]}
        self.assertEqual(types, {line.__struct_config__.tag for line in Line.__args__})
        errors = {vector["error"] for vector in VECTORS["malformed"]}
        self.assertEqual(errors, {"invalid_length", "invalid_session_id", "invalid_event", "event_too_long"})
        codes = {m["bad"]["code"] for vector in VECTORS["line_streams"] for m in vector["messages"] if "bad" in m}
        self.assertEqual(codes, {"invalid_json", "line_too_long", "unknown_type", "invalid_line"})
