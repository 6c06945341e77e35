"""From a manifest to running models, top to bottom: compose, validate, graph, build. Read this file first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aegisrt.backends.registry import entries, options_by_kind
from aegisrt.core.diagnostic import Diagnostic
from aegisrt.core.result import Err, Error, Ok, Result
from aegisrt.core.suggest import quoted
from aegisrt.core.system_error import is_exhausted, system_error
from aegisrt.graph.build import build_graph
from aegisrt.graph.check import check_graph
from aegisrt.graph.nodes import Graph
from aegisrt.manifest.check.validate import validate
from aegisrt.manifest.compose.compose import compose
from aegisrt.manifest.composition import Composition, composed_before, escaped, hidden_values
from aegisrt.manifest.errors import manifest_error
from aegisrt.manifest.hidden import hide, hide_in, hide_in_events
from aegisrt.manifest.origin import Environment, Origins
from aegisrt.manifest.schema import Manifest

if TYPE_CHECKING:
    from aegisrt.runtime.building.built import BuiltBackends
    from aegisrt.runtime.context import ExecutionContext

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A valid deployment that is not running yet."""

    manifest: Manifest[Any]
    graph: Graph
    origins: Origins
    composition: Composition
    warnings: tuple[Diagnostic, ...] = ()


def deploy(
    manifest: Path | str | Mapping[str, Any] | Manifest[Any] | None = None,
    overrides: Sequence[str] = (),
    *,
    config_dir: Path | str | None = None,
) -> Result[ExecutionContext]:
    """Return the running models of a manifest; close the context, or use it in a `with`.

    `manifest` is a YAML file, the same as a mapping, a validated `Manifest`, or None for the packaged demo.
    `overrides` are in Hydra's grammar. `config_dir` holds the user's own configuration groups. A manifest's errors
    are in the error's `diagnostics`; an engine's error has the location of the manifest's line that caused it.
    """
    resolved = resolve(manifest, overrides, config_dir=config_dir)
    return run(resolved.value) if isinstance(resolved, Ok) else resolved


async def deploy_async(
    manifest: Path | str | Mapping[str, Any] | Manifest[Any] | None = None,
    overrides: Sequence[str] = (),
    *,
    config_dir: Path | str | None = None,
) -> Result[ExecutionContext]:
    """As `deploy`, in a thread, so that the event loop goes on: use the context in an `async with`.

    If the task is canceled, what is deployed by then is closed as soon as it is complete.
    """
    import asyncio

    handover = _Handover()
    work = partial(handover.run, partial(deploy, manifest, overrides, config_dir=config_dir))
    try:
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, work))
    except asyncio.CancelledError:
        handover.abandon()
        raise


