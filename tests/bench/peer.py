"""A peer as `--peer` wants one: it plays nothing, in real time, and writes down that it did."""

from __future__ import annotations

import os
import time
from pathlib import Path

FRAME = 20_000_000


def main() -> None:
    began = time.monotonic_ns()
    until = began + int(float(os.environ["BENCH_SECONDS"]) * 1e9)
    time.sleep((until - time.monotonic_ns()) / 1e9)
    assert len(os.environ["BENCH_SOURCES"].splitlines()) == int(os.environ["BENCH_SESSIONS"])
    with Path(os.environ["BENCH_RESULT"]).open("w") as result:
        for session in range(int(os.environ["BENCH_SESSIONS"])):
            result.writelines(f"peer:{session} {at}\n" for at in range(began, until, FRAME))


if __name__ == "__main__":
    main()
