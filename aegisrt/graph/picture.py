"""`graph_svg`: a graph as a picture for a notebook, which needs no package and no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aegisrt.core.shown.html import html

_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _MARGIN = 180, 46, 60, 16, 10
_COLORS = {"model": "#dbeafe", "backend": "#fef3c7", "stream": "#f3e8ff", "device": "#dcfce7"}
_MOST_CHARACTERS = 24


@dataclass(frozen=True, slots=True)
class PictureNode:
    """A box: its place is in the column of its kind."""

    id: str
    kind: str
    name: str
    below: str
    """A second line, such as the state of a model."""
    title: str
    """The whole text, shown when the mouse is over the box."""


def graph_svg(nodes: Sequence[PictureNode], edges: Sequence[tuple[str, str]]) -> str:
    """Return an SVG with a column of boxes for each kind, in the order of `_COLORS`, and a line for each edge."""
    columns = [[node for node in nodes if node.kind == kind] for kind in _COLORS]
    columns = [column for column in columns if column]
    places = {
        node.id: (_MARGIN + x * (_WIDTH + _GAP_X), _MARGIN + y * (_HEIGHT + _GAP_Y))
        for x, column in enumerate(columns)
        for y, node in enumerate(column)
    }
    width = 2 * _MARGIN + len(columns) * (_WIDTH + _GAP_X) - _GAP_X
    height = 2 * _MARGIN + max(map(len, columns), default=0) * (_HEIGHT + _GAP_Y) - _GAP_Y
    lines = [_line(places[start], places[end]) for start, end in edges if start in places and end in places]
    boxes = [_box(node, *places[node.id]) for node in nodes if node.id in places]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{max(width, 0)}" height="{max(height, 0)}" '
        f'font-family="sans-serif" font-size="12">{"".join(lines)}{"".join(boxes)}</svg>'
    )


def _line(start: tuple[int, int], end: tuple[int, int]) -> str:
    (left, top), (right, bottom) = start, end
    left, middle_y, end_y = left + _WIDTH, top + _HEIGHT // 2, bottom + _HEIGHT // 2
    bend = (left + right) // 2
    path = f"M{left},{middle_y} C{bend},{middle_y} {bend},{end_y} {right},{end_y}"
    return f'<path d="{path}" fill="none" stroke="#6b7280"/>'


def _box(node: PictureNode, x: int, y: int) -> str:
    second = f'<text x="{x + 10}" y="{y + 36}" fill="#6b7280">{html(_clipped(node.below))}</text>' if node.below else ""
    return (
        f'<g><title>{html(node.title)}</title><rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" '
        f'fill="{_COLORS[node.kind]}" stroke="#9ca3af"/>'
        f'<text x="{x + 10}" y="{y + 19}" fill="#111827">{html(_clipped(node.name))}</text>{second}</g>'
    )


def _clipped(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "…"
