"""Readers of hostile bytes, fed with mutations of real ones for a while, and with every case that was ever found.

`AUDIOSVC_FUZZ` makes it as many times longer, `AUDIOSVC_FUZZ_SEED` makes the same cases again. A case that fails is
written to `tests/vectors/fuzz/`, from where it is read again by every later run.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
import tracemalloc
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.fuzz.mutate import Mutator
from tests.fuzz.targets import TARGETS, Target

VECTORS = Path(__file__).parents[1] / "vectors" / "fuzz"

LONGER = float(os.environ.get("AUDIOSVC_FUZZ", "1"))
SECONDS = 0.7 * LONGER
"""Of processor, for each target."""

SEED = int(os.environ.get("AUDIOSVC_FUZZ_SEED", random.randrange(2**32)))

CASE_SECONDS = 5.0
"""Of processor that no case of 64 KiB may take, read twice; the slowest takes some tenths of one."""

MEMORY_MOST = 16 * 1024 * 1024
"""Bytes that no case may take at a time, and MEMORY_RATIO for each that it is fed."""

MEMORY_RATIO = 100
MEMORY_EVERY = 200
"""Cases between two whose memory is measured, which takes time."""


def read(target: Target, pieces: list[bytes]) -> object:
    """What it made of the pieces, or what it raised of what it may raise."""
    try:
        return target.read(pieces)
    except target.raises as error:
        return type(error)


def check(target: Target, data: bytes, pieces: list[bytes], measured: bool = False) -> None:
    """Whole and in pieces it is the same, in bounded time and memory."""
    began = time.thread_time()
    made = read(target, [data])
    if read(target, pieces) != made:
        raise AssertionError("something else came of it in pieces")
    if (took := time.thread_time() - began) > CASE_SECONDS:
        raise AssertionError(f"it took {took:.1f} s")
    if measured:
        tracemalloc.start()
        try:
            read(target, pieces)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        if peak > MEMORY_MOST + MEMORY_RATIO * len(data):
            raise AssertionError(f"it took {peak} bytes of memory")


def keep(name: str, data: bytes) -> Path:
    folder = VECTORS / name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.blake2b(data, digest_size=6).hexdigest()}.bin"
    path.write_bytes(data)
    return path


class TargetTests(SynchronousTestCase):
    def fuzz(self, name: str) -> None:
        target, began, cases = TARGETS[name], time.process_time(), 0
        chance = random.Random(f"{SEED} {name}")
        mutator = Mutator(chance, target.corpus())
        for data in target.corpus():
            check(target, data, mutator.cuts(data), measured=True)
        while time.process_time() - began < SECONDS:
            data, cases = mutator.next(), cases + 1
            try:
                check(target, data, mutator.cuts(data), measured=cases % MEMORY_EVERY == 0)
            except Exception as error:
                self.fail(f"{name}, seed {SEED}, case {cases}, kept as {keep(name, data)}: {error!r}")
        print(f"\n{name}: {cases} cases in {time.process_time() - began:.1f} s, seed {SEED}", end="")

    def test_every_case_that_was_ever_found(self) -> None:
        vectors = sorted(VECTORS.glob("*/*.bin"))
        self.assertTrue(vectors)
        for path in vectors:
            data = path.read_bytes()
            target = TARGETS[path.parent.name]
            for pieces in ([data[i : i + 1] for i in range(len(data))], [data[:7], data[7:]]):
                check(target, data, pieces, measured=True)

    def test_bytes_that_hypothesis_makes_up(self) -> None:
        for target in TARGETS.values():

            @settings(
                max_examples=int(60 * LONGER), deadline=None, database=None, suppress_health_check=list(HealthCheck)
            )
            @given(
                data=st.one_of(st.binary(max_size=300), st.text(max_size=200).map(str.encode)), at=st.integers(0, 300)
            )
            def any_bytes(target: Target, data: bytes, at: int) -> None:
                check(target, data, [data[:at], data[at:]])

            any_bytes(target)


def _one(name: str) -> None:
    def test(self: TargetTests) -> None:
        self.fuzz(name)

    setattr(TargetTests, f"test_mutations_for_{name}", test)


for _name in TARGETS:
    _one(_name)
