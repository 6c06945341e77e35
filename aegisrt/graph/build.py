"""`build_graph`: from a valid manifest to the graph of models and what they run on; loads no engine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.backends.base.description import availability_of
from aegisrt.backends.registry import backend_class
from aegisrt.core.options import BackendOptions, StrictModel
from aegisrt.core.result import Err
from aegisrt.core.sidecar import file_sha256
from aegisrt.graph.nodes import Edge, Graph, Node, State
from aegisrt.graph.placement import device_of
from aegisrt.manifest.schema import Manifest, ModelOptions


def build_graph(manifest: Manifest[Any]) -> Graph:
    """Return the graph of a manifest whose references and declared digests were checked."""
    nodes: dict[str, Node] = {}
    edges: dict[Edge, None] = {}
    for name, model in manifest.models.items():
        backend = manifest.backends[model.backend]
        device = device_of(manifest, backend)
        below = [_device(manifest, device)]
        links = [Edge(f"model:{name}", f"backend:{model.backend}"), Edge(f"backend:{model.backend}", below[0].id)]
        if backend.stream is not None:
            stream = manifest.streams[backend.stream]
            below.append(_device(manifest, stream.device))
            print_ = _fingerprint(stream, below[-1].fingerprint)
            below.append(Node(f"stream:{backend.stream}", "stream", backend.stream, print_, device=stream.device))
            links[1:] = [Edge(links[0].target, below[-1].id), Edge(below[-1].id, f"device:{stream.device}")]
        below.append(
            Node(
                f"backend:{model.backend}",
                "backend",
                model.backend,
                _fingerprint(backend, *(node.fingerprint for node in below)),
                backend=model.backend,
                device=device,
                stream=backend.stream,
            )
        )
        nodes[f"model:{name}"] = _model(manifest, name, below[-1].fingerprint)
        nodes.update((node.id, node) for node in below)
        edges.update(dict.fromkeys(links))
    order = ("model", "backend", "stream", "device")
    return Graph(manifest, tuple(sorted(nodes.values(), key=lambda node: order.index(node.kind))), tuple(edges))


def _device(manifest: Manifest[Any], name: str) -> Node:
    return Node(f"device:{name}", "device", name, _fingerprint(manifest.devices[name]), device=name)


def _model(manifest: Manifest[Any], name: str, below: str) -> Node:
    model = manifest.models[name]
    backend = manifest.backends[model.backend]
    device = device_of(manifest, backend)
    state, reason = _state(model, backend, manifest.devices[device].kind)
    return Node(
        f"model:{name}",
        "model",
        name,
        _fingerprint(model, model.sha256 or file_sha256(model.path), below, exclude={"path", "sample", "sha256"}),
        model=name,
        backend=model.backend,
        device=device,
        stream=backend.stream,
        instances=model.instances,
        state=state,
        reason=reason,
        batching=_batching(model),
    )


def _batching(model: ModelOptions) -> str | None:
    if model.batching is None:
        return None
    return "trusted" if model.batching.rows == "trust" else "checked at deploy"


def _state(model: ModelOptions, options: BackendOptions, device: str) -> tuple[State, str | None]:
    kind = options.kind
    found = backend_class(kind)
    if isinstance(found, Err):
        return "not_installed", str(found.error)
    backend = found.value
    availability = availability_of(backend)
    if not availability.available:
        run = f"; run: {availability.install}" if availability.install else ""
        return "not_installed", f"{availability.reason}{run}"
    if device not in backend.capabilities.devices:
        able = ", ".join(backend.capabilities.devices)
        return "unsupported", f"backend kind `{kind}` runs on {able}, not on `{device}`"
    if needs_build(backend, model.path):
        note = backend.build_note(options, device)
        reason = f"`{model.path.name}` is compiled for backend kind `{kind}` before it loads"
        return "needs_build", f"{reason}; {note}" if note else reason
    return "ready", None


def needs_build(backend: type[RuntimeBackend[Any]], path: Path) -> bool:
    """Return whether the backend must compile the file at `path` before it can load it."""
    able = backend.capabilities
    return not path.name.endswith(able.formats) and path.name.endswith(able.builds_from)


def _fingerprint(options: StrictModel, *parts: str, exclude: set[str] | None = None) -> str:
    declared = json.dumps(options.model_dump(mode="json", exclude=exclude), sort_keys=True)
    return hashlib.sha256("\n".join((declared, *parts)).encode()).hexdigest()
