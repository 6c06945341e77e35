"""`Composition`: a manifest composed from its files and overrides, not validated yet."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

import yaml

from aegisrt.core.diagnostic import Diagnostic
from aegisrt.core.suggest import with_unseen_escaped
from aegisrt.manifest.hidden import HIDDEN_TEXT
from aegisrt.manifest.origin import KeyPath, Origin
from aegisrt.manifest.read.source import MAPPING_NAME
from aegisrt.manifest.read.tree import Tree, from_plain
from aegisrt.manifest.read.yaml_loader import ManifestDumper
from aegisrt.manifest.schema import Manifest

_DEFAULT = Origin("default")
_HIDDEN_HEADER = f"""\
# `{HIDDEN_TEXT}` hides a value of the environment, and cannot be deployed;
# `aegisrt config --show-env` prints it.
"""
_BEFORE_INTERPOLATION = re.compile(r"(\\*)\$\{")


@dataclass(frozen=True, slots=True)
class TreeOrigins:
    """The origins of a composed tree."""

    tree: Tree

    def of(self, path: KeyPath) -> Origin:
        """Return the origin of the value at `path`; that of a default if nothing set it.

        The place of a mapping in several files is that in the manifest, or else in the last file. Values of a mapping
        from Python have no place.
        """
        found = self.tree.get(path)
        from_env = self._is_from_env(path)
        if found is None or found.layer is None:
            return replace(_DEFAULT, from_env=from_env)
        layer = found.layer
        return Origin(layer.source, found.key, found.at, layer.override, layer.set_by, found.written, from_env)

    def _is_from_env(self, path: KeyPath) -> bool:
        """Return True if the value, or one around it, is from the environment; validation may sort a list's values."""
        node: Tree | None = self.tree
        for key in path:
            if node is None or node.from_env:
                break
            if isinstance(node.value, list) and any(inner.from_env for _, inner in node.walk()):
                return True
            node = node.child(key)
        return node is not None and node.from_env


@dataclass(frozen=True)
class Composition:
    """Plain data, with the origin of each value."""

    values: dict[str, Any]
    """Interpolations are resolved and paths absolute; keys of extra groups (`conformance`) are included."""
    origins: TreeOrigins
    name: str
    """The manifest's name in messages: its path as the user gave it."""
    fields: tuple[str, ...] = ()
    """The keys that a manifest may have; others belong to an extra group, or are wrong."""
    diagnostics: tuple[Diagnostic, ...] = ()
    """Its errors, if it was composed `partly`."""
    without_base: bool = False
    """True if a part of the base configuration was removed."""
    warnings: tuple[Diagnostic, ...] = ()
    """Values that are valid and may mean something else than they seem to."""
    variables: frozenset[str] = frozenset()
    """The values of environment variables that must not be shown."""

    def shown(self) -> dict[str, Any]:
        """Return the values, with `***` for each that is from the environment."""
        return {key: _shown(value, self.origins.tree.child(key)) for key, value in self.values.items()}

    def yaml(self) -> str:
        """Return the manifest as YAML; deployed again, it gives the same manifest unless values are hidden."""
        shown = self.shown()
        values = {key: escaped(value) for key, value in shown.items() if key in self.fields}
        header = "# @base none\n" if self.without_base else ""
        header += _HIDDEN_HEADER if shown != self.values else ""
        text: str = yaml.dump(values, Dumper=ManifestDumper, sort_keys=False, allow_unicode=True, width=math.inf)
        return header + with_unseen_escaped(text)


def composed_before(manifest: Manifest[Any]) -> Composition:
    """Return the composition of a validated `Manifest`; its values have no place."""
    values = manifest.model_dump(mode="json", serialize_as_any=True)
    return Composition(values, TreeOrigins(from_plain(values, Tree(None))), MAPPING_NAME, tuple(values))


def hidden_values(composition: Composition) -> frozenset[str]:
    """Return the texts that messages must not show: the variables' values, and those that they are part of."""
    inside = [node for _, node in composition.origins.tree.walk() if node.from_env] if composition.variables else []
    values = {str(node.value) for node in inside if isinstance(node.value, str | int | float)}
    keys = {key for node in inside if isinstance(node.value, dict) for key in node.value}
    return composition.variables | values | keys


def _shown(value: Any, tree: Tree | None) -> Any:
    if tree is not None and tree.from_env:
        return HIDDEN_TEXT
    if tree is not None and isinstance(value, dict):
        return {key: _shown(child, tree.child(key)) for key, child in value.items()}
    if tree is not None and isinstance(value, list):
        return [_shown(child, tree.child(index)) for index, child in enumerate(value)]
    return value


def escaped(value: Any) -> Any:
    """Return plain data in which `${` in a text is escaped, so that it is text when it is read again."""
    if isinstance(value, dict):
        return {key: escaped(child) for key, child in value.items()}
    if isinstance(value, list):
        return [escaped(child) for child in value]
    if isinstance(value, str):
        return _BEFORE_INTERPOLATION.sub(lambda match: f"{match[1] * 2}\\${{", value)
    return value
