"""Line charts as SVG: axes with labels, a legend, readable on light and on dark. No I/O.

Drawn by hand, as three charts of a few lines each do not need a plotting library of 60 MB.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 760, 430
LEFT, RIGHT, TOP, BOTTOM = 74, 190, 46, 56
COLOURS = ("#2f7de1", "#d9730d", "#2a9d5c", "#b453c6", "#d64545", "#8a8f1c", "#1c9aa8", "#7a6ff0")
"""Of middling lightness: 3 : 1 and more on white as on near-black."""

_STYLE = """
svg { font: 13px system-ui, sans-serif; --ink: #24292f; --faint: #d8dee4; --ground: #ffffff; }
@media (prefers-color-scheme: dark) { svg { --ink: #dfe4ea; --faint: #39424d; --ground: #0f141a; } }
text { fill: var(--ink); } .ground { fill: var(--ground); } .grid { stroke: var(--faint); }
.axis { stroke: var(--ink); fill: none; } .title { font-size: 16px; font-weight: 600; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
"""


@dataclass(frozen=True)
class Axis:
    """What is along it, and whether its steps are powers of ten; `unit` is put behind its numbers."""

    label: str
    logarithmic: bool = False
    unit: str = ""

    def ticks(self, values: Sequence[float]) -> list[float]:
        """Round numbers from below the least of `values` (or 0) to above the largest."""
        if self.logarithmic:
            low, high = min(values), max(values)
            powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            within = {1: (1, 2, 5), 2: (1, 2, 3, 5, 7), 3: (1, 2, 5)}.get(len(powers), (1,))
            steps = [factor * 10.0**power for power in powers for factor in within]
            first = max(0, bisect_right(steps, low) - 1)
            return steps[first : max(first + 2, bisect_left(steps, high) + 1)]
        most = max(*values, 1e-9)
        step = 10.0 ** math.floor(math.log10(most / 4))
        step *= next(factor for factor in (1, 2, 2.5, 5, 10) if most / (step * factor) <= 5)
        return [number * step for number in range(math.ceil(most / step - 1e-9) + 1)]

    def place(self, ticks: Sequence[float]) -> Callable[[float], float]:
        """value → 0 at the first tick to 1 at the last."""
        low, high = (math.log10(ticks[0]), math.log10(ticks[-1])) if self.logarithmic else (ticks[0], ticks[-1])
        return lambda value: ((math.log10(value) if self.logarithmic else value) - low) / (high - low)


def chart(title: str, across: Axis, up: Axis, lines: Mapping[str, Points], *, dots: bool = True) -> str:
    """One line a name, with or without `dots` on its points.

    What a logarithmic axis cannot show, 0 and below, is left out; "" where nothing is left.
    """
    shown = {
        name: [(x, y) for x, y in points if (x > 0 or not across.logarithmic) and (y > 0 or not up.logarithmic)]
        for name, points in lines.items()
    }
    every = [point for points in shown.values() for point in points]
    if not every:
        return ""
    x_ticks, y_ticks = across.ticks([x for x, _ in every]), up.ticks([y for _, y in every])
    x_at, y_at = across.place(x_ticks), up.place(y_ticks)
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        return round(LEFT + x_at(x) * wide, 1), round(TOP + (1 - y_at(y)) * high, 1)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="title" x="{LEFT}" y="26">{escape(title)}</text>',
    ]
    for tick in x_ticks:
        x, y = at(tick, y_ticks[0])
        parts.append(f'<path class="grid" d="M{x} {TOP}V{y}"/>')
        parts.append(f'<text x="{x}" y="{y + 19}" text-anchor="middle">{_number(tick)}{across.unit}</text>')
    for tick in y_ticks:
        x, y = at(x_ticks[0], tick)
        parts.append(f'<path class="grid" d="M{x} {y}H{LEFT + wide}"/>')
        parts.append(f'<text x="{x - 8}" y="{y + 4}" text-anchor="end">{_number(tick)}{up.unit}</text>')
    middle_x, middle_y = LEFT + wide / 2, TOP + high / 2
    parts += [
        f'<path class="axis" d="M{LEFT} {TOP}V{TOP + high}H{LEFT + wide}"/>',
        f'<text x="{middle_x}" y="{HEIGHT - 14}" text-anchor="middle">{escape(across.label)}</text>',
        f'<text transform="translate(18 {middle_y}) rotate(-90)" text-anchor="middle">{escape(up.label)}</text>',
    ]
    for number, (name, points) in enumerate(shown.items()):
        colour, row = COLOURS[number % len(COLOURS)], TOP + 10 + 22 * number
        places = [at(x, y) for x, y in points]
        path = " ".join(f"{x},{y}" for x, y in places)
        parts.append(f'<polyline class="line" stroke="{colour}" points="{path}"/>')
        if dots:
            parts += [f'<circle cx="{x}" cy="{y}" r="3.2" fill="{colour}"/>' for x, y in places]
        parts.append(f'<path class="line" stroke="{colour}" d="M{LEFT + wide + 16} {row}h20"/>')
        parts.append(f'<text x="{LEFT + wide + 42}" y="{row + 4}">{escape(name)}</text>')
    return "\n".join((*parts, "</svg>", ""))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.6g}"
