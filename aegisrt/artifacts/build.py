"""`engine_file`: the cached file that a backend can load, for a model that it has to build."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from aegisrt.artifacts.cache import ArtifactCache, Policy
from aegisrt.artifacts.location import VARIABLE
from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.backends.files.readable import readable_file
from aegisrt.backends.files.source import source_of
from aegisrt.core.result import Err, Ok, Result, ResultError
from aegisrt.core.shown.log import Log
from aegisrt.core.sidecar import VerifiedFile, artifact_key
from aegisrt.core.system_error import system_error

_log = Log(__name__)


@dataclass(frozen=True, slots=True)
class EngineFile:
    """A file that a backend can load."""

    file: VerifiedFile
    key: str
    source_sha256: str
    """Digest of the model that it was built from."""
    built: bool
    """Whether this call built it; else it was in the cache."""

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.file.path


def engine_file(
    backend: RuntimeBackend[Any],
    source: Path,
    cache: ArtifactCache | None = None,
    *,
    force: bool = False,
    on_damage: Policy = "rebuild",
    progress: Callable[[str], None] | None = None,
) -> Result[EngineFile]:
    """Return the cached engine file of the model at `source` for this backend's options, engine version and target.

    It is built if the cache does not have it, with `force`, or if it is damaged and the policy is to rebuild.

    The errors of `RuntimeBackend.build`, and:
    DATA_LOSS: if it is damaged and the policy is to fail.
    PERMISSION_DENIED: if other users can write to the cache.
    """
    recipe = backend.recipe()
    if isinstance(recipe, Err):
        return recipe
    cache = cache or ArtifactCache()

    def make(target: Path) -> None:
        backend.build(source, target, progress=progress).unwrap()

    started = perf_counter_ns()
    try:
        described = source_of(readable_file(source))
        key = artifact_key(described, recipe.value)
        suffix = backend.capabilities.formats[0]
        file, built = cache.get(key, suffix, make, force=force, on_damage=on_damage, progress=progress)
        if not built and file.sidecar is not None and backend.outdated(file.sidecar.metadata):
            file, built = cache.get(key, suffix, make, force=True, progress=progress)
    except ResultError as failure:
        return Err(failure.error)
    except OSError as error:
        problem = system_error(error, f"the cache {cache.root} cannot be used", "let this user write to it").error
        return Err(replace(problem, hint=f"{problem.hint}, or name another folder: {VARIABLE}"))
    if built:
        ms = (perf_counter_ns() - started) / 1e6
        _log.info(
            "built %s from %s in %.0f ms", file.path, source, ms, engine=backend.kind, file=file.path, ms=round(ms, 3)
        )
    return Ok(EngineFile(file, key, described["sha256"], built))