class _Handover:
    """Passes a deployment from the thread that makes it to its caller; closes it if the caller has gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: Result[ExecutionContext] | None = None
        self._is_abandoned = False

    def run(self, work: Callable[[], Result[ExecutionContext]]) -> Result[ExecutionContext]:
        """Return the deployment that `work` makes."""
        made = work()
        with self._lock:
            self._made = made
            is_abandoned = self._is_abandoned
        if is_abandoned and isinstance(made, Ok):
            made.value.close()
        return made

    def abandon(self) -> None:
        """Close the deployment, or let it be closed when it is made; do not block."""
        with self._lock:
            self._is_abandoned = True
            made = self._made
        if isinstance(made, Ok):
            threading.Thread(target=made.value.close, name="aegisrt-close", daemon=True).start()


def resolve(
    manifest: Path | str | Mapping[str, Any] | Manifest[Any] | None = None,
    overrides: Sequence[str] = (),
    *,
    config_dir: Path | str | None = None,
    environment: Environment = "hidden",
) -> Result[Resolved]:
    """Return the composed and checked manifest, and its graph; load no engine.

    Errors, and what is printed of the manifest, have `***` for values of environment variables, unless `environment` is
    `shown`; with `refused`, a manifest that reads the environment is an error.
    """
    return _answered(partial(_resolve, manifest, overrides, config_dir, environment), "the manifest cannot be read")


def run(resolved: Resolved, progress: Callable[[str], None] | None = None) -> Result[ExecutionContext]:
    """Return the running models of a resolved manifest."""
    return _answered(partial(_run, resolved, progress), "the models cannot be loaded")


def _answered(work: Callable[[], Result[T]], message: str) -> Result[T]:
    """Return the result of `work`, or RESOURCE_EXHAUSTED if it raises since file descriptors or memory ran out.

    Anywhere in it a file may be opened or a module imported, so no single place can check for that.
    """
    try:
        return work()
    except (OSError, ImportError, MemoryError) as error:
        if not is_exhausted(error):
            raise
        return Err(system_error(error, message).error)


def _resolve(
    manifest: Path | str | Mapping[str, Any] | Manifest[Any] | None,
    overrides: Sequence[str],
    config_dir: Path | str | None,
    environment: Environment,
) -> Result[Resolved]:
    kinds = options_by_kind()
    if isinstance(kinds, Err):
        return kinds
    if isinstance(manifest, Manifest) and not overrides:
        composed: Result[Composition] = Ok(composed_before(manifest))
    else:
        given = escaped(composed_before(manifest).values) if isinstance(manifest, Manifest) else manifest
        composed = compose(
            given, overrides, config_dir=config_dir, kinds=kinds.value, partly=True, environment=environment
        )
    if isinstance(composed, Err):
        return composed
    composition = composed.value
    valid = validate(composition, kinds.value)
    if isinstance(valid, Err):
        return Err(_with_refusals(valid.error))
    graph = build_graph(valid.value)
    diagnostics = hide(check_graph(graph, composition.origins), hidden_values(composition))
    if any(item.severity == "error" for item in diagnostics):
        return Err(manifest_error(diagnostics, composition.name))
    return Ok(Resolved(valid.value, graph, composition.origins, composition, (*composition.warnings, *diagnostics)))


def _with_refusals(error: Error) -> Error:
    """Return a manifest's error; an unknown kind that an installed package declares wrongly gets that as its hint."""
    refused = [entry for entry in entries().unwrap().values() if not entry.is_name and entry.problem is not None]
    diagnostics = error.diagnostics
    for entry in refused:
        diagnostics = tuple(
            replace(one, hint=f"{entry.problem.message}; {entry.problem.hint}", label=None)
            if entry.problem and one.id == "unknown-kind" and quoted(entry.kind) in one.message
            else one
            for one in diagnostics
        )
    hint = diagnostics[0].hint if diagnostics != error.diagnostics else error.hint
    return replace(error, diagnostics=diagnostics, hint=hint)


def _rebuild(resolved: Resolved, model: str) -> Result[BuiltBackends]:
    """Return one model of a deployment, built and loaded again."""
    from aegisrt.runtime.building.factory import build_backends

    nodes = tuple(node for node in resolved.graph.nodes if node.kind != "model" or node.name == model)
    built = build_backends(replace(resolved.graph, nodes=nodes), resolved.origins)
    return Err(hide_in(built.error, hidden_values(resolved.composition))) if isinstance(built, Err) else built


def _run(resolved: Resolved, progress: Callable[[str], None] | None) -> Result[ExecutionContext]:
    from aegisrt.runtime.building.deployed import log_deployed  # here: checking a manifest needs no part of it
    from aegisrt.runtime.building.factory import build_backends
    from aegisrt.runtime.context import ExecutionContext

    hide_in_events(hidden_values(resolved.composition))
    built = build_backends(resolved.graph, resolved.origins, progress)
    if isinstance(built, Err):
        return Err(hide_in(built.error, hidden_values(resolved.composition)))
    context = ExecutionContext(resolved.graph, built.value, partial(_rebuild, resolved))
    log_deployed(built.value)
    return Ok(context)
