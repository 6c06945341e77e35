"""`Fields`: the type that the schema expects at a path of a composed manifest, given the values there (`kind`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from aegisrt.core.options import BackendOptions
from aegisrt.manifest.annotations import as_model, choices, inside, members
from aegisrt.manifest.read.tree import Tree
from aegisrt.manifest.schema import Manifest

MANIFEST = Manifest
TOP = tuple(Manifest.model_fields)


@dataclass(frozen=True, slots=True)
class Fields:
    """The schema of a manifest whose backends are of the given kinds."""

    kinds: Mapping[str, type[BackendOptions]]

    def is_path(self, expected: Any) -> bool:
        """Return True if a type is a file's path, or allows one."""
        return Path in members(expected)

    def inside(self, expected: Any, key: str | int, around: Tree) -> Any:
        """Return the type under `key` of a value of type `expected`, or None if the schema has none."""
        arms = self.kinds.values() if isinstance(expected, TypeVar) else members(expected)
        found = (inside(arm, key) for arm in arms if _fits(arm, around))
        return next((inner for inner in found if inner is not None), None)


def _fits(arm: Any, around: Tree) -> bool:
    """Return True unless the value's `kind` selects another model of a union."""
    model, kind = as_model(arm), around.child("kind")
    return (
        model is None
        or kind is None
        or "kind" not in model.model_fields
        or kind.value in choices(model.model_fields["kind"].annotation)
    )
