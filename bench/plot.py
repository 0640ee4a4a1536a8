"""Curves of a series as SVG: text that the repository can hold, readable without any library.

Both axes are logarithmic, as sizes and rates span orders of magnitude.
"""

from __future__ import annotations

import math
from dataclasses import replace
from html import escape

from bench.compare import figure
from bench.series import Series

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 80, 110, 40, 50
COLOURS = ("#1f6feb", "#d1242f", "#8250df")


class Axis:
    """Maps [low, high] to pixels, logarithmically."""

    def __init__(self, values: list[float], start: float, end: float) -> None:
        positive = [value for value in values if value > 0] or [1.0]
        self.low = math.log10(min(positive))
        self.high = math.log10(max(positive))
        if self.high - self.low < 0.3:
            self.low, self.high = self.low - 0.15, self.high + 0.15
        self.start, self.end = start, end

    def at(self, value: float) -> float:
        part = (math.log10(max(value, 10**self.low)) - self.low) / (self.high - self.low)
        return self.start + part * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return the 1, 2 and 5 times powers of ten inside."""
        decades = range(math.floor(self.low), math.ceil(self.high) + 1)
        every = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
        return [tick for tick in every if self.low <= math.log10(tick) <= self.high]


def text(x: float, y: float, words: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def svg(series: Series, figure_name: str = "value") -> str:
    """Draw a field of the samples of every program over the sizes that were measured.

    ValueError where none was.
    """
    series = replace(series, points=[point for point in series.points if point.medians])
    if not series.points:
        raise ValueError(f"nothing of {series.name} was measured")
    programs = list(series.points[0].medians)
    values = {
        p: [getattr(point.medians[p], figure_name) for point in series.points] for p in programs
    }
    across = Axis([point.x for point in series.points], LEFT, WIDTH - RIGHT)
    up = Axis([value for line in values.values() for value in line], HEIGHT - BOTTOM, TOP)
    unit = series.unit if figure_name == "value" else "ms"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        text(LEFT, 22, f"{series.title} ({unit})", "start", ' font-size="14"'),
    ]
    for tick in up.ticks():
        y = up.at(tick)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(text(LEFT - 6, y + 4, figure(tick), "end"))
    for point in series.points:
        parts.append(text(across.at(point.x), HEIGHT - BOTTOM + 18, point.label))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, series.axis))
    for colour, (program, line) in zip(COLOURS, values.items(), strict=False):
        places = [
            (across.at(point.x), up.at(value))
            for point, value in zip(series.points, line, strict=True)
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        x, y = places[-1]
        parts.append(text(x + 8, y + 4, program, "start", f' fill="{colour}"'))
    return "\n".join([*parts, "</svg>", ""])
