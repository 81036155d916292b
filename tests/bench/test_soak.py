"""The soak, end to end and for seconds. What it counts is held to; slopes take longer than this."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import msgspec


def soak(folder: Path, *options: str) -> dict[str, list[dict[str, object]]]:
    """The records that it leaves, by their kind."""
    figures, pictures = folder / "figures.jsonl", folder / "pictures"
    argv = [sys.executable, "-m", "bench.soak", *options, "--json", str(figures), "--pictures", str(pictures)]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=150)
    assert run.returncode == 0, run.stdout + run.stderr
    assert ("packets doubled" in run.stdout and "not judged" in run.stdout) or "too short" in run.stdout, run.stdout
    for name in ("memory.svg", "handles.svg", "blocks.svg"):
        ElementTree.parse(pictures / name)
    records: dict[str, list[dict[str, object]]] = {}
    for line in figures.read_bytes().splitlines():
        record = msgspec.json.decode(line)
        records.setdefault(record["kind"], []).append(record)
    return records


def test_some_seconds_of_churn_lose_nothing_and_leave_nothing_behind(tmp_path: Path) -> None:
    records = soak(tmp_path, "--minutes", "0.15", "--sessions", "10")
    assert len(records["sample"]) >= 2, records
    assert any(sample["sessions"] for sample in records["sample"]), records["sample"]
    assert all(fact["held"] for fact in records["fact"]), records["fact"]


def test_some_plays_end_once_each_and_leave_nothing_behind(tmp_path: Path) -> None:
    records = soak(tmp_path, "--plays", "40")
    assert len(records["sample"]) == 4, records
    assert all(fact["held"] for fact in records["fact"]), records["fact"]
