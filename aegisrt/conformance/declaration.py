"""`fault`: what in the declaration of a backend class keeps every check from running."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from aegisrt.core.capabilities import Capabilities
from aegisrt.core.options import BackendOptions

_COLLECTIONS = ("devices", "formats", "builds_from", "dtypes", "narrowed")


def fault(backend: type[Any]) -> str | None:
    """Return what in a backend class is not of its type, so that no check can run; None if a check can."""
    kind, can, options = (getattr(backend, name, None) for name in ("kind", "capabilities", "Options"))
    if not isinstance(kind, str):
        return f"`kind` is {kind!r}, not a string"
    if not isinstance(can, Capabilities):
        return f"`capabilities` is {can!r}, not a Capabilities"
    for name in _COLLECTIONS:
        if not isinstance(value := getattr(can, name), Collection):
            return f"`capabilities.{name}` is {value!r}, not a collection"
    if not (isinstance(options, type) and issubclass(options, BackendOptions)):
        return f"`Options` is {options!r}, not a subclass of BackendOptions"
    if not isinstance(backend.conformance_options, Mapping):
        return f"`conformance_options` is {backend.conformance_options!r}, not a mapping"
    return None
