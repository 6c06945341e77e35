"""`build_engine_files`: every file that a manifest's engines need, built and cached before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aegisrt.artifacts.build import EngineFile, engine_file
from aegisrt.core.result import Err, Result
from aegisrt.graph.build import needs_build
from aegisrt.graph.nodes import Graph
from aegisrt.manifest.origin import Origins
from aegisrt.runtime.building.factory import make_backend, of_model

Tell = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Prebuilt:
    """What became of one model."""

    model: str
    file: Result[EngineFile] | None
    """None where the backend loads the model as it is."""


def build_engine_files(
    graph: Graph, origins: Origins, *, force: bool = False, progress: Tell | None = None
) -> Iterator[Prebuilt]:
    """Yield what became of each model, in manifest order; a failure does not keep the others from being built.

    `progress` is told the model and what is being done. Errors have the location of the manifest's line.
    """
    for node in graph.models:
        made = make_backend(graph, node)
        if isinstance(made, Err):
            where = origins.of(("models", node.name, "backend")).value
            yield Prebuilt(node.name, Err(of_model(made.error, node).at(where)))
            continue
        path = graph.manifest.models[node.name].path
        if not needs_build(type(made.value), path):
            yield Prebuilt(node.name, None)
            continue
        tell = _named(progress, node.name) if progress else None
        file = engine_file(made.value, path, force=force, progress=tell)
        if isinstance(file, Err):
            where = origins.of(("models", node.name, "path")).value
            file = Err(of_model(file.error, node).at(where))
        yield Prebuilt(node.name, file)


def _named(progress: Tell, model: str) -> Callable[[str], None]:
    return lambda text: progress(model, text)
