"""Any junk gives a `WireError` or a `BadLine`, never anything else, and the same one at any split."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from audiosvc.errors import InvalidSessionId
from audiosvc.ids import SESSION_ID_BYTES
from audiosvc.wire.codec import (
    LINE_MOST,
    PACKET_MOST,
    BadLine,
    Decoder,
    LineDecoder,
    WireError,
    encode_event,
    encode_line,
    encode_packet,
    id_field,
    packet_head,
)
from audiosvc.wire.messages import (
    CREDIT_MOST,
    Credit,
    Error,
    Event,
    Finished,
    Greeting,
    Held,
    Line,
    Metadata,
    Packet,
    Ready,
    Refused,
    Subscribe,
    UnknownEvent,
    Unsubscribe,
)
from tests.wire.helpers import WireTestCase, bytewise, cut_at, cuts, decode, encode, read_lines, whole

ids = st.text("AZaz09_.:-", min_size=1, max_size=36)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
seconds = st.floats(0, 1e7)
counts = st.integers(0, 2**53)

BY_FIELD: dict[str, st.SearchStrategy[Any]] = {
    "session_id": ids,
    "protocol": counts,
    "packets": counts,
    "features": st.lists(texts).map(tuple),
    "position": seconds,
    "previous": seconds,
    "played": seconds,
    "duration": seconds,
    "live": st.booleans(),
    "status": st.sampled_from(["idle", "extracting", "streaming", "paused", "stopped", "error"]),
    "reason": st.sampled_from(["stop", "replaced", "idle_timeout", "consumer_timeout", "shutdown"]),
}


def events_of(event: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    fields = {}
    for field in msgspec.structs.fields(event):
        values = BY_FIELD.get(field.name, texts)
        fields[field.name] = values if field.required else st.none() | values
    return st.builds(event, **fields)


packets = st.builds(Packet, ids, st.binary(min_size=1, max_size=200))
from_daemon = st.lists(st.one_of(packets, *map(events_of, Event.__args__)), max_size=12)
from_client = st.lists(
    st.one_of(
        st.builds(Greeting, texts, st.dictionaries(ids, counts | st.builds(Held, counts, texts), max_size=4)),
        st.builds(Subscribe, ids),
        st.builds(Unsubscribe, ids),
        st.builds(Credit, ids, st.integers(0, CREDIT_MOST)),
    ),
    max_size=12,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
objects = st.fixed_dictionaries(
    {"type": st.sampled_from(["hello", "subscribe", "credit", "finished", "x"]) | json_values},
    optional={"session_id": ids | json_values, "packets": json_values, "client": json_values, "resume": json_values},
)
json_lines = st.builds(lambda value: json.dumps(value).encode() + b"\n", objects | json_values)
junk = st.binary(max_size=120) | json_lines | packets.map(encode) | st.just(b"\0\0\0\x28")

unhurried = settings(deadline=None)


class Encoding(WireTestCase):
    def test_an_id_is_padded_to_its_field(self) -> None:
        self.assertEqual(id_field("user:42"), b"user:42" + b" " * 29)
        self.assertEqual(id_field("x" * 36), b"x" * 36)

    def test_an_id_that_does_not_fit_is_refused(self) -> None:
        for text in ("", "x" * 37, "a b", "a\n", "ä"):
            self.assertRaises(InvalidSessionId, id_field, text)

    def test_a_packet_is_its_head_and_its_payload(self) -> None:
        self.assert_wire(Packet("a", b"\xfc\x01"), b"\0\0\0\x26" + b"a" + b" " * 35 + b"\xfc\x01")
        self.assertEqual(encode_packet("a", b"xyz"), packet_head(id_field("a"), 3) + b"xyz")

    def test_a_packet_holds_one_byte_to_what_is_left_of_1_mib(self) -> None:
        most = PACKET_MOST - SESSION_ID_BYTES
        self.assertEqual(packet_head(id_field("a"), most)[:4], b"\0\x10\0\0")
        for size in (0, -1, most + 1):
            self.assertRaises(ValueError, packet_head, id_field("a"), size)

    def test_a_line_holds_at_most_64_kib(self) -> None:
        def resume(name: str) -> Greeting:
            return Greeting(client=name)

        longest = LINE_MOST - len(encode_line(resume("x"))) + 1
        self.assertEqual(len(encode_line(resume("x" * longest))), LINE_MOST)
        self.assertRaises(ValueError, encode_line, resume("x" * (longest + 1)))

    def test_an_event_is_one_line(self) -> None:
        line = encode_event(Metadata("a", "t", "one\ntwo\r\x0b\u2028"))
        self.assertEqual(line.count(b"\n"), 1)
        self.assertTrue(line.endswith(b"}\n"))

    def test_lone_surrogates_in_an_event_become_replacement_characters(self) -> None:
        line = encode_event(Metadata("a", "t", "caf\udce9 \ud83c\udfb5 \ud800"))
        self.assertEqual(decode([line]), ([Metadata("a", "t", "caf\ufffd \U0001f3b5 \ufffd")], None))

    def test_long_texts_are_sent_whole_while_the_line_has_room(self) -> None:
        event = Ready("a", "t", "u" * 8192, "opus", 0.0, title="x" * 50_000)
        self.assertEqual(decode([encode_event(event)]), ([event], None))
        longest = LINE_MOST - len(encode_event(Metadata("a", "t", "")))
        for length, kept in ((longest, longest), (longest + 1, 1000)):
            self.assertEqual(len(decode([encode_event(Metadata("a", "t", "x" * length))])[0][0].title), kept)

    def test_in_an_event_beyond_64_kib_the_long_texts_are_cut(self) -> None:
        event = Error("a", "t", "decoder_failed", "x" * LINE_MOST, 1.5)
        self.assertEqual(
            decode([encode_event(event)]), ([Error("a", "t", "decoder_failed", "x" * 999 + "…", 1.5)], None)
        )

    def test_an_event_fits_whatever_its_texts_hold(self) -> None:
        for character in ("\x01", "\U0001f3b5", "\ud800", '"'):
            text = character * LINE_MOST
            event = Ready("a" * 36, "t" * 32, text, text, 0.0, text, 1.0, text, text)
            line = encode_event(event)
            self.assertLessEqual(len(line), LINE_MOST)
            self.assertEqual(len(decode([line])[0]), 1)

    @unhurried
    @given(from_daemon, cuts)
    def test_messages_survive_any_split(self, messages: list[Any], shares: list[float]) -> None:
        stream = b"".join(map(encode, messages))
        self.assertEqual(decode(cut_at(stream, shares)), (messages, None))

    @unhurried
    @given(from_client, cuts)
    def test_lines_survive_any_split(self, messages: list[Any], shares: list[float]) -> None:
        stream = b"".join(map(encode, messages))
        self.assertEqual(read_lines(cut_at(stream, shares)), messages)


class Decoding(WireTestCase):
    def test_a_failed_decoder_stays_failed(self) -> None:
        decoder = Decoder()
        error = self.assertRaises(WireError, decoder.feed, encode_packet("a", b"x") + b"\xff")
        self.assertEqual((error.code, error.decoded), ("invalid_length", [Packet("a", b"x")]))
        for data in (b"", encode_packet("a", b"x")):
            again = self.assertRaises(WireError, decoder.feed, data)
            self.assertEqual((again.code, again.decoded), ("closed", []))
            self.assertIn("0xff", str(again))

    def test_an_error_says_what_is_wrong(self) -> None:
        for data, message in (
            (b"\0\0\0\x24", "a packet's length is 37 to 1048576, not 36"),
            (b"GET", "no message begins with the byte 0x47"),
            (b'{"type":"finished"}\n', "an event cannot be read: object missing required field session_id"),
            (b'{"type":"lyrics","x":1e999}\n', "an event cannot be read: [...]: number out of range"),
        ):
            _, error = decode([data])
            self.assertEqual(str(error), message)

    def test_ids_are_told_apart_however_many_there_are(self) -> None:
        sent = [Packet(f"session-{n % 3000}", b"x") for n in range(6000)]
        self.assertEqual(decode([b"".join(map(encode, sent))]), (sent, None))

    def test_ids_no_longer_heard_of_are_forgotten(self) -> None:
        decoder = Decoder()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for n in range(20_000):
            decoder.feed(encode_packet(f"session-{n}", b"x"))
        self.assertLess(tracemalloc.get_traced_memory()[0], 2**20)

    def test_a_split_into_bytes_costs_no_more_than_the_bytes(self) -> None:
        # Copying the 1 MiB at each byte or at each newline would take minutes.
        began = time.process_time()
        for fill in (b"\0", b"\n"):
            packet = Packet("a", fill * (PACKET_MOST - SESSION_ID_BYTES))
            self.assertEqual(decode(bytewise(encode(packet))), ([packet], None))
        self.assertLess(time.process_time() - began, 15)

    def test_payloads_are_bytes_of_their_own(self) -> None:
        for split in (whole, bytewise):
            ((packet,), _) = decode(split(encode_packet("a", b"xyz")))
            self.assertIs(type(packet.payload), bytes)

    def test_an_unknown_event_keeps_its_fields(self) -> None:
        self.assertEqual(
            Decoder().feed(b'{"type":"lyrics","session_id":"a","lines":["la"]}\n'),
            [UnknownEvent("lyrics", {"session_id": "a", "lines": ["la"]})],
        )

    def test_no_more_than_one_unfinished_message_is_held(self) -> None:
        longest = encode_packet("a", bytes(PACKET_MOST - SESSION_ID_BYTES))
        decoder = Decoder()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for _ in range(8):
            for at in range(0, len(longest), 4096):
                decoder.feed(longest[at : at + 4096])
        decoder.feed(longest[:-1])
        held, peak = tracemalloc.get_traced_memory()
        self.assertLess(held, 1.5 * PACKET_MOST)
        self.assertLess(peak, 4 * PACKET_MOST)

    @unhurried
    @given(st.lists(junk, max_size=6), cuts)
    def test_junk_gives_nothing_but_messages_and_wire_errors(self, parts: list[bytes], shares: list[float]) -> None:
        stream = b"".join(parts)
        messages, error = decode(whole(stream))
        same, again = decode(cut_at(stream, shares))
        self.assertEqual(messages, same)
        self.assertEqual(error and (error.code, error.message), again and (again.code, again.message))

    @unhurried
    @given(from_daemon, st.integers(0), st.integers(0, 255))
    def test_a_flipped_byte_gives_nothing_but_messages_and_wire_errors(
        self, messages: list[Any], at: int, value: int
    ) -> None:
        stream = bytearray(b"".join(map(encode, [*messages, Finished("a", "t", 1.0)])))
        stream[at % len(stream)] = value
        once, error = decode(whole(bytes(stream)))
        same, again = decode(bytewise(bytes(stream)))
        self.assertEqual((once, error and error.code), (same, again and again.code))

    def test_deep_nesting_is_an_error_at_worst(self) -> None:
        nested = b"[" * 30_000 + b"]" * 30_000
        for kind in (b"detached", b"lyrics"):
            messages, error = decode([b'{"type":"%s","session_id":"a","track_id":"t","x":%s}\n' % (kind, nested)])
            self.assertEqual(error.code if error else len(messages), "invalid_event" if error else 1)


class ReadingLines(WireTestCase):
    def refusal(self, line: bytes) -> BadLine:
        (bad,) = read_lines([line + b"\n"])
        self.assertIsInstance(bad, BadLine)
        return bad

    def test_a_refusal_can_be_read(self) -> None:
        session_id = InvalidSessionId.default
        for line, message in (
            (b'{"type":"credit","session_id":"a","packets":501}', "packets: expected int <= 500"),
            (b'{"type":"credit","session_id":"a"}', "object missing required field packets"),
            (b'{"type":"subscribe","session_id":"a b"}', f"session_id: {session_id}"),
            (b'{"type":"hello","resume":{"a b":1}}', f"key of resume: {session_id}"),
            (b'{"type":"hello","resume":{"a":-1}}', "resume[...]: expected int >= 0"),
            (b'{"type":7}', "type: expected str"),
            (b'{"type":"sing"}', "unknown type 'sing'"),
            (b"[]", "not a JSON object: expected object, got array"),
            (b"{]", "not JSON: object keys must be strings (byte 1)"),
        ):
            self.assertEqual(self.refusal(line).message, message)

    def test_a_refusal_is_short_however_long_the_line(self) -> None:
        long = b"x" * 60_000
        for line in (
            b'{"type":"%s"}' % long,
            b'{"type":"hello","resume":{"a":{"%s":1}}}' % long,
            long,
            b" " * LINE_MOST,
        ):
            bad = self.refusal(line)
            self.assertLessEqual(len(bad.message), 200)
            self.assertLess(len(encode_event(Refused(bad.code, bad.message))), 2048)

    def test_nothing_is_decoded_or_kept_after_a_fatal_line(self) -> None:
        for fatal in (b"?\n", b" " * LINE_MOST):
            decoder = LineDecoder()
            self.assertEqual([bad.fatal for bad in decoder.feed(fatal)], [True])
            tracemalloc.start()
            for _ in range(100):
                self.assertEqual(decoder.feed(encode_line(Subscribe("a")) + b"x" * 10_000), [])
            self.assertLess(tracemalloc.get_traced_memory()[0], LINE_MOST)
            tracemalloc.stop()

    def test_a_line_that_never_ends_is_not_kept(self) -> None:
        decoder = LineDecoder()
        got = [bad.code for _ in range(1000) for bad in decoder.feed(b"{" * 1000)]
        self.assertEqual(got, ["line_too_long"])

    def test_deep_nesting_is_fatal_at_worst(self) -> None:
        for opened, closed in ((b"[", b"]"), (b'{"a":', b"}")):
            for depth in (10, 5_000, 10_000):
                (said,) = read_lines([b'{"type":"hello","x":%s1%s}\n' % (opened * depth, closed * depth)])
                self.assertTrue(said == Greeting() or (said.code, said.fatal) == ("invalid_json", True))

    @unhurried
    @given(st.lists(junk, max_size=6), cuts)
    def test_junk_gives_nothing_but_lines_and_bad_lines(self, parts: list[bytes], shares: list[float]) -> None:
        stream = b"".join(parts)
        said = read_lines(whole(stream))
        self.assertEqual(said, read_lines(cut_at(stream, shares)))
        for line in said:
            self.assertIsInstance(line, (Line, BadLine))
        self.assertFalse([bad for bad in said[:-1] if isinstance(bad, BadLine) and bad.fatal])
