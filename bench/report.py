"""From runs to what is shown of them: rows of the table, lines about latencies, pictures. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from bench.burst import Burst
from bench.daemon import Run
from bench.latency import Latency
from bench.measure import LATE_MS, median, percentile
from bench.pictures import Axis, chart

OURS = "audiosvc"

HEAD = (
    *("", "sessions", "CPU", "own", "children", "ratio", "gap p50", "p99", "p99.9", "max", "late", "lost", "underruns"),
    *("trouble", "MB", "own", "children", "receiver"),
)

LEGEND = f"""
CPU in % of a core and memory (PSS), per session; own: the daemon's; gaps between two packets of a session in ms; late:
more than {LATE_MS:g} ms after the one before. The receiver is a process of its own and in none of the sums.
"""


def name_of(run: Run) -> str:
    return run.scenario if run.program == OURS else f"{run.scenario}: {run.program}"


def row(run: Run, ratio: float) -> tuple[str, ...]:
    came = run.delivery
    return (
        name_of(run),
        str(run.sessions),
        *(f"{share:.3%}" for share in (run.cpu, run.cpu_own, run.cpu_children)),
        f"{ratio:.2f}",
        *(f"{gap:.1f}" for gap in (came.gap_p50, came.gap_p99, came.gap_p999, came.gap_max)),
        *(str(count) for count in (came.late, came.lost, run.underruns, run.trouble)),
        *(f"{size / 1e6:.2f}" for size in (run.pss, run.pss_own, run.pss_children)),
        f"{run.cpu_receiver:.2%}",
    )


def latency_rows(taken: Iterable[Latency]) -> list[tuple[str, ...]]:
    """Of each kind one for the whole, and one for each of its stages."""
    rows: list[tuple[str, ...]] = [("ms to the first packet", "plays", "median", "p95", "max", "goal", "")]
    for kind in taken:
        site = median(kind.stages.get("the site's own", [0.0])) if kind.of == "page" else 0.0
        goal = kind.goal + site
        held = "held" if median(kind.first_packet) <= goal else "missed"
        missed = f", {kind.missed} without a packet" if kind.missed else ""
        rows.append((kind.of, *_spread(kind.first_packet), f"{goal:.0f}", held + missed))
        rows += [(f"{stage}", *_spread(values), "", "") for stage, values in kind.stages.items()]
    return rows


def burst_lines(scenario: str, came: Burst) -> list[str]:
    """What became of it, a line a question."""
    answers = ", ".join(f"{count} {code}" for code, count in sorted(came.answers.items()))
    who = (("already playing", came.before), ("let in", came.new))
    return [
        f"{scenario}, {came.asked} plays asked for in a second beside {came.playing}: {answers}; complexity"
        f" {came.complexity} in the end, {came.underruns} underruns",
        *(
            f"    {name}: {heard.late} late, {heard.lost} lost; gap p99 {heard.gap_p99:.1f} p99.9 {heard.gap_p999:.1f}"
            f" max {heard.gap_max:.0f} ms"
            for name, heard in who
            if heard.packets
        ),
        f"    ms to the first packet {_of(came.first_packet_ms)}, {came.silent} not heard;"
        f" to a yes {_of(came.admitted_ms)}; to a no {_of(came.refused_ms)}",
    ]


def _of(values: Sequence[float]) -> str:
    return " / ".join(_spread(values)[1:]) + " (median, p95, max)" if values else "-"


def pictures(runs: Sequence[Run]) -> dict[str, str]:
    """SVG by the file's name: CPU and memory over the number of sessions, gaps of the largest run of each."""
    cpu, memory = defaultdict(list), defaultdict(list)
    widest: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: run.sessions):
        name = name_of(run)
        cpu[name].append((float(run.sessions), run.cpu * run.sessions * 100))
        memory[name].append((float(run.sessions), run.pss * run.sessions / 1e6))
        widest[name] = run
    # The shorter half of them is what comes after a longer one.
    gaps = {}
    for name, run in widest.items():
        gaps[f"{name}, {run.sessions}"] = [(gap, share * 100) for share, gap in run.delivery.tail if share < 1]
    sessions = Axis("sessions")
    made: Mapping[str, str] = {
        "cpu.svg": chart("CPU of all sessions together", sessions, Axis("% of a core"), cpu),
        "memory.svg": chart("Memory of all sessions together", sessions, Axis("MB (PSS)"), memory),
        "gaps.svg": chart(
            "Gaps between packets",
            Axis("ms between two packets of a session", logarithmic=True),
            Axis("share of gaps as long or longer", logarithmic=True, unit=" %"),
            gaps,
        ),
    }
    return {name: drawn for name, drawn in made.items() if drawn}


def _spread(values: Sequence[float]) -> tuple[str, ...]:
    return (str(len(values)), *(f"{percentile(values, share):.1f}" for share in (0.5, 0.95, 1.0)))
