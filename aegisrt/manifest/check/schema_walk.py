"""`follow`: turns the location of a pydantic error into the key path in the manifest, and the type expected there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from aegisrt.manifest.annotations import Model, as_model, inside, members, tagged
from aegisrt.manifest.origin import KeyPath

Segments: TypeAlias = tuple[int | str, ...]


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
        segment = rest.pop(0)
        by_tag, arms = tagged(expected), members(expected)
        if by_tag:
            expected = by_tag.get(str(segment))
        elif len(arms) > 1:  # pydantic's label for the member does not help
            expected = _member(arms, rest[0]) if rest else expected
        else:
            path.append(segment)
            model, expected = as_model(arms[0]), inside(arms[0], segment)
            if rest[:1] == ["[key]"]:
                return SchemaPlace(tuple(path), model, _known(expected), on_key=True)
    return SchemaPlace(tuple(path), model, _known(expected))


def _member(arms: list[Any], key: int | str) -> Any:
    """Return the member of an untagged union that has a key."""
    return next((arm for arm in arms if inside(arm, key) is not None), None)


def _known(expected: Any) -> Any:
    return Any if expected is None else expected
