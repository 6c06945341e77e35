"""`Fields`: the type that the schema expects at a path of a composed manifest, given the values there (`kind`)."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from aegisrt.core.options import BackendOptions
from aegisrt.manifest.read.tree import Tree
from aegisrt.manifest.schema import Manifest


@dataclass(frozen=True, slots=True)
class Fields:
    """The schema of a manifest whose backends are of the given kinds."""

    kinds: Mapping[str, type[BackendOptions]]

    def is_path(self, expected: Any) -> bool:
        """Return True if a type is a file's path, or allows one."""
        return any(arm is Path for arm in self._arms(expected))

    def inside(self, expected: Any, key: str | int, around: Tree) -> Any:
        """Return the type under `key` of a value of type `expected`, or None if the schema has none."""
        for arm in self._arms(expected):
            if isinstance(arm, type) and issubclass(arm, BaseModel):
                info = arm.model_fields.get(str(key))
                if info is not None and _fits(arm, around):
                    return info.annotation
            arguments = get_args(arm)
            if get_origin(arm) is dict and isinstance(around.value, dict):
                return arguments[1]
            if get_origin(arm) in (list, tuple, set, frozenset) and isinstance(around.value, list):
                return arguments[0]
        return None

    def _arms(self, expected: Any) -> list[Any]:
        """Return the members of a union, without aliases and annotations."""
        if isinstance(expected, TypeVar):
            return list(self.kinds.values())
        if hasattr(expected, "__value__"):  # a `type X = ...` statement
            return self._arms(expected.__value__)
        if get_origin(expected) is Annotated:
            return self._arms(get_args(expected)[0])
        if get_origin(expected) in (Union, types.UnionType):
            return [arm for part in get_args(expected) for arm in self._arms(part)]
        return [expected]


MANIFEST = Manifest
TOP = tuple(Manifest.model_fields)


def _fits(model: type[BaseModel], around: Tree) -> bool:
    """Return True unless the value's `kind` selects another model of a union."""
    info = model.model_fields.get("kind")
    kind = around.child("kind")
    return info is None or kind is None or kind.value in _literals(info)


def _literals(info: FieldInfo) -> tuple[Any, ...]:
    if get_origin(info.annotation) is Literal:
        return get_args(info.annotation)
    return (info.default,)
