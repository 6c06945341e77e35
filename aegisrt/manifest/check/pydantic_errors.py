"""`explain_errors`: turns pydantic's errors into diagnostics that the user can act on."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeAlias

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from aegisrt.core.options import NAME_PATTERN, BackendOptions
from aegisrt.core.suggest import did_you_mean, listed, meant, nearest, quoted
from aegisrt.manifest.annotations import Model, as_model, fields, members, tagged
from aegisrt.manifest.check.bad_value import explain_bad_value
from aegisrt.manifest.check.expected import (
    expected_range,
    expected_types,
    is_range_error,
    near_miss,
    pair_hint,
    variable_hint,
)
from aegisrt.manifest.check.kinds import explain_missing_kind, explain_unknown_kind
from aegisrt.manifest.check.links import is_reference
from aegisrt.manifest.check.locate import Locator, dotted, title
from aegisrt.manifest.check.schema_walk import SchemaPlace, follow
from aegisrt.manifest.diagnostics.wording import described, shown
from aegisrt.manifest.errors import MOST_DIAGNOSTICS
from aegisrt.manifest.hidden import HIDDEN
from aegisrt.manifest.origin import KeyPath
from aegisrt.manifest.read.lookalikes import lookalike

_NOUNS = {
    "ModelOptions": "a model",
    "StreamOptions": "a stream",
    "LimitOptions": "the limits of a manifest",
    "SampleOptions": "a model's sample",
    "SignatureOptions": "a model's signature",
    "TensorOptions": "a tensor of a signature",
    "CellOptions": "a cell of the CI matrix",
}

_Located: TypeAlias = tuple[SchemaPlace, list[ErrorDetails]]
"""Errors at one place: an untagged union has one for each member."""


def explain_errors(
    error: ValidationError,
    root: Model,
    kinds: Mapping[str, type[BackendOptions]],
    emptied: Collection[KeyPath],
    locator: Locator,
) -> None:
    """Report each error once; skip those at or under `emptied` paths, which are reported already."""
    located: dict[tuple[KeyPath, bool], _Located] = {}
    for details in error.errors(include_url=False):
        place = follow(root, details["loc"])
        if locator.origins.of(place.path).from_env:
            details = {**details, "input": HIDDEN}
        if not any(place.path[:length] in emptied for length in range(len(place.path) + 1)):
            located.setdefault((place.path, place.on_key), (place, []))[1].append(details)
    explainer = _Explainer(kinds, locator, list(located.values()))
    for place, errors in located.values():
        if locator.is_full:
            break
        explainer.explain(place, errors)


class _Explainer:
    def __init__(
        self, kinds: Mapping[str, type[BackendOptions]], locator: Locator, located: Iterable[_Located]
    ) -> None:
        self.kinds = kinds
        self.locator = locator
        self.unknown: dict[KeyPath, list[str]] = {}
        """The keys that are no fields, by the path around them."""
        for place, errors in located:
            if errors[0]["type"] == "extra_forbidden":
                self.unknown.setdefault(place.path[:-1], []).append(str(place.path[-1]))

    def explain(self, place: SchemaPlace, errors: list[ErrorDetails]) -> None:
        error = next(filter(is_range_error, errors), errors[0])
        match error["type"]:
            case "extra_forbidden":
                self.unknown_field(place)
            case "missing":
                self.missing_key(place)
            case "union_tag_invalid":
                key = _discriminator(error)
                explain_unknown_kind(
                    place.path, key, self.tag(place.path, key, error["input"]), tagged(place.expected), self.locator
                )
            case "union_tag_not_found":
                explain_missing_kind(place.path, _discriminator(error), tagged(place.expected), self.locator)
            case "string_pattern_mismatch":
                self.bad_name(place, error)
            case _ if is_range_error(error):
                self.out_of_range(place, error)
            case _:
                self.wrong_type(place, errors)

    def tag(self, path: KeyPath, key: str, found: Any) -> Any:
        """Return the value under the key `kind`, or HIDDEN."""
        return HIDDEN if self.locator.origins.of((*path, key)).from_env else found.get(key)

    def unknown_field(self, place: SchemaPlace) -> None:
        known = fields(place.model) if place.model else {}
        name, named = place.path[-1], _name_hint(place)
        self.locator.at_key(
            place.path,
            "unknown-field",
            f"{quoted(name)} is not a field of {_owner(place)}",
            label=(not named and _meant(str(name), known)) or self.elsewhere(place) or "unknown field",
            hint=named or self.package_hint(place.path) or f"fields are {listed(known)}",
        )

    def package_hint(self, path: KeyPath) -> str | None:
        """Return how to place a group's file elsewhere; None if the file itself, or an override, has the key."""
        origin = self.locator.origins.of(path)
        if len(path) > 1 or origin.source != "file" or origin.key is not None:
            return None
        return (
            f"its package places this file under {quoted(path[0])}; begin it with `# @package models.NAME`, or the like"
        )

    def elsewhere(self, place: SchemaPlace) -> str | None:
        """Return which other kinds of backend have the field: users change a kind and forget its options."""
        if not (place.model and issubclass(place.model, BackendOptions)):
            return None
        having = [kind for kind, options in self.kinds.items() if place.path[-1] in fields(options)]
        return f"a field of backend kind {listed(having)}" if having else None

    def missing_key(self, place: SchemaPlace) -> None:
        around, name = place.path[:-1], str(place.path[-1])
        if place.model and self.is_misspelt(around, name, place.model):
            return
        message = f"{_owner(place)} needs {quoted(name)}, and {quoted(dotted(around))} has none"
        hint = f"add `{name}: ...` under {quoted(dotted(around))}"
        self.locator.at_key(around, "missing-key", message, label=f"{quoted(name)} is missing", hint=hint)

    def is_misspelt(self, around: KeyPath, name: str, model: Model) -> bool:
        """Return True if an unknown field is reported that resembles the missing one."""
        return any(nearest(key, fields(model)) == name for key in self.unknown.get(around, ())[:MOST_DIAGNOSTICS])

    def bad_name(self, place: SchemaPlace, error: ErrorDetails) -> None:
        if is_reference(place.path) and not place.on_key:
            return  # links.py reports that this name is not declared
        found = str(error["input"])
        if error.get("ctx", {}).get("pattern") != NAME_PATTERN:
            self.bad_form(place, found, error)
            return
        legal = "" if "${" in found else re.sub(r"[^a-z0-9_-]+", "-", found.lower()).strip("-_")
        self.at(place)(
            place.path,
            "bad-name",
            f"{quoted(found)} is not a name",
            label=(meant(legal) if legal else None) or "not a name",
            hint="write the name itself: an interpolation can be a value only"
            if "${" in found
            else "a name has lower-case letters, digits, `_` and `-`, and starts with a letter or a digit",
        )

    def bad_form(self, place: SchemaPlace, found: str, error: ErrorDetails) -> None:
        what = "key" if place.on_key else "value"
        message = f"{shown(found)} does not have the form of a {what} here"
        hint = f"it must match the regular expression {quoted(error.get('ctx', {}).get('pattern', ''))}"
        self.at(place)(place.path, "bad-value", message, label=f"not a {what}", hint=hint)

    def at(self, place: SchemaPlace) -> Callable[..., None]:
        """Return the method that adds a diagnostic at the key, or at the value, whichever is wrong."""
        return self.locator.at_key if place.on_key else self.locator.at_value

    def out_of_range(self, place: SchemaPlace, error: ErrorDetails) -> None:
        expected = expected_range(error)
        found = error["input"]
        value = shown(found) if isinstance(found, int | float) else described(found)
        message = f"{quoted(title(place.path))} is {value}, and must be {expected}"
        self.at(place)(place.path, "out-of-range", message, label=f"expected {expected}")

    def wrong_type(self, place: SchemaPlace, errors: list[ErrorDetails]) -> None:
        expected = expected_types(errors)
        if expected is None:
            explain_bad_value(place, errors, self.locator)
            return
        found = errors[0]["input"]
        where = self.locator.value(place.path)
        is_quoted = isinstance(found, str) and where.end_column - where.column == len(found) + 2
        message = f"{quoted(title(place.path))} must be {expected}, got {described(found)}"
        written = self.locator.origins.of(place.path).written
        hint = (
            variable_hint(expected, found, written)
            or pair_hint(expected, found)
            or (found is not None and _fields_hint(place))
        )
        hint = hint or near_miss(expected, found, is_quoted)
        self.locator.at_value(place.path, "wrong-type", message, label=f"expected {expected}", hint=hint)


