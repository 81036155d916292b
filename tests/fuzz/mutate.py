"""Bytes made from real ones: flipped, cut, spliced, repeated, with numbers put in that readers stumble over."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

SIZE_MOST = 64 * 1024

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)

TEXTS = (
    b"-1", b"0", b"1e999", b"NaN", b"null", b"9" * 30, b"9" * 5000, b"0x10", b"\\ud800", b"\\u0000", b"[" * 3000,
    b'{"a":' * 3000, b"\xef\xbb\xbf", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\r\n", b"\n\n", b"\0", b"%00", b"%ff",
    b"://", b"@", b"[::1]", b";", b"\xe2\x80\xae", b"chunked", b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
)  # fmt: skip


class Mutator:
    """`random` decides all that it does, so that a seed makes the same bytes again."""

    def __init__(self, random: random.Random, corpus: Sequence[bytes]) -> None:
        self._random = random
        self._corpus = corpus
        self._ways: tuple[Callable[[bytearray], None], ...] = (
            self._flip, self._flip, self._set, self._set, self._number, self._number, self._cut, self._cut_short,
            self._repeat, self._insert, self._text, self._splice, self._swap,
        )  # fmt: skip

    def next(self) -> bytes:
        """One of the corpus, changed in a few places."""
        data = bytearray(self._random.choice(self._corpus))
        for _ in range(1 + int(self._random.expovariate(0.4))):
            self._random.choice(self._ways)(data)
        return bytes(data[:SIZE_MOST])

    def cuts(self, data: bytes) -> list[bytes]:
        """`data` in a few pieces, perhaps in single bytes."""
        if len(data) <= 2000 and self._random.random() < 0.1:
            return [data[i : i + 1] for i in range(len(data))]
        places = sorted(self._random.randrange(len(data) + 1) for _ in range(self._random.randrange(1, 6)))
        return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]

    def _at(self, data: bytearray) -> int:
        """Beginnings matter most."""
        most = len(data) if self._random.random() < 0.6 else min(len(data), 64)
        return self._random.randrange(most) if most else 0

    def _range(self, data: bytearray, most: int = 4096) -> slice:
        at = self._at(data)
        return slice(at, at + self._random.choice((1, 2, 4, 8, self._random.randrange(1, most))))

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._at(data)] ^= 1 << self._random.randrange(8)

    def _set(self, data: bytearray) -> None:
        if data:
            data[self._at(data)] = self._random.choice(
                (0, 1, 0x20, 0x0A, 0x22, 0x7F, 0x80, 0xFF, self._random.randrange(256))
            )

    def _number(self, data: bytearray) -> None:
        width, at = self._random.choice((1, 2, 4, 8)), self._at(data)
        value = self._random.choice(NUMBERS) + self._random.choice((0, 0, 1, -1))
        order = self._random.choice(("big", "little"))
        data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, order)  # type: ignore[arg-type]

    def _cut(self, data: bytearray) -> None:
        del data[self._range(data)]

    def _cut_short(self, data: bytearray) -> None:
        del data[self._at(data) :]

    def _repeat(self, data: bytearray) -> None:
        piece = self._range(data)
        data[piece.start : piece.start] = data[piece] * self._random.choice((1, 2, 10, 100))
        del data[SIZE_MOST:]

    def _insert(self, data: bytearray) -> None:
        at = self._at(data)
        data[at:at] = self._random.randbytes(self._random.choice((1, 4, 50)))

    def _text(self, data: bytearray) -> None:
        piece = self._range(data, 16)
        if self._random.random() < 0.5:
            piece = slice(piece.start, piece.start)
        data[piece] = self._random.choice(TEXTS)

    def _splice(self, data: bytearray) -> None:
        other = self._random.choice(self._corpus)
        begin = self._random.randrange(len(other) + 1)
        data[self._range(data)] = other[begin : begin + self._random.randrange(1, 4096)]

    def _swap(self, data: bytearray) -> None:
        one, other = self._range(data, 64), self._range(data, 64)
        data[one], data[other] = data[other], data[one]
