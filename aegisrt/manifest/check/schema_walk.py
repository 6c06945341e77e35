"""`follow`: turns the location of a pydantic error into the key path in the manifest, and the type expected there."""

from __future__ import annotations

import enum
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import core_schema

from aegisrt.core.options import BackendOptions
from aegisrt.manifest.origin import KeyPath

Model: TypeAlias = type[BaseModel]
Segments: TypeAlias = tuple[int | str, ...]


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


@dataclass(frozen=True, slots=True)
class SchemaPlace:
    """The place of an error: in the manifest, and in its schema."""

    path: KeyPath
    """Keys and indices of the manifest, without pydantic's union tags."""
    model: Model | None
    """The model that has the last key of `path` as a field."""
    expected: Any
    """The type of the value at `path`, or Any if the schema has none."""
    on_key: bool = False
    """True if the key itself is wrong, not its value."""


def follow(root: Model, segments: Segments) -> SchemaPlace:
    """Return the place that a pydantic error's `loc` names; guided by types, since a tag may equal a key."""
    path: list[str | int] = []
    model: Model | None = None
    expected: Any = root
    rest = list(segments)
    while rest:
        expected, by_tag = _bare(expected)
        segment = rest.pop(0)
        if by_tag is not None:
            expected = by_tag.get(segment, Any)
        elif len(members(expected)) > 1:
            expected = _labelled(expected, rest)
        else:
            path.append(segment)
            model, expected = _step(expected, segment)
            if rest[:1] == ["[key]"]:
                return SchemaPlace(tuple(path), model, expected, on_key=True)
    return SchemaPlace(tuple(path), model, expected)


def members(expected: Any) -> list[Any]:
    """Return the members of a union, without None."""
    expected = _bare(expected)[0]
    if get_origin(expected) in (Union, types.UnionType):
        return [arm for arm in get_args(expected) if arm is not type(None)]
    return [expected]


def choices(expected: Any) -> list[str]:
    """Return the values that a Literal or an Enum allows, as text; empty for other types."""
    found: list[str] = []
    for arm in members(expected):
        bare = _bare(arm)[0]
        if get_origin(bare) is Literal:
            found += [str(value) for value in get_args(bare)]
        elif isinstance(bare, type) and issubclass(bare, enum.Enum):
            found += [str(member.value) for member in bare]
    return found


def tags(expected: Any) -> list[str]:
    """Return the tags of a tagged union; empty for other types."""
    return [str(tag) for tag in _bare(expected)[1] or ()]


def fields(model: Model) -> dict[str, FieldInfo]:
    """Return the fields of a model by the names that a manifest uses."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def _bare(expected: Any) -> tuple[Any, Mapping[Any, Any] | None]:
    """Return a type without Annotated and Optional, and of a tagged union its members by tag."""
    by_tag = None
    while True:
        if hasattr(expected, "__value__"):  # a `type X = ...` statement
            expected = expected.__value__
        elif get_origin(expected) is Annotated:
            inner, *notes = get_args(expected)
            by_tag = by_tag or _by_tag(inner, notes)
            expected = inner
        else:
            arms = [arm for arm in get_args(expected) if arm is not type(None)]
            if get_origin(expected) not in (Union, types.UnionType) or len(arms) > 1:
                return expected, by_tag
            expected = arms[0]


def _by_tag(union: Any, notes: list[Any]) -> Mapping[Any, Any] | None:
    for note in notes:
        if isinstance(note, ByKind):
            return dict(note.kinds)
        if isinstance(note, FieldInfo) and isinstance(note.discriminator, str):
            return {tag: arm for arm in members(union) for tag in choices(fields(arm)[note.discriminator].annotation)}
    return None


def _step(expected: Any, segment: int | str) -> tuple[Model | None, Any]:
    """Return the model that has `segment` as a field, if it is a model, and the type of the value under `segment`."""
    if isinstance(expected, type) and issubclass(expected, BaseModel):
        info = fields(expected).get(str(segment))
        return expected, _annotated(info) if info else Any
    arguments = get_args(expected)
    if not arguments:
        return None, Any
    if isinstance(segment, int) and get_origin(expected) is tuple and arguments[-1] is not Ellipsis:
        return None, arguments[min(segment, len(arguments) - 1)]
    return None, arguments[0] if isinstance(segment, int) else arguments[-1]


def _annotated(info: FieldInfo) -> Any:
    """Return a field's type with its discriminator, which pydantic keeps beside the type."""
    return Annotated[info.annotation, info] if info.discriminator else info.annotation


def _labelled(union: Any, rest: list[int | str]) -> Any:
    """Return the member of an untagged union that an error is inside of; pydantic's label for it does not help."""
    for arm in members(union):
        if rest and _step(_bare(arm)[0], rest[0])[1] is not Any:
            return arm
    return Any if rest else union
