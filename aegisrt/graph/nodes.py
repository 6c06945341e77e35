"""`Graph`: what will run where, as plain data that pickles."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from aegisrt.backends.files.onnx import read_onnx
from aegisrt.backends.files.source import weights_file
from aegisrt.core.result import ResultError
from aegisrt.core.stamp import Stamp, file_sha256
from aegisrt.graph.picture import PictureNode, graph_svg
from aegisrt.manifest.schema import Manifest

NodeKind = Literal["model", "backend", "stream", "device"]
State = Literal["ready", "needs_build", "not_installed", "unsupported"]


_SHOWN = (
    "model", "backend", "device", "stream", "instances", "state", "reason", "metadata", "batching", "model_metadata",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ModelContent:
    """The files of a model when its graph was built."""

    path: Path
    stamp: Stamp | None
    pinned: str | None
    """The `sha256` that the manifest declares."""

    def digests(self) -> tuple[str, ...]:
        """Return the digest of the model's file, as declared or read, and those of its external weights by name.

        A file that has changed since the graph was built, or that cannot be read, has its old stamp as its digest: a
        text that no other content has.
        """
        if self.pinned is None and Stamp.of(self.path) != self.stamp:
            return (f"{self.path.name} {self.stamp}",)
        try:
            own = self.pinned or file_sha256(self.path)
            names = read_onnx(self.path).external_files if self.path.suffix == ".onnx" else ()
        except (ResultError, OSError):
            return (self.pinned or f"{self.path.name} {self.stamp}",)
        return own, *(f"{name} {self._weights(name)}" for name in names)

    def _weights(self, name: str) -> str | None:
        try:
            return file_sha256(weights_file(self.path, name))
        except (ResultError, OSError):
            return None


@dataclass(frozen=True, slots=True)
class Node:
    """A model, or a backend, stream or device that it runs on."""

    id: str
    """`KIND:NAME`, unique in the graph."""
    kind: NodeKind
    name: str
    """The name in the manifest."""
    declaration: str = field(repr=False)
    """Its declaration in the manifest, as JSON."""
    below: tuple[Node, ...] = ()
    """The nodes that it runs on."""
    content: ModelContent | None = None
    """Of a model: its files."""
    model: str | None = None
    backend: str | None = None
    device: str | None = None
    stream: str | None = None
    instances: int | None = None
    state: State = "ready"
    reason: str | None = None
    """Why the state is not `ready`, and what to do."""
    metadata: dict[str, Any] | None = None
    """Of a loaded model: the metadata that its engine reports, such as the nodes that run on the CPU (`cpu_nodes`)."""

    batching: str | None = None
    """Of a model with batching options: `checked at deploy` or `trusted`; once it is loaded, `on`, or `off` and why."""

    model_metadata: dict[str, str] | None = None
    """The model's own metadata, such as class names: of a loaded model, or read from the header of an ONNX file."""

    @property
    def fingerprint(self) -> str:
        """Digest of the node's declaration, of its files' content, and of the nodes that it runs on.

        The model's files are read, unless they were read before and have not changed since.
        """
        content = () if self.content is None else self.content.digests()
        parts = (self.declaration, *content, *(node.fingerprint for node in self.below))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as `aegisrt graph --json` prints them."""
        plain = {name: getattr(self, name) for name in ("id", "kind", "name", "fingerprint", *_SHOWN)}
        return deepcopy(plain)


@dataclass(frozen=True, slots=True)
class Edge:
    """`source` runs on `target`; both are node ids."""

    source: str
    target: str


@dataclass(frozen=True, slots=True, repr=False)
class Graph:
    """The models of a manifest and what they run on; anything that no model uses is left out."""

    manifest: Manifest[Any]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    @property
    def models(self) -> tuple[Node, ...]:
        """The model nodes, in manifest order."""
        return tuple(node for node in self.nodes if node.kind == "model")

    def loaded(
        self, metadata: Mapping[str, dict[str, Any] | None], batching: Mapping[str, str | None] | None = None
    ) -> Graph:
        """Return this graph with the engines' metadata of the models and the state of their batching, by model name."""
        states = batching or {}
        nodes = tuple(
            replace(node, metadata=metadata.get(node.name), batching=states.get(node.name, node.batching))
            if node.kind == "model"
            else node
            for node in self.nodes
        )
        return replace(self, nodes=nodes)

    def described(self, metadata: Mapping[str, dict[str, str] | None]) -> Graph:
        """Return this graph with the models' own metadata, by model name."""
        nodes = tuple(
            replace(node, model_metadata=metadata.get(node.name)) if node.kind == "model" else node
            for node in self.nodes
        )
        return replace(self, nodes=nodes)

    def __repr__(self) -> str:
        return f"<Graph: {'; '.join(map(_placed, self.models)) or 'no models'}>"

    def _repr_html_(self) -> str:
        """Return a picture of the graph, for a notebook."""
        return graph_svg(
            [PictureNode(node.id, node.kind, _counted(node), _below(node), _title(node)) for node in self.nodes],
            [(edge.source, edge.target) for edge in self.edges],
        )

    def to_json(self) -> dict[str, Any]:
        """Return `{"nodes": [...], "edges": [{"from", "to"}]}`."""
        edges = [{"from": edge.source, "to": edge.target} for edge in self.edges]
        return {"nodes": [node.to_json() for node in self.nodes], "edges": edges}


def _placed(node: Node) -> str:
    return f"{_counted(node)} on {node.backend}, {node.device}"


def _counted(node: Node) -> str:
    return node.name if node.instances in (None, 1) else f"{node.name} x{node.instances}"


def _below(node: Node) -> str:
    return node.kind if node.state == "ready" else f"{node.kind}: {node.state}"


def _title(node: Node) -> str:
    facts = {"batching": node.batching, **(node.metadata or {})}
    shown = [f"{key}: {value}" for key, value in facts.items() if value is not None]
    return "; ".join(filter(None, [f"{node.kind} {node.name}", node.reason, *shown]))
