"""`with_headers`: the models' own metadata, read from their files without an engine."""

from __future__ import annotations

from pathlib import Path

from aegisrt.backends.files.onnx import read_onnx
from aegisrt.core.result import ResultError
from aegisrt.graph.nodes import Graph


def with_headers(graph: Graph) -> Graph:
    """Return the graph with the metadata of the models that are ONNX files; a file that is not readable has none."""
    return graph.described({name: _metadata(model.path) for name, model in graph.manifest.models.items()})


def _metadata(path: Path) -> dict[str, str] | None:
    if path.suffix != ".onnx":
        return None
    try:
        return read_onnx(path).metadata
    except (ResultError, OSError):
        return None
