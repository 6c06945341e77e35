"""`loadable_file`: the file that a backend loads for a model: the model's own, or one built from it and cached.

A manifest may come from elsewhere, and machine code can do anything: it is loaded only if this cache built it, or if
the manifest pins the file by its sha256.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from aegisrt.artifacts.build import engine_file
from aegisrt.artifacts.cache import ArtifactCache
from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.backends.files.readable import readable_file
from aegisrt.core.diagnostic import Location
from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result, ResultError, fail
from aegisrt.core.sidecar import file_sha256
from aegisrt.graph.build import needs_build
from aegisrt.manifest.schema import ModelOptions


def loadable_file(
    name: str, model: ModelOptions, backend: RuntimeBackend[Any], progress: Callable[[str], None] | None = None
) -> Result[Path]:
    """Return the file to load for the model `name`; build it if the backend cannot load the model's own file.

    Errors as of `engine_file`, and:

    PERMISSION_DENIED: if the file is machine code that is neither in the cache nor pinned.
    """
    if needs_build(type(backend), model.path):
        built = engine_file(backend, model.path, on_damage=model.on_damage, progress=progress)
        if isinstance(built, Err):
            return built
        other = _other_digest(model, built.value.source_sha256)
        return Ok(built.value.path) if other is None else Err(other)
    if not backend.capabilities.native_code:
        return Ok(model.path)
    try:
        _check_trusted(name, model)
    except ResultError as failure:
        return Err(failure.error)
    return Ok(model.path)


def check_pinned(model: ModelOptions, backend: RuntimeBackend[Any], location: Location | None = None) -> None:
    """Check that the file that was loaded is the one that the manifest pins.

    The manifest was validated before: another file may lie there by now. `load` itself notices a change while it runs.
    DATA_LOSS: if it has another sha256.
    """
    if model.sha256 is not None and not needs_build(type(backend), model.path):
        other = _other_digest(model, file_sha256(readable_file(model.path)))
        if other is not None:
            raise ResultError(other.at(location))


def _other_digest(model: ModelOptions, found: str) -> Error | None:
    if model.sha256 is None or found == model.sha256:
        return None
    message = f"{model.path} was replaced: it has the sha256 {found}, and {model.sha256} is expected"
    return Error(ErrorCode.DATA_LOSS, message, f"if this is the right file, write `sha256: {found}`")


def _check_trusted(name: str, model: ModelOptions) -> None:
    path = readable_file(model.path)
    if model.sha256 is None:
        if ArtifactCache().contains(path):
            return
        message = f"{path} is machine code, and the manifest does not pin it by its sha256"
        hint = f"if you trust it, add under `models.{name}`: `sha256: {file_sha256(path)}`"
        raise fail(ErrorCode.PERMISSION_DENIED, message, hint)
    found = file_sha256(path)
    if found != model.sha256:
        message = f"{path} is machine code with the sha256 {found}, and the manifest pins {model.sha256}"
        raise fail(ErrorCode.PERMISSION_DENIED, message, f"if this is the right file, write `sha256: {found}`")
