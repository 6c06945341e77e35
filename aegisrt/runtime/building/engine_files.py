"""`loadable_file`: the file that a backend loads for a model: the model's own, or one built from it and cached.

A manifest may come from elsewhere, and machine code can do anything: it is loaded only if this cache built it, or if
the manifest pins it by its sha256. A pinned engine file is loaded from a private copy, made while it was hashed.

The sidecar of an engine file has what keeps its answers correct, such as the ranges of its indices. So a pin has to
cover both: the file's own digest does if it has a trailer (core/sidecar.py), and the sidecar's digest always does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from aegisrt.artifacts.build import engine_file
from aegisrt.artifacts.cache import ArtifactCache
from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.backends.files.readable import readable_file
from aegisrt.core.diagnostic import Location
from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result, ResultError, fail
from aegisrt.core.sidecar import pin_of, read_trailer, sidecar_path, verified_file
from aegisrt.core.stamp import DIGESTS, Stamp, file_sha256
from aegisrt.core.system_error import system_error
from aegisrt.graph.build import needs_build
from aegisrt.manifest.schema import ModelOptions
from aegisrt.runtime.building.private_copy import private_copy


def loadable_file(
    name: str, model: ModelOptions, backend: RuntimeBackend[Any], progress: Callable[[str], None] | None = None
) -> Result[Path]:
    """Return the file to load for the model `name`; build it if the backend cannot load the model's own file.

    A private copy of a pinned engine file is deleted with `backend`.
    Errors as of `engine_file` and `private_copy`, and:

    PERMISSION_DENIED: if the file is machine code that is neither in the cache nor pinned.
    DATA_LOSS: if it is another engine file than the pinned one.
    """
    if needs_build(type(backend), model.path):
        built = engine_file(backend, model.path, on_damage=model.on_damage, progress=progress)
        if isinstance(built, Err):
            return built
        other = _other_digest(model, built.value.source_sha256)
        return Ok(built.value.path) if other is None else Err(other)
    if not _is_engine_file(backend):
        return Ok(model.path)
    try:
        if model.sha256 is not None:
            return Ok(_pinned_copy(model, backend))
        if backend.capabilities.native_code:
            _check_cached(name, model)
    except ResultError as failure:
        return Err(failure.error)
    except OSError as error:
        return Err(system_error(error, f"{model.path} cannot be read").error)
    return Ok(model.path)


def check_pinned(
    model: ModelOptions, backend: RuntimeBackend[Any], before: Stamp | None, location: Location | None = None
) -> None:
    """Check that the file that was loaded is the one that the manifest pins; `before` is its stamp before the load.

    The manifest was validated before: another file may lie there by now. Engine files are not checked again, since they
    were loaded from a private copy.
    DATA_LOSS: if it has another sha256, or was another file when the load began.
    """
    if model.sha256 is None or _is_engine_file(backend):
        return
    other = _other_digest(model, file_sha256(readable_file(model.path)))
    if other is None and Stamp.of(model.path) != before:
        message = f"{model.path} changed while the model was loaded"
        other = Error(ErrorCode.DATA_LOSS, message, "try again; replace a model's file by a rename, in one step")
    if other is not None:
        raise ResultError(other.at(location))


def with_own_path(error: Error, model: ModelOptions, loaded: Path) -> Error:
    """Return the error with the model's own folder, in the place of the folder of its private copy."""
    if loaded.name != model.path.name or loaded.parent == model.path.parent:
        return error
    copied, own = str(loaded.parent), str(model.path.parent)
    texts = (text and text.replace(copied, own) for text in (error.message, error.hint, error.cause))
    message, hint, cause = texts
    return replace(error, message=message or "", hint=hint, cause=cause)


def _is_engine_file(backend: RuntimeBackend[Any]) -> bool:
    """Return whether the files that the backend loads are code, or were built from a model: all in one file."""
    return backend.capabilities.native_code or bool(backend.capabilities.builds_from)


def _other_digest(model: ModelOptions, found: str) -> Error | None:
    if model.sha256 is None or found == model.sha256:
        return None
    message = f"{model.path} was replaced: it has the sha256 {found}, and {model.sha256} is expected"
    return Error(ErrorCode.DATA_LOSS, message, f"if this is the right file, write `sha256: {found}`")


def _pinned_copy(model: ModelOptions, backend: RuntimeBackend[Any]) -> Path:
    """Return the private copy of an engine file, if the manifest pins it together with its sidecar."""
    path = readable_file(model.path)
    copy = private_copy(path, backend)
    if model.sha256 not in (copy.sha256, copy.sidecar_sha256):
        message = f"{path} has the sha256 {copy.sha256}, and the manifest pins {model.sha256}"
        raise fail(ErrorCode.PERMISSION_DENIED, message, f"if this is the right file, write `sha256: {pin_of(path)}`")
    is_covered = copy.sidecar_sha256 in (None, model.sha256) or read_trailer(copy.path) is not None
    if not is_covered:
        message = f"the manifest pins {path} without {sidecar_path(path).name}, whose checks keep its answers correct"
        hint = f"build it again, or pin both: `sha256: {copy.sidecar_sha256}`"
        raise fail(ErrorCode.PERMISSION_DENIED, message, hint)
    try:
        DIGESTS.keep(Stamp.read(copy.path), copy.sha256)  # no other user can write there
        verified_file(copy.path)
    except ResultError as failure:
        raise ResultError(with_own_path(failure.error, model, copy.path)) from None
    return copy.path


def _check_cached(name: str, model: ModelOptions) -> None:
    path = readable_file(model.path)
    if ArtifactCache().contains(path):
        return
    message = f"{path} is machine code, and the manifest does not pin it by its sha256"
    hint = f"if you trust it, add under `models.{name}`: `sha256: {pin_of(path)}`"
    raise fail(ErrorCode.PERMISSION_DENIED, message, hint)
