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
from aegisrt.core.result import Err, ErrorCode, Ok, Result, ResultError, fail
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
        return Ok(built.value.path) if isinstance(built, Ok) else built
    if not backend.capabilities.native_code:
        return Ok(model.path)
    try:
        _check_trusted(name, model)
    except ResultError as failure:
        return Err(failure.error)
    return Ok(model.path)


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
