"""`Tree`: a value from YAML, an override or a mapping, with the place of every key and value; and `merge`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from aegisrt.core.diagnostic import Location
from aegisrt.manifest.origin import KeyPath

Value: TypeAlias = "dict[str, Tree] | list[Tree] | str | int | float | bool | None"
MISSING = "???"
"""Hydra's mark of a value that another file or override must give; merged over a value, it leaves that one."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One file, override or mapping of a composition."""

    source: Literal["file", "override"]
    folder: Path
    """The folder that its relative paths start from."""
    override: str | None = None
    set_by: str | None = None
    is_manifest: bool = False
    is_packaged: bool = False


@dataclass(frozen=True, slots=True)
class Tree:
    """One value, the place of its key and its own place; places are None for a mapping from Python."""

    value: Value
    key: Location | None = None
    at: Location | None = None
    layer: Layer | None = None
    beneath: Tree | None = None
    """Of a mapping: the interpolation of another mapping that this one is merged over."""
    written: str | None = None
    """Of the value of an interpolation: its text, such as `${oc.env:NAME}`."""
    from_env: bool = False
    """True if an environment variable is in it, also in a part or through other interpolations; it is not shown."""

    @property
    def is_packaged(self) -> bool:
        """Return True if a file of this package set it, or if it is generated."""
        return self.layer is None or self.layer.is_packaged

    def plain(self) -> Any:
        """Return the value as plain data."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def child(self, key: str | int) -> Tree | None:
        """Return the value under a key, or at an index (a number, or its digits), or None."""
        if isinstance(self.value, dict):
            return self.value.get(str(key))
        if isinstance(self.value, list) and str(key).isdecimal() and int(key) < len(self.value):
            return self.value[int(key)]
        return None

    def get(self, path: KeyPath) -> Tree | None:
        """Return the value at a path, or None."""
        found: Tree | None = self
        for key in path:
            found = found.child(key) if found else None
        return found

    def joined(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """Return a path, split at its dots, with names that have dots in one part: `input.1` where it is a key.

        Of several ways to join it, the one that most of the path exists in; then that with the longest names.
        """
        return self._joined(path)[1]

    def _joined(self, path: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
        """Return how many parts of the path exist, and the path joined."""
        best = (0, path)
        sizes = range(len(path), 0, -1) if isinstance(self.value, dict) else range(min(len(path), 1), 0, -1)
        for size in sizes:
            name = ".".join(path[:size])
            child = self.child(name)
            if child is not None:
                count, rest = child._joined(path[size:])
                best = max(best, (size + count, (name, *rest)), key=lambda each: each[0])
        return best

    def walk(self, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Tree]]:
        """Yield this value and every one inside it, with its path."""
        yield path, self
        if isinstance(self.value, dict):
            for key, child in self.value.items():
                yield from child.walk((*path, key))
        elif isinstance(self.value, list):
            for index, child in enumerate(self.value):
                yield from child.walk((*path, index))

    def in_layer(self, layer: Layer) -> Tree:
        """Return a copy whose values all belong to `layer`."""
        value = self.value
        if isinstance(value, dict):
            value = {key: child.in_layer(layer) for key, child in value.items()}
        elif isinstance(value, list):
            value = [child.in_layer(layer) for child in value]
        return replace(self, value=value, layer=layer)

    def under(self, package: str) -> Tree:
        """Return this tree as the value at a dotted path: `backends.onnx`."""
        tree = self
        for key in reversed(package.split(".") if package else []):
            tree = Tree({key: tree}, at=self.at, layer=self.layer)
        return tree


def merge(below: Tree | None, above: Tree) -> Tree:
    """Merge `above` over `below` as OmegaConf does: mappings key by key; anything else is replaced.

    A mapping in both keeps its place in the manifest if it has one there, else its place in a file before that in an
    override.
    """
    if below is None or (above.value == MISSING and below.value != MISSING):
        return below or above
    if not isinstance(above.value, dict):
        return above
    if is_interpolation(below.value):
        return replace(above, beneath=below)
    if not isinstance(below.value, dict):
        return above
    children = dict(below.value)
    for key, child in above.value.items():
        children[key] = merge(children.get(key), child)
    keeps = below.layer is not None and (
        below.layer.is_manifest or (above.layer is not None and above.layer.source == "override")
    )
    from_env = below.from_env or above.from_env
    return replace(below if keeps else above, value=children, beneath=below.beneath, from_env=from_env)


def is_interpolation(value: Value) -> bool:
    """Return True for text that contains `${`."""
    return isinstance(value, str) and "${" in value


def from_plain(value: Any, like: Tree) -> Tree:
    """Return plain data as a tree whose values all have the place and layer of `like`."""
    if isinstance(value, Mapping):
        value = {str(key): from_plain(child, replace(like, key=like.at)) for key, child in value.items()}
    elif isinstance(value, list | tuple):
        value = [from_plain(child, replace(like, key=None)) for child in value]
    return Tree(value, like.key, like.at, like.layer, written=like.written, from_env=like.from_env)
