"""`Defect`, and the decorator that declares one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aegisrt.backends.base.backend import RuntimeBackend

declared: list[Defect] = []


@dataclass(frozen=True)
class Defect:
    """A backend that breaks one rule, and the check that must detect it."""

    check: str
    """The id of the check that is meant for it."""
    says: str
    """A part of the reason that the check must give: it fails for this defect, not for another."""
    backend: type[RuntimeBackend[Any]]
    device: str = "cpu"
    module: str | None = None
    """A Python module that it needs."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the run, beside the fast ones of test_defects.py."""

    def __str__(self) -> str:
        return f"{self.check}: {self.backend.__name__}"


def defect(
    check: str, says: str, *, device: str = "cpu", module: str | None = None, **settings: Any
) -> Callable[[type[Any]], type[Any]]:
    """Return a decorator that declares a class as a defect; `check` must detect it, with `says` in its reason."""

    def declare(backend: type[Any]) -> type[Any]:
        declared.append(Defect(check, says, backend, device, module, settings))
        return backend

    return declare
