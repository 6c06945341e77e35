"""Walks the types of a manifest's fields: unions, aliases, `Annotated`, and what is under a key of a model."""

from __future__ import annotations

import enum
import types
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import core_schema

from aegisrt.core.options import BackendOptions

Model: TypeAlias = type[BaseModel]


@dataclass(frozen=True)
class ByKind:
    """Annotates the union of all backends' options: `kind` chooses among them, also if there is one or none.

    Pydantic's own `Field(discriminator="kind")` refuses a union of fewer than two.
    """

    kinds: tuple[tuple[str, type[BackendOptions]], ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Return a union tagged by `kind`; of no kinds, one that no value satisfies."""
        arms: dict[Any, core_schema.CoreSchema] = {kind: handler(options) for kind, options in self.kinds}
        return core_schema.tagged_union_schema(arms or {"": core_schema.none_schema()}, discriminator="kind")


def members(expected: Any) -> list[Any]:
    """Return the members of a union, without aliases, annotations and None; of another type, that type."""
    return list(_members(expected))


def choices(expected: Any) -> list[str]:
    """Return the values that a Literal or an Enum allows, as text; empty for other types."""
    found: list[str] = []
    for arm in members(expected):
        if get_origin(arm) is Literal:
            found += [str(value) for value in get_args(arm)]
        elif isinstance(arm, type) and issubclass(arm, enum.Enum):
            found += [str(member.value) for member in arm]
    return found


def tagged(expected: Any) -> dict[str, Any]:
    """Return the members of a tagged union by tag; empty for other types."""
    while True:
        if hasattr(expected, "__value__"):  # a `type X = ...` statement
            expected = expected.__value__
        elif get_origin(expected) is Annotated:
            expected, *notes = get_args(expected)
            for note in notes:
                if isinstance(note, ByKind):
                    return dict(note.kinds)
                if isinstance(note, FieldInfo) and isinstance(note.discriminator, str):
                    return _by_tag(members(expected), note.discriminator)
        else:
            arms = [arm for arm in get_args(expected) if arm is not types.NoneType]
            if not _is_union(expected) or len(arms) > 1:
                return {}
            expected = arms[0]


def fields(model: Model) -> dict[str, FieldInfo]:
    """Return the fields of a model by the names that a manifest uses."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def as_model(expected: Any) -> Model | None:
    """Return a type if it is a pydantic model."""
    return expected if isinstance(expected, type) and issubclass(expected, BaseModel) else None


def inside(expected: Any, key: str | int) -> Any:
    """Return the type under a key, or an index, of one member of a union; None if it has none."""
    model = as_model(expected)
    if model is not None:
        info = fields(model).get(str(key))
        if info is None:
            return None
        # pydantic keeps the discriminator beside the type
        return Annotated[info.annotation, info] if info.discriminator else info.annotation
    arguments = get_args(expected)
    if get_origin(expected) is dict:
        return arguments[1]
    if get_origin(expected) not in (list, tuple, set, frozenset) or not isinstance(key, int):
        return None
    return arguments[0] if arguments[-1] is Ellipsis else arguments[min(key, len(arguments) - 1)]


def _members(expected: Any) -> Iterator[Any]:
    if hasattr(expected, "__value__"):
        yield from _members(expected.__value__)
    elif get_origin(expected) is Annotated:
        yield from _members(get_args(expected)[0])
    elif _is_union(expected):
        for arm in get_args(expected):
            if arm is not types.NoneType:
                yield from _members(arm)
    else:
        yield expected


def _is_union(expected: Any) -> bool:
    return get_origin(expected) in (Union, types.UnionType)


def _by_tag(arms: list[Any], name: str) -> dict[str, Any]:
    return {tag: arm for arm in arms for tag in choices(fields(arm)[name].annotation)}
