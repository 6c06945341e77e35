"""`build_backends`: from a graph to loaded backends; the only place that creates them for a manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter_ns
from typing import Any

from aegisrt.backends.base.backend import Names, RuntimeBackend
from aegisrt.backends.base.description import availability_of
from aegisrt.backends.registry import backend_class
from aegisrt.core.diagnostic import Location
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result, ResultError, fail
from aegisrt.core.stamp import Stamp
from aegisrt.core.system_error import system_error
from aegisrt.devices.base import Device
from aegisrt.graph.nodes import Graph, Node
from aegisrt.manifest.origin import Origins
from aegisrt.runtime.building.built import BuiltBackends
from aegisrt.runtime.building.engine_files import check_pinned, loadable_file, with_own_path
from aegisrt.runtime.building.input_budget import InputBudget
from aegisrt.runtime.building.row_check import check_batching
from aegisrt.runtime.building.sample import read_sample, zeros
from aegisrt.runtime.building.signature import mismatch


def build_backends(
    graph: Graph, origins: Origins, progress: Callable[[str], None] | None = None
) -> Result[BuiltBackends]:
    """Return one loaded backend for each model, by name; after a failure none stays loaded.

    Errors have the location of the manifest's line that caused them.
    """
    built = BuiltBackends()
    for node in graph.models:
        if progress:
            progress(node.name)
        started = perf_counter_ns()
        result = _build(graph, node, origins, progress, built)
        if isinstance(result, Err):
            for backend in built.values():
                backend.unload()
            return result
        built[node.name] = result.value
        built.took_ms[node.name] = (perf_counter_ns() - started) / 1e6
    return Ok(built)


def _build(
    graph: Graph,
    node: Node,
    origins: Origins,
    progress: Callable[[str], None] | None,
    built: BuiltBackends,
) -> Result[RuntimeBackend[Any]]:
    model = graph.manifest.models[node.name]

    def at(*path: str) -> Location | None:
        return origins.of(("models", node.name, *path)).value

    created = make_backend(graph, node, built)
    if isinstance(created, Err):
        return Err(of_model(created.error, node).at(at("backend")))
    backend = created.value
    before = Stamp.of(model.path)
    file = loadable_file(node.name, model, backend, progress)
    if isinstance(file, Err):
        return Err(of_model(file.error, node).at(at("path")))
    loaded = backend.load(file.value)
    if isinstance(loaded, Err):
        return Err(of_model(with_own_path(loaded.error, model, file.value), node).at(at("path")))
    try:
        check_pinned(model, backend, before, at("sha256"))
        _check_signature(graph, node, backend, at)
        doubt = _check_batching(graph, node, backend, at)
        if doubt is not None:
            built.unbatched[node.name] = doubt
        _warm_up(graph, node, backend, at)
    except (ResultError, MemoryError) as failure:
        backend.unload()
        out = system_error(failure, "it cannot be tried") if isinstance(failure, MemoryError) else failure
        return Err(of_model(out.error, node))
    return Ok(backend)


def make_backend(graph: Graph, node: Node, built: BuiltBackends) -> Result[RuntimeBackend[Any]]:
    """Return a model's backend with nothing loaded, on a stream of the deployment `built`.

    UNAVAILABLE: if its engine is not installed.
    """
    manifest = graph.manifest
    options = manifest.backends[manifest.models[node.name].backend]
    found = backend_class(options.kind)
    if isinstance(found, Err):
        return found
    availability = availability_of(found.value)
    if not availability.available:
        message = f"backend kind `{options.kind}` is not available: {availability.reason}"
        return Err(Error(ErrorCode.UNAVAILABLE, message, availability.install and f"run: {availability.install}"))
    name = node.device or options.device
    device = Device.declared(name, manifest.devices[name])
    stream = built.stream(manifest, options.stream) if options.stream else None
    names = Names(node.name, node.backend)
    try:
        chosen = _isolated(found.value) if options.isolation == "process" else found.value
        return Ok(chosen(options, device=device, stream=stream, instances=node.instances or 1, names=names))
    except Exception as error:  # noqa: BLE001  (a third party's constructor may raise anything)
        message = f"backend kind `{options.kind}` refused its options: {error}"
        return Err(Error(ErrorCode.INVALID_ARGUMENT, message, cause=repr(error)))


def _check_signature(
    graph: Graph, node: Node, backend: RuntimeBackend[Any], at: Callable[..., Location | None]
) -> None:
    declared, actual = graph.manifest.models[node.name].signature, backend.signature
    fixed = getattr(backend.options, "free_dimensions", None)
    difference = mismatch(declared, actual, fixed) if declared and actual else None
    if difference:
        where, message = difference
        hint = "declare the model's own signature, or give the path of the right model"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, hint, location=at("signature", *where) or at("path"))


def _check_batching(
    graph: Graph, node: Node, backend: RuntimeBackend[Any], at: Callable[..., Location | None]
) -> str | None:
    manifest = graph.manifest
    try:
        return check_batching(node.name, manifest.models[node.name], backend, manifest.limits.input_bytes)
    except ResultError as failure:
        raise ResultError(failure.error.at(at("batching"))) from None


def _warm_up(graph: Graph, node: Node, backend: RuntimeBackend[Any], at: Callable[..., Location | None]) -> None:
    model, signature = graph.manifest.models[node.name], backend.signature
    if not model.warmup or signature is None:
        return
    budget = InputBudget(graph.manifest.limits.input_bytes)
    try:
        inputs = read_sample(model.sample, signature, budget).inputs if model.sample else zeros(signature, budget)
    except ResultError as failure:
        raise ResultError(failure.error.at(at("warmup"))) from None
    for _ in range(model.warmup * model.instances):
        result = backend.execute(ExecutionRequest(inputs=inputs))
        if isinstance(result, Err):
            error = result.error
            raise ResultError(replace(error, message=f"warm-up failed: {error.message}").at(at("warmup")))


def of_model(error: Error, node: Node) -> Error:
    """Return the error prefixed with the model's name."""
    return replace(error, message=f"model `{node.name}`: {error.message}")


def _isolated(backend: type[RuntimeBackend[Any]]) -> type[RuntimeBackend[Any]]:
    from aegisrt.backends.isolation.backend import isolated  # here: most deployments have no isolated model

    return isolated(backend)
