"""`build_engine_files`: build and cache every file that a manifest's engines need, before any is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aegisrt.artifacts.build import EngineFile, engine_file
from aegisrt.core.result import Err, Result
from aegisrt.graph.build import needs_build
from aegisrt.graph.nodes import Graph
from aegisrt.manifest.origin import Origins
from aegisrt.runtime.building.built import BuiltBackends
from aegisrt.runtime.building.factory import make_backend, of_model

ReportProgress = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Prebuilt:
    """The result of one model."""

    model: str
    file: Result[EngineFile] | None
    """None if the backend loads the model's own file."""


def build_engine_files(
    graph: Graph, origins: Origins, *, force: bool = False, progress: ReportProgress | None = None
) -> Iterator[Prebuilt]:
    """Build and cache the files of all models; yield each model's result, in manifest order.

    After a failure the others are still built. `progress` is called with the model and the step that begins. Errors
    have the location of the manifest's line.
    """
    for node in graph.models:
        created = make_backend(graph, node, BuiltBackends())
        if isinstance(created, Err):
            where = origins.of(("models", node.name, "backend")).value
            yield Prebuilt(node.name, Err(of_model(created.error, node).at(where)))
            continue
        path = graph.manifest.models[node.name].path
        if not needs_build(type(created.value), path):
            yield Prebuilt(node.name, None)
            continue
        report_progress = _named(progress, node.name) if progress else None
        file = engine_file(created.value, path, force=force, progress=report_progress)
        if isinstance(file, Err):
            where = origins.of(("models", node.name, "path")).value
            file = Err(of_model(file.error, node).at(where))
        yield Prebuilt(node.name, file)


def _named(progress: ReportProgress, model: str) -> Callable[[str], None]:
    return lambda text: progress(model, text)
