"""The registry: the known backend kinds, from the entry points of the group `aegisrt.backends`."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import ConfigDict, create_model

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.core.options import BackendOptions
from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result
from aegisrt.core.suggest import suggest

GROUP = "aegisrt.backends"


@dataclass(frozen=True, slots=True)
class BackendEntry:
    """One known backend kind; its module is imported on use."""

    kind: str
    target: str
    """`module:Class`."""
    distribution: str
    """The installed distribution that declares it."""


def entries() -> Result[dict[str, BackendEntry]]:
    """Return the known kinds, sorted; ALREADY_EXISTS where two distributions claim one, naming both."""
    return collect(_declared())


def collect(declared: Iterable[BackendEntry]) -> Result[dict[str, BackendEntry]]:
    """Return entries by kind; one distribution that is found twice (a checkout and its install) is one."""
    known: dict[str, BackendEntry] = {}
    for entry in declared:
        other = known.setdefault(entry.kind, entry)
        if other.distribution != entry.distribution:
            message = (
                f"backend kind `{entry.kind}` is claimed by two distributions: "
                f"`{other.distribution}` ({other.target}) and `{entry.distribution}` ({entry.target})"
            )
            hint = f"uninstall one: pip uninstall {entry.distribution}"
            return Err(Error(ErrorCode.ALREADY_EXISTS, message, hint))
    return Ok(dict(sorted(known.items())))


def backend_class(kind: str) -> Result[type[RuntimeBackend[Any]]]:
    """Return the class of a backend kind.

    NOT_FOUND: if the kind is unknown.
    UNAVAILABLE: if its module does not import.
    INVALID_ARGUMENT: if its entry point is not a backend.
    """
    found = entries()
    if isinstance(found, Err):
        return found
    entry = found.value.get(kind)
    if entry is None:
        hint = suggest(kind, list(found.value), "backend kinds")
        return Err(Error(ErrorCode.NOT_FOUND, f"`{kind}` is not a backend kind", hint))
    return _imported(entry)


def options_by_kind() -> Result[dict[str, type[BackendOptions]]]:
    """Return the options class of each known kind.

    A kind whose module does not import has options that take any field: its error is reported when it is used.
    """
    found = entries()
    if isinstance(found, Err):
        return found
    options: dict[str, type[BackendOptions]] = {}
    for kind, entry in found.value.items():
        loaded = _imported(entry)
        options[kind] = loaded.value.Options if isinstance(loaded, Ok) else _any_options(kind)
    return Ok(options)


def _any_options(kind: str) -> type[BackendOptions]:
    class AnyOptions(BackendOptions):
        """Options of a backend that does not import."""

        model_config = ConfigDict(extra="allow")

    field: Any = (Literal[kind], kind)
    return create_model("AnyOptions", __base__=AnyOptions, kind=field)


@cache
def _declared() -> tuple[BackendEntry, ...]:
    return tuple(
        BackendEntry(point.name, point.value, point.dist.name if point.dist else "?")
        for point in importlib.metadata.entry_points(group=GROUP)
    )


def _imported(entry: BackendEntry) -> Result[type[RuntimeBackend[Any]]]:
    point = importlib.metadata.EntryPoint(entry.kind, entry.target, GROUP)
    whose = f"backend `{entry.kind}` of `{entry.distribution}`"
    try:
        loaded = point.load()
    except Exception as error:  # noqa: BLE001  (a third party's module may raise anything)
        message = f"{whose} does not import: {entry.target}"
        return Err(Error(ErrorCode.UNAVAILABLE, message, f"reinstall `{entry.distribution}`", cause=repr(error)))
    if not (isinstance(loaded, type) and issubclass(loaded, RuntimeBackend)):
        return Err(Error(ErrorCode.INVALID_ARGUMENT, f"{whose} is not a RuntimeBackend: {entry.target}"))
    if loaded.kind != entry.kind:
        message = f"{whose}: the class says kind `{loaded.kind}`; the entry point's name and `kind` must agree"
        return Err(Error(ErrorCode.INVALID_ARGUMENT, message))
    return Ok(loaded)
