"""`Override`: one override with the places of its parts; `apply_all` checks and applies overrides to a tree."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from aegisrt.core.diagnostic import Diagnostic, Location
from aegisrt.core.suggest import did_you_mean, listed, nearest
from aegisrt.manifest.read.forbidden import INSTANTIATE_KEYS, hydra_refused, refuse_targets, target_refused
from aegisrt.manifest.read.tree import MISSING, Layer, Tree, merge
from aegisrt.manifest.schema import TensorOptions

Action: TypeAlias = Literal["set", "add", "force", "delete"]
NAMED = ("devices", "streams", "backends", "models")
"""The keys of a manifest whose values are mappings by name; a name is added with `+`, so that a typo never adds one."""


@dataclass(frozen=True, slots=True)
class Override:
    """One override, parsed by Hydra's grammar."""

    text: str
    action: Action
    key: str
    """A dotted path, or a group: `models.digits.backend`, `backend`."""
    package: str | None
    """The text after `@` in a group's key."""
    value: Tree | None
    """None for a deletion without a value."""
    layer: Layer
    parsed: Any
    """Hydra's own object."""
    segments: tuple[str, ...] | None = None
    """The key's segments, if some of them have dots: `input.1`."""

    @property
    def group(self) -> str:
        """Return the key with its package, as Hydra names a choice: `backend@backends.fast`."""
        return f"{self.key}@{self.package}" if self.package is not None else self.key

    @property
    def path(self) -> tuple[str, ...]:
        """Return the key's segments."""
        return self.segments or tuple(self.key.split("."))

    def key_place(self, index: int | None = None) -> Location:
        """Return the place of the whole key, or of one of its segments, in the override's text."""
        start = len(self.text) - len(self.text.lstrip("~+"))
        if index is None:
            return place_in(self.text, start, start + len(self.key))
        before = sum(len(segment) + 1 for segment in self.path[:index])
        return place_in(self.text, start + before, start + before + len(self.path[index]))

    def value_place(self) -> Location:
        """Return the place of the value, or of the key if the value is missing."""
        return self.value.at if self.value is not None and self.value.at is not None else self.key_place()

    def is_choice(self, is_group: Callable[[str], bool]) -> bool:
        """Return True for the choice of a group's file: for `backend=onnx`, and not for `backend={a: 1}`."""
        if self.value is not None and isinstance(self.value.value, dict):
            return False
        return "/" in self.key or self.package is not None or is_group(self.key)

    def names(self) -> list[tuple[str, Location]]:
        """Return the chosen names with their places; empty if the value is neither text nor a list of texts."""
        items = [] if self.value is None else self.value.value if isinstance(self.value.value, list) else [self.value]
        return [(item.value, item.at or self.key_place()) for item in items if isinstance(item.value, str)]


def place_in(text: str, start: int, stop: int) -> Location:
    """Return the place of `text[start:stop]` of an override."""
    return Location(f"override {text}", 1, start + 1, max(stop, start + 1) + 1)


def apply_all(
    overrides: Iterable[Override],
    tree: Tree,
    fields: Iterable[str],
    groups: Iterable[str],
    *,
    names: bool,
) -> tuple[Tree, list[Diagnostic]]:
    """Return `tree` with the correct overrides applied, one after the other, and the errors of the others.

    `fields` are the keys that a manifest has at its top. Without `names` nothing is applied.
    """
    diagnostics: list[Diagnostic] = []
    for each in overrides:
        override = replace(each, segments=tree.joined(each.path))
        wrong = check(override, tree, fields, groups, names=names)
        diagnostics += wrong
        if names and not wrong:
            tree = apply(override, tree)
    return tree, diagnostics


def check(
    override: Override, tree: Tree, fields: Iterable[str], groups: Iterable[str], *, names: bool
) -> list[Diagnostic]:
    """Return the errors of the override of a value.

    Keys inside a known top-level key are left to validation, which reports them at the same place. Names are checked
    only with `names`: a broken file might have declared them.
    """
    diagnostics = _refused(override)
    path = override.path
    if diagnostics:
        return diagnostics
    if path[0] not in fields and tree.child(path[0]) is None:
        return [_unknown_key(override, fields, groups)]
    if not names:
        return []
    if override.action == "delete":
        return _check_deletion(override, tree)
    if override.action == "set" and path[0] in NAMED and len(path) > 1 and tree.get(path[:2]) is None:
        return [_unknown_name(override, tree, 1)]
    if wrong := _unknown_tensor(override):
        return [wrong]
    known = tree.get(path)
    scalar = override.value is not None and not isinstance(override.value.value, dict | list)
    if override.action == "add" and known is not None and known.value != MISSING and scalar:
        hint = f"drop the `+`: `{override.text[1:]}`"
        return [
            _diagnostic("already-set", f"`{override.key}` is set already", override, override.key_place(), hint=hint)
        ]
    return _check_indices(override, tree)


def apply(override: Override, tree: Tree) -> Tree:
    """Return `tree` with an override that `check` accepted; a mapping is merged, anything else replaces."""
    if override.action == "delete":
        return _without(tree, override.path)
    assert override.value is not None
    return _with(tree, override, 0)