def _meant(name: str, known: Collection[str]) -> str | None:
    """Return a label with the field that was meant, also in `path = x` and `path x`, which lack the `:`."""
    if odd := lookalike(name):
        return odd.message
    word = re.match(r"[\w-]+", name)
    if word and word[0] != name and word[0] in known:
        rest = name[word.end() :].lstrip(" =").strip()
        return f"write {quoted(f'{word[0]}: {rest}')}"
    return did_you_mean(name, known)


def _name_hint(place: SchemaPlace) -> str | None:
    """Return a hint for `name: x` in a model, a backend, a device or a stream: the key above is the name."""
    around = place.path[:-1]
    if place.path[-1] != "name" or len(around) != 2:
        return None
    return f"remove it: the name is the key above, {quoted(around[1])}"


def _discriminator(error: ErrorDetails) -> str:
    return str(error.get("ctx", {}).get("discriminator", "kind")).strip("'")


def _fields_hint(place: SchemaPlace) -> str | None:
    """Return the fields of the expected model; None if not exactly one model is expected."""
    models = list(filter(None, map(as_model, members(place.expected))))
    return f"fields are {listed(fields(models[0]))}" if len(models) == 1 else None


def _owner(place: SchemaPlace) -> str:
    """Return the owner of a field: `backend kind `onnx``, `a model`, `the manifest`."""
    around = place.path[:-1]
    if place.model is None or not around:
        return "the manifest"
    kind: Any = place.model.model_fields.get("kind")
    if kind is not None and len(around) == 2:
        return f"{str(around[0]).removesuffix('s')} kind {listed(kind.annotation.__args__)}"
    return _NOUNS.get(place.model.__name__) or quoted(dotted(around))
