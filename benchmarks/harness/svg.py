"""Plots as SVG text, for the report: bars with their spread, and lines. No library: it takes rectangles and paths.

Colours follow the reader's light or dark scheme; every shape carries its figure as text.
"""

import math
from collections.abc import Sequence
from html import escape

from msgspec import Struct

COLOURS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#65a30d")
STYLE = """<style>
svg { background: #fff }
text { font: 13px system-ui, sans-serif; fill: #333 }
.small { font-size: 11px; fill: #777 }
.title { font-size: 15px; font-weight: 600 }
.grid { stroke: #ddd }
.mark { stroke: #333; stroke-width: 2 }
.spread { stroke: #333; stroke-opacity: .55; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
  svg { background: #111 }
  text { fill: #ddd }
  .grid { stroke: #444 }
  .mark, .spread { stroke: #ddd }
}
</style>"""
ROW, LEFT, RIGHT, TOP = 26, 250, 90, 44
WIDTH = 820


class Bar(Struct, frozen=True):
    """A figure, with the least and the most of its rounds, and what it must reach, if anything."""

    name: str
    value: float
    least: float
    most: float
    must: float | None = None


class Line(Struct, frozen=True):
    """A name and its points."""

    name: str
    points: Sequence[tuple[float, float]]


def bars(title: str, rows: Sequence[Bar], note: str = "") -> str:
    """Horizontal bars; a thick mark where a figure must be."""
    top = max(max(row.most, row.must or 0) for row in rows) * 1.05
    height = TOP + ROW * len(rows) + 30

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * value / top

    parts = [
        _text(0, 18, title, "title"),
        *(_grid(x(tick), TOP - 8, height - 28, _short(tick)) for tick in _ticks(top)),
    ]
    for number, row in enumerate(rows):
        y = TOP + ROW * number
        parts.append(f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(row.name)}</text>')
        parts.append(_rectangle(LEFT, y, x(row.value) - LEFT, COLOURS[0]))
        if row.most > row.least:
            parts.append(f'<path class="spread" d="M{x(row.least):.1f} {y + 9}H{x(row.most):.1f}"/>')
        if row.must is not None:
            parts.append(f'<path class="mark" d="M{x(row.must):.1f} {y - 2}v22"/>')
        parts.append(_text(x(max(row.most, row.value, row.must or 0)) + 6, y + 13, _short(row.value)))
    return _document(height, [*parts, _text(0, height - 4, note, "small")])


def lines(title: str, drawn: Sequence[Line], x_ticks: Sequence[tuple[float, str]], note: str = "") -> str:
    """Lines over a logarithmic axis upwards; x as given, with the ticks' texts."""
    steps = _logarithmic([y for line in drawn for _, y in line.points if y > 0])
    low, high = math.log10(steps[0]), math.log10(steps[-1])
    left, height, right = 70, 380, 280
    first, last = x_ticks[0][0], x_ticks[-1][0]

    def x(value: float) -> float:
        return left + (WIDTH - left - right) * (value - first) / (last - first)

    def y(value: float) -> float:
        return TOP + (height - TOP - 50) * (high - math.log10(max(value, steps[0]))) / (high - low)

    parts = [_text(0, 18, title, "title"), *(_grid(x(at), TOP, height - 48, told) for at, told in x_ticks)]
    for step in steps:
        parts.append(f'<path class="grid" d="M{left} {y(step):.1f}H{WIDTH - right}"/>')
        parts.append(f'<text x="{left - 6}" y="{y(step) + 4:.1f}" text-anchor="end">{_short(step)}</text>')
    for number, line in enumerate(drawn):
        path = "L".join([f"{x(at):.1f} {y(value):.1f}" for at, value in line.points])
        colour = COLOURS[number % len(COLOURS)]
        parts.append(
            f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2">'
            f"<title>{escape(line.name)}</title></path>"
        )
        parts.append(f'<rect x="{WIDTH - right + 16}" y="{TOP + 22 * number}" width="12" height="12" fill="{colour}"/>')
        parts.append(_text(WIDTH - right + 34, TOP + 22 * number + 11, line.name))
    return _document(height, [*parts, _text(0, height - 4, note, "small")])


def _document(height: float, parts: list[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
    return "\n".join([head, STYLE, *parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(text)}</text>'


def _rectangle(x: float, y: float, width: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y}" width="{max(1.0, width):.1f}" height="18" fill="{colour}"/>'


def _grid(x: float, top: float, bottom: float, told: str) -> str:
    line = f'<path class="grid" d="M{x:.1f} {top}V{bottom}"/>'
    return line + f'<text x="{x:.1f}" y="{bottom + 13}" class="small" text-anchor="middle">{escape(told)}</text>'


def _ticks(top: float) -> list[float]:
    step = 10 ** math.floor(math.log10(top))
    step = step if top / step >= 3 else step / 4
    return [step * number for number in range(int(top / step) + 1)]


def _logarithmic(values: Sequence[float]) -> list[float]:
    """1, 2, 5, 10 and so on: from the last at or below the least to the first at or above the most, two at least."""
    powers = range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 2)
    steps = [float(f"{digit}e{power}") for power in powers for digit in (1, 2, 5)]
    first = max(number for number, step in enumerate(steps) if step <= min(values))
    last = min(number for number, step in enumerate(steps) if step >= max(values))
    return steps[first : max(last, first + 1) + 1]


def _short(value: float) -> str:
    """Three digits: 0.85, 12.5, 640k, 7.2M."""
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"
