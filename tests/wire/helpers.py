"""What the wire's tests share: splits of a stream, and one check for both directions of the codec."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from audiosvc.wire.codec import Decoder, LineDecoder, WireError, encode_event, encode_line, encode_packet
from audiosvc.wire.messages import Line, Packet

cuts = st.lists(st.floats(0, 1, exclude_max=True), max_size=12)
"""Places to cut a stream at, as shares of its length."""


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def bytewise(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        yield data[at : at + 1]


def cut_at(data: bytes, shares: Iterable[float]) -> Iterator[bytes]:
    """`data` in pieces, empty ones among them."""
    start = 0
    for end in sorted(int(share * len(data)) for share in shares):
        yield data[start:end]
        start = end
    yield data[start:]


def decode(pieces: Iterable[bytes]) -> tuple[list[Any], WireError | None]:
    """All messages a `Decoder` makes of the pieces, and its error if it ended in one."""
    decoder, messages = Decoder(), []
    try:
        for piece in pieces:
            messages += decoder.feed(piece)
    except WireError as error:
        return messages + error.decoded, error
    return messages, None


def read_lines(pieces: Iterable[bytes]) -> list[Any]:
    """All that a `LineDecoder` makes of the pieces."""
    decoder = LineDecoder()
    return [said for piece in pieces for said in decoder.feed(piece)]


def encode(message: Any) -> bytes:
    """Any message of either direction as bytes."""
    if isinstance(message, Packet):
        return encode_packet(message.session_id, message.payload)
    if isinstance(message, Line):
        return encode_line(message)
    return encode_event(message)


class WireTestCase(SynchronousTestCase):
    def assert_wire(self, message: Any, wire: bytes) -> None:
        """`message` is encoded as `wire`, and `wire` is decoded as `message`: whole and byte by byte."""
        self.assertEqual(encode(message), wire)
        for split in (whole, bytewise):
            if isinstance(message, Line):
                self.assertEqual(read_lines(split(wire)), [message])
            else:
                self.assertEqual(decode(split(wire)), ([message], None))
