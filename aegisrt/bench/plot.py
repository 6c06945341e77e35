"""`latency_plot`: latency against load, as one SVG that needs no package."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 420, 70, 150, 40, 50
_COLORS = ("#0b6e99", "#d9730d", "#6b7280", "#a3a3a3")

Points = Sequence[tuple[float, float]]


def latency_plot(title: str, lines: Mapping[str, Points]) -> str:
    """Return an SVG of lines by name, each of points (requests a second, microseconds); the latency axis is log 10."""
    points = [point for line in lines.values() for point in line]
    most_x = max(x for x, _ in points) * 1.05
    low = 10 ** math.floor(math.log10(min(y for _, y in points)))
    high = 10 ** math.ceil(math.log10(max(y for _, y in points) * 1.0001))

    def at(x: float, y: float) -> tuple[float, float]:
        share = math.log10(y / low) / math.log10(high / low)
        return (
            _LEFT + x / most_x * (_WIDTH - _LEFT - _RIGHT),
            _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM),
        )

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="14">{escape(title)}</text>',
    ]
    parts += _axes(low, high, most_x, at)
    for index, (name, line) in enumerate(lines.items()):
        parts += _line(name, [at(x, y) for x, y in sorted(line)], _COLORS[index % len(_COLORS)], index)
    return "\n".join([*parts, "</svg>\n"])


def _axes(low: float, high: float, most_x: float, at: Callable[[float, float], tuple[float, float]]) -> list[str]:
    parts = []
    for power in range(round(math.log10(low)), round(math.log10(high)) + 1):
        left, y = at(0, 10**power)
        parts.append(f'<line x1="{left:.1f}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{_time(10**power)}</text>')
    for step in range(6):
        x, y = at(most_x * step / 5, low)
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{most_x * step / 5:.0f}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 10}" text-anchor="middle">requests a second</text>')
    return parts


def _line(name: str, points: Sequence[tuple[float, float]], color: str, index: int) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in points]
    y = _TOP + 20 * index + 10
    left = _WIDTH - _RIGHT + 15
    return [
        f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>',
        *dots,
        f'<line x1="{left}" x2="{left + 20}" y1="{y}" y2="{y}" stroke="{color}" stroke-width="2"/>',
        f'<text x="{left + 26}" y="{y + 4}">{escape(name)}</text>',
    ]


def _time(microseconds: float) -> str:
    if microseconds >= 1e6:
        return f"{microseconds / 1e6:g} s"
    return f"{microseconds / 1e3:g} ms" if microseconds >= 1e3 else f"{microseconds:g} us"
