"""The benchmark, end to end and as short as it goes. Figures are looked at for being there, not for being good."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import msgspec

from audiosvc.sources.demo import Demos
from audiosvc.sources.model import File


def test_a_short_run_leaves_figures_and_pictures(tmp_path: Path) -> None:
    figures, pictures = tmp_path / "figures.jsonl", tmp_path / "pictures"
    peer = Path(__file__).with_name("peer.py")
    piece = next(source.media.path for source in Demos().all() if isinstance(source.media, File))
    argv = [sys.executable, "-m", "bench", "--scenarios", "mixed,cached", "--sessions", "8", "--plays", "1"]
    argv += ["--seconds", "2", "--warmup", "1", "--complexity", "0", "--containers", "mp3", "--file", str(piece)]
    argv += ["--bursts", "2+3"]
    argv += ["--peer", f"{sys.executable} {peer}", "--json", str(figures), "--pictures", str(pictures)]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=180)
    assert run.returncode == 0, run.stdout + run.stderr
    records = [msgspec.json.decode(line) for line in figures.read_bytes().splitlines()]
    runs = {(record["program"], record["scenario"]): record for record in records if record["kind"] == "run"}
    for scenario in ("mixed", "cached"):
        ours = runs["audiosvc", scenario]
        assert ours["trouble"] == 0, ours
        assert ours["delivery"]["packets"] > 8 * 50 * 2 / 2, ours
        assert ours["cpu_own"] > 0 and ours["ratio"] > 0 and ours["pss_own"] > 0, ours
        theirs = next(record for (name, played), record in runs.items() if name != "audiosvc" and played == scenario)
        assert theirs["delivery"]["packets"] >= 8 * 99, theirs
    bursts = {record["scenario"]: record for record in records if record["kind"] == "burst"}
    assert set(bursts) == {"mixed"}
    for came in bursts.values():
        assert sum(came["answers"].values()) == 3, came
        assert came["answers"].get("ok", 0) == len(came["first_packet_ms"]) + came["silent"], came
        assert came["before"]["packets"] > 2 * 50, came
    latencies = {record["of"]: record for record in records if record["kind"] == "latency"}
    assert {"local", "direct", "page", "seek"} <= set(latencies), latencies
    assert all(taken["first_packet"] for taken in latencies.values()), latencies
    assert {path.name for path in pictures.iterdir()} == {"cpu.svg", "memory.svg", "gaps.svg"}
    for path in pictures.iterdir():
        ElementTree.parse(path)
    assert "x the floor" in run.stderr and "first packet" in run.stdout and "let in" in run.stdout
