"""The registry: the known backend kinds, from the entry points of the group `aegisrt.backends`.

One broken package must not stop manifests that do not use it: its kind is refused, and all others work.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from pydantic import ConfigDict, create_model

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.options import NAME_PATTERN, BackendOptions
from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result
from aegisrt.core.suggest import quoted, suggest
from aegisrt.core.system_error import is_exhausted, system_error

GROUP = "aegisrt.backends"


@dataclass(frozen=True, slots=True)
class BackendEntry:
    """One known backend kind; its module is imported on use."""

    kind: str
    target: str
    """`module:Class`."""
    distribution: str
    """The installed distribution that declares it."""
    problem: Error | None = None
    """Why the kind is refused before its module is imported."""

    @property
    def label(self) -> str:
        """Return the kind and its distribution, as messages show them."""
        return f"backend {quoted(self.kind)} of {quoted(self.distribution)}"

    @property
    def is_name(self) -> bool:
        """Return whether a manifest can name the kind."""
        return re.fullmatch(NAME_PATTERN, self.kind) is not None


def entries() -> Result[dict[str, BackendEntry]]:
    """Return the known kinds, sorted, with those that are refused.

    RESOURCE_EXHAUSTED: if the installed packages cannot be read.
    """
    try:
        return Ok(collect(_declared()))
    except OSError as error:
        return Err(system_error(error, "the installed packages cannot be read", otherwise=ErrorCode.UNAVAILABLE).error)


def collect(declared: Iterable[BackendEntry]) -> dict[str, BackendEntry]:
    """Return entries by kind, each with its problem; one distribution found twice (checkout and install) is one."""
    known: dict[str, BackendEntry] = {}
    for entry in declared:
        other = known.setdefault(entry.kind, entry if entry.is_name else replace(entry, problem=_bad_name(entry)))
        if other.distribution != entry.distribution:
            known[entry.kind] = replace(other, problem=_claimed_twice(other, entry))
    return dict(sorted(known.items()))


def backend_class(kind: str) -> Result[type[RuntimeBackend[Any]]]:
    """Return the class of a backend kind.

    NOT_FOUND: if the kind is unknown.
    ALREADY_EXISTS: if two distributions claim it.
    UNAVAILABLE: if its module does not import.
    INVALID_ARGUMENT: if its name cannot be a kind, or its entry point is not a backend.
    """
    known = entries()
    if isinstance(known, Err):
        return known
    entry = known.value.get(kind)
    if entry is None:
        hint = suggest(kind, list(known.value), "backend kinds")
        return Err(Error(ErrorCode.NOT_FOUND, f"`{kind}` is not a backend kind", hint))
    return _imported(entry)


def options_by_kind() -> Result[dict[str, type[BackendOptions]]]:
    """Return the options class of each kind that a manifest can name.

    A kind that is refused, or does not import, has options that take any field: its error is reported when it is used.
    """
    known = entries()
    if isinstance(known, Err):
        return known
    options: dict[str, type[BackendOptions]] = {}
    for kind, entry in known.value.items():
        if entry.is_name:
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
        BackendEntry(point.name, point.value, (point.dist and point.dist.name) or "?")
        for point in importlib.metadata.entry_points(group=GROUP)
    )


def _imported(entry: BackendEntry) -> Result[type[RuntimeBackend[Any]]]:
    if entry.problem is not None:
        return Err(entry.problem)
    point = importlib.metadata.EntryPoint(entry.kind, entry.target, GROUP)
    try:
        loaded = point.load()
        fault = _fault(loaded, entry)
    except (Exception, SystemExit) as error:  # noqa: BLE001  (a third party's module may raise anything, or exit)
        if is_exhausted(error):
            return Err(system_error(error, f"{entry.label} cannot be imported").error)
        message = f"{entry.label} does not import: {entry.target}"
        return Err(Error(ErrorCode.UNAVAILABLE, message, f"reinstall `{entry.distribution}`", cause=repr(error)))
    if fault is not None:
        hint = f"fix it in `{entry.distribution}`, or uninstall that package"
        return Err(Error(ErrorCode.INVALID_ARGUMENT, f"{entry.label}{fault}", hint))
    return Ok(loaded)


def _fault(loaded: object, entry: BackendEntry) -> str | None:
    """Return what an entry point lacks to be a backend, to follow its label in a message; None if nothing."""
    if not (isinstance(loaded, type) and issubclass(loaded, RuntimeBackend)):
        return f" is not a RuntimeBackend: {entry.target}"
    kind, options, capabilities = (getattr(loaded, name, None) for name in ("kind", "Options", "capabilities"))
    if kind != entry.kind:
        return f": the class has the kind `{kind}`; the entry point's name and `kind` must agree"
    if not (isinstance(options, type) and issubclass(options, BackendOptions)):
        return f": `Options` is {options!r}, not a subclass of BackendOptions"
    if not isinstance(capabilities, Capabilities):
        return f": `capabilities` is {capabilities!r}, not a Capabilities"
    try:
        default = options.parse()  # every manifest has an option set of each kind, with the defaults
    except Exception as error:  # noqa: BLE001  (a third party's validator may raise anything)
        return f": its options have no valid defaults: {str(error).strip() or type(error).__name__}"
    return None if default.kind == kind else f": its options have the kind `{default.kind}`"


def _bad_name(entry: BackendEntry) -> Error:
    message = f"{entry.label} is refused: a kind consists of lower-case letters, digits, `_` and `-`"
    hint = f"rename its entry point in `{entry.distribution}`, or uninstall that package"
    return Error(ErrorCode.INVALID_ARGUMENT, message, hint)


def _claimed_twice(first: BackendEntry, second: BackendEntry) -> Error:
    message = (
        f"backend kind `{first.kind}` is claimed by two distributions: "
        f"`{first.distribution}` ({first.target}) and `{second.distribution}` ({second.target})"
    )
    return Error(ErrorCode.ALREADY_EXISTS, message, f"uninstall one: pip uninstall {second.distribution}")
