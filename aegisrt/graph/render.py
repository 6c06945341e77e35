"""A graph as text for a terminal, and as a Mermaid flowchart for a page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aegisrt.core.suggest import escaped
from aegisrt.graph.nodes import Graph, Node


def to_text(graph: Graph) -> str:
    """Return one line per model: what it runs on, its state, and the reason if it is not ready."""
    if not graph.nodes:
        return "no models\n"
    lines = []
    for node in graph.models:
        queue = f" on stream {node.stream}" if node.stream else ""
        count = f" x{node.instances}" if node.instances != 1 else ""
        lines.append(f"{node.name}{count} -> {node.backend} -> {node.device}{queue}  [{node.state}]")
        if node.reason:
            lines.append(f"    {node.reason}")
        if node.batching:
            lines.append(f"    batching: {node.batching}")
        lines += [f"    {key}: {_plain(value)}" for key, value in (node.metadata or {}).items()]
    return "\n".join(map(escaped, lines)) + "\n"


def to_mermaid(graph: Graph) -> str:
    """Return a `flowchart LR` that renders on its own."""
    ids = {node.id: f"n{index}" for index, node in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    lines += [f'    {ids[node.id]}["{_label(node)}"]' for node in graph.nodes]
    lines += [f"    {ids[edge.source]} --> {ids[edge.target]}" for edge in graph.edges]
    return "\n".join(lines) + "\n"


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "none"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _label(node: Node) -> str:
    count = f" x{node.instances}" if node.instances not in (None, 1) else ""
    state = f"<br/>{node.state}" if node.state != "ready" else ""
    return f"{node.kind} {node.name}{count}{state}"
