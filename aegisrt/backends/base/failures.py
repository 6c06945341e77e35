"""The errors that a backend answers: the one place that turns an engine's exception into an `Error`."""

from __future__ import annotations

from aegisrt.core.result import Err, Error, ErrorCode
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
    `_CODES`; all others are INTERNAL.
    """
    text = _text_of(error)
    first = text.splitlines()[0] if text else type(error).__name__
    message = f"{kind} failed while {doing}: {first}"
    return Error(code or _code(error), message, exhausted_hint(error), cause=f"{type(error).__name__}: {text}")


def not_loaded(model: str | None) -> Err:
    """Return NOT_LOADED: for direct use (no model name), or for a deployment."""
    if model is None:
        return _NOT_LOADED
    message = f"model `{model}` is unloaded: its deployment is closed"
    return Err(Error(ErrorCode.NOT_LOADED, message, "deploy the manifest again"))


def loaded_before_fork(model: str | None) -> Err:
    """Return FAILED_PRECONDITION: in a child, for a model that was loaded before the fork."""
    which = "the model" if model is None else f"model `{model}`"
    message = f"{which} was loaded by the process that this one was forked from"
    return Err(Error(ErrorCode.FAILED_PRECONDITION, message, "load it after the fork, in each process"))


def not_a_request(value: object) -> Err:
    """Return the error for an argument that is not a request."""
    message = f"execute takes an ExecutionRequest, not a {type(value).__name__}"
    return Err(Error(ErrorCode.INVALID_ARGUMENT, message, "wrap it: `ExecutionRequest(inputs={...})`"))


def _text_of(error: Exception) -> str:
    try:
        return str(error).strip()
    except Exception:  # noqa: BLE001  (an engine's exception may be broken itself)
        return ""


def _code(error: Exception) -> ErrorCode:
    otherwise = next((code for kind, code in _CODES if isinstance(error, kind)), ErrorCode.INTERNAL)
    return system_code(error, otherwise)