def _with(tree: Tree | None, override: Override, depth: int) -> Tree:
    assert override.value is not None
    path = override.path
    key = override.key_place(depth - 1) if depth else None
    if depth == len(path):
        value = replace(override.value, key=key)
        return merge(tree, value) if isinstance(value.value, dict) else value
    if tree is not None and isinstance(tree.value, list):
        index = int(path[depth])
        items = [_with(item, override, depth + 1) if at == index else item for at, item in enumerate(tree.value)]
        return replace(tree, value=items)
    inner = _with(tree.child(path[depth]) if tree else None, override, depth + 1)
    return merge(tree, Tree({path[depth]: inner}, key, override.value_place(), override.layer))


def _without(tree: Tree, path: tuple[str, ...]) -> Tree:
    assert isinstance(tree.value, dict)
    if len(path) == 1:
        return replace(tree, value={key: child for key, child in tree.value.items() if key != path[0]})
    return replace(tree, value={**tree.value, path[0]: _without(tree.value[path[0]], path[1:])})


def _refused(override: Override) -> list[Diagnostic]:
    path = override.path
    if path[0] == "hydra":
        return [hydra_refused(override.key_place(), override.key)]
    diagnostics = [
        target_refused(segment, override.key_place(index), override.key)
        for index, segment in enumerate(path)
        if segment in INSTANTIATE_KEYS
    ]
    return diagnostics + (refuse_targets(override.value, path) if override.value is not None else [])


def _unknown_key(override: Override, fields: Iterable[str], groups: Iterable[str]) -> Diagnostic:
    head, groups = override.path[0], sorted(groups)
    place = override.key_place(0)
    if not head:
        return _diagnostic(
            "bad-override", "the key before the `=` is missing", override, place, hint="write `KEY=VALUE`"
        )
    if head in groups:
        hint = f"choose one of the group with `{head}=NAME`"
        return _diagnostic(
            "unknown-field", f"`{head}` is a group, not a key of the manifest", override, place, hint=hint
        )
    choices = [*fields, *(groups if len(override.path) == 1 else [])]
    hint = f"keys are {listed(fields)}; groups are {listed(groups)}"
    label = did_you_mean(head, choices)
    message = f"`{head}` is neither a key of the manifest nor a group"
    return _diagnostic("unknown-field", message, override, place, label=label, hint=hint)


def _unknown_name(override: Override, tree: Tree, index: int) -> Diagnostic:
    path = override.path
    section, name = ".".join(path[:index]), path[index]
    parent = tree.get(path[:index])
    known = list(parent.value) if parent is not None and isinstance(parent.value, dict) else []
    hint = f"`{section}` contains {listed(known)}" if known else f"`{section}` is empty"
    if override.action == "set" and nearest(name, known) is None:
        hint += f"; add it with `+{override.text}`"
    message = f"there is no `{name}` under `{section}`"
    place = override.key_place(index)
    return _diagnostic("unknown-name", message, override, place, label=did_you_mean(name, known), hint=hint)


def _unknown_tensor(override: Override) -> Diagnostic | None:
    """Return the diagnostic of a tensor's name with dots that is not declared; its dots would be read as levels."""
    path = override.path
    is_tensor = path[0] == "models" and path[2:3] == ("signature",) and path[3:4] in (("inputs",), ("outputs",))
    if not is_tensor or len(path) < 7 or path[-1] not in TensorOptions.model_fields:
        return None
    section, name = ".".join(path[:4]), ".".join(path[4:-1])
    value = override.text.partition("=")[2]
    hint = f"a name with dots is added with the mapping around it: `++{section}={{{name}: {{{path[-1]}: {value}}}}}`"
    return _diagnostic(
        "unknown-name", f"there is no `{name}` under `{section}`", override, override.key_place(4), hint=hint
    )


def _check_deletion(override: Override, tree: Tree) -> list[Diagnostic]:
    path = override.path
    for index in range(1, len(path)):
        parent = tree.get(path[:index])
        if parent is None or not isinstance(parent.value, dict):
            message = f"`{'.'.join(path[:index])}` is not a mapping and has no keys"
            hint = "a key of a mapping can be removed; a list is replaced whole"
            return [_diagnostic("unknown-name", message, override, override.key_place(index - 1), hint=hint)]
        if path[index] not in parent.value:
            return [_unknown_name(override, tree, index)]
    there = tree.get(path)
    if there is None:
        message = f"`{override.key}` is not set, so there is nothing to remove"
        return [_diagnostic("unknown-name", message, override, override.key_place(), label="leave it out")]
    if override.value is not None and override.value.plain() != there.plain():
        message = f"`{override.key}` is not `{override.value.plain()}`, so nothing is removed"
        hint = f"it is `{there.plain()}`; `~{override.key}` removes it whatever it is"
        return [_diagnostic("unknown-name", message, override, override.value_place(), hint=hint)]
    return []


def _check_indices(override: Override, tree: Tree) -> list[Diagnostic]:
    path = override.path
    for index in range(1, len(path)):
        parent = tree.get(path[:index])
        if parent is not None and isinstance(parent.value, list) and parent.child(path[index]) is None:
            section, length = ".".join(path[:index]), len(parent.value)
            message = f"`{section}` is a list of {length}; it has no `{path[index]}`"
            hint = f"indices count from 0; a list is replaced whole by `{section}=[...]`"
            return [_diagnostic("unknown-name", message, override, override.key_place(index), hint=hint)]
    return []


def _diagnostic(id: str, message: str, override: Override, place: Location, **rest: Any) -> Diagnostic:  # noqa: A002
    return Diagnostic(id, message, place, path=override.key, **rest)
