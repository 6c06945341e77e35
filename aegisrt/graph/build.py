"""`build_graph`: from a valid manifest to the graph of models and what they run on; loads no engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.backends.base.description import availability_of
from aegisrt.backends.registry import backend_class
from aegisrt.core.options import BackendOptions, StrictModel
from aegisrt.core.result import Err
from aegisrt.core.stamp import Stamp
from aegisrt.graph.nodes import Edge, Graph, ModelContent, Node, State
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
            declared, under = _declared(stream), (below[-1],)
            below.append(
                Node(f"stream:{backend.stream}", "stream", backend.stream, declared, under, device=stream.device)
            )
            links[1:] = [Edge(links[0].target, below[-1].id), Edge(below[-1].id, f"device:{stream.device}")]
        below.append(
            Node(
                f"backend:{model.backend}",
                "backend",
                model.backend,
                _declared(backend),
                tuple(below),
                backend=model.backend,
                device=device,
                stream=backend.stream,
            )
        )
        nodes[f"model:{name}"] = _model(manifest, name, below[-1])
        nodes.update((node.id, node) for node in below)
        edges.update(dict.fromkeys(links))
    order = ("model", "backend", "stream", "device")
    return Graph(manifest, tuple(sorted(nodes.values(), key=lambda node: order.index(node.kind))), tuple(edges))


def _device(manifest: Manifest[Any], name: str) -> Node:
    return Node(f"device:{name}", "device", name, _declared(manifest.devices[name]), device=name)


def _model(manifest: Manifest[Any], name: str, below: Node) -> Node:
    model = manifest.models[name]
    backend = manifest.backends[model.backend]
    device = device_of(manifest, backend)
    state, reason = _state(model, backend, manifest.devices[device].kind)
    return Node(
        f"model:{name}",
        "model",
        name,
        _declared(model, exclude={"path", "sample", "sha256"}),
        (below,),
        ModelContent(model.path, Stamp.of(model.path), model.sha256),
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


def _declared(options: StrictModel, exclude: set[str] | None = None) -> str:
    return json.dumps(options.model_dump(mode="json", exclude=exclude), sort_keys=True)
