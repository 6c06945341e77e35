"""`known_engines`: what the class of each backend names as the installation of its engine."""

from __future__ import annotations

from aegisrt.backends.base.installation import EngineInstallation
from aegisrt.backends.registry import backend_class, entries
from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result
from aegisrt.core.suggest import quoted


def known_engines() -> tuple[dict[str, EngineInstallation], dict[str, Error]]:
    """Return the engines of the known backends, and the errors of those that cannot be used, by kind."""
    known = entries()
    if isinstance(known, Err):
        return {}, {"backends": known.error}
    engines: dict[str, EngineInstallation] = {}
    refused: dict[str, Error] = {}
    for kind in known.value:
        found = installation_of(kind)
        if isinstance(found, Ok):
            engines[kind] = found.value
        else:
            refused[kind] = found.error
    return engines, refused


def installation_of(kind: str) -> Result[EngineInstallation]:
    """Return what a backend's class names as its engine's installation; the errors of `backend_class`.

    UNAVAILABLE: if its `doctor` does not import.
    INVALID_ARGUMENT: if that is not an `EngineInstallation`.
    """
    backend = backend_class(kind)
    if isinstance(backend, Err):
        return backend
    label = f"`doctor` of backend {quoted(kind)}"
    try:
        engine = backend.value.installation()
    except (Exception, SystemExit) as error:  # noqa: BLE001  (a third party's module may raise anything, or exit)
        message = f"{label} does not import: {backend.value.doctor!r}"
        return Err(Error(ErrorCode.UNAVAILABLE, message, "correct the name in the backend's class", cause=repr(error)))
    if isinstance(engine, EngineInstallation):
        return Ok(engine)
    hint = "name a subclass of EngineInstallation as `module:Class`"
    return Err(Error(ErrorCode.INVALID_ARGUMENT, f"{label} is {engine!r}, not an EngineInstallation", hint))
