"""The errors that a backend answers: the one place that turns an engine's exception into an `Error`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from aegisrt.backends.files.snapshot import RESTORE, Snapshot
from aegisrt.backends.process.child import has_no_memory
from aegisrt.core.result import Err, Error, ErrorCode, fail
from aegisrt.core.sidecar import sidecar_path
from aegisrt.core.system_error import exhausted_hint, system_code

_NOT_LOADED = Err(Error(ErrorCode.NOT_LOADED, "no model is loaded", "call `load(path)` first"))
_CODES: tuple[tuple[type[Exception], ErrorCode], ...] = (
    (FileNotFoundError, ErrorCode.NOT_FOUND),
    (PermissionError, ErrorCode.PERMISSION_DENIED),
    (NotImplementedError, ErrorCode.UNIMPLEMENTED),
    (TimeoutError, ErrorCode.DEADLINE_EXCEEDED),
)
"""For exceptions that Python code raises without an `errno`."""


def engine_failure(kind: str, doing: str, error: Exception, code: ErrorCode | None) -> Error:
    """Return the error for an exception of an engine of `kind`, raised while it was `doing` something.

    Without a `code`, the operating system's errors have the code of their `errno`, and Python's own exceptions those of
    `_CODES`. A text that reports a refused allocation, such as `std::bad_alloc`, is RESOURCE_EXHAUSTED; all others are
    INTERNAL.
    """
    text = _text_of(error)
    first = text.splitlines()[0] if text else type(error).__name__
    message = f"{kind} failed while {doing}: {first}"
    return Error(code or _code(error, text), message, exhausted_hint(error), cause=f"{type(error).__name__}: {text}")


def not_loaded(model: str | None) -> Err:
    """Return NOT_LOADED: for direct use (no model name), or for a deployment."""
    if model is None:
        return _NOT_LOADED
    message = f"model `{model}` is unloaded: its deployment is closed"
    return Err(Error(ErrorCode.NOT_LOADED, message, "deploy the manifest again"))


def loaded_before_fork(model: str | None) -> Err:
    """Return FAILED_PRECONDITION: in a child, for a model that was loaded before the fork."""
    which = "the model" if model is None else f"model `{model}`"
    message = f"{which} was loaded by the parent of this forked process"
    return Err(Error(ErrorCode.FAILED_PRECONDITION, message, "load it after the fork, in each process"))


def not_a_request(value: object) -> Err:
    """Return the error for an argument that is not a request."""
    message = f"execute takes an ExecutionRequest, not a {type(value).__name__}"
    return Err(Error(ErrorCode.INVALID_ARGUMENT, message, "wrap it: `ExecutionRequest(inputs={...})`"))


def of_overwritten(failure: Error, files: Snapshot) -> Error:
    """Return an engine's error as DATA_LOSS if a file of the model was overwritten in place since it was loaded.

    The engine may have it mapped, and then computes with the new bytes.
    """
    file = files.overwritten()
    if file is None:
        return failure
    message = f"{failure.message}; {file} was overwritten since the model was loaded"
    return replace(failure, code=ErrorCode.DATA_LOSS, message=message, hint=RESTORE)


def refuse_other_source(files: Snapshot, target: Path) -> None:
    """Check that a model did not change while `target` was built from it; delete what was built if it did.

    FAILED_PRECONDITION: if a file of it changed.
    """
    file = files.changed()
    if file is not None:
        target.unlink(missing_ok=True)
        sidecar_path(target).unlink(missing_ok=True)
        raise fail(ErrorCode.FAILED_PRECONDITION, f"{file} changed while an engine file was built from it", "try again")


def _text_of(error: Exception) -> str:
    try:
        return str(error).strip()
    except Exception:  # noqa: BLE001  (an engine's exception may be broken itself)
        return ""


def _code(error: Exception, text: str) -> ErrorCode:
    otherwise = next((code for kind, code in _CODES if isinstance(error, kind)), ErrorCode.INTERNAL)
    code = system_code(error, otherwise)
    return ErrorCode.RESOURCE_EXHAUSTED if code is ErrorCode.INTERNAL and has_no_memory(text) else code
