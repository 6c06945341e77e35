"""`Keys`: completions of an override: groups, key paths by the JSON Schema, names and values.

It reads the packaged schema and each file's YAML, and composes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from aegisrt.cli.completion.paths import files
from aegisrt.cli.completion.scan import read_yaml
from aegisrt.core.resources import configs_dir, schemas_dir

_PACKAGE = re.compile(r"^# @package (\w+)\.(\S+)", re.MULTILINE)
REFERENCES = {
    ("models", "backend"): "backends",
    ("backends", "device"): "devices",
    ("backends", "stream"): "streams",
    ("streams", "device"): "devices",
}
"""As in manifest/check/links.py, which imports too much for a prompt."""
COMMAND_GROUPS = frozenset({"ci", "conformance"})
"""Groups that only one command reads, and no manifest; as in manifest/compose/choices.py."""
_BASE = (("backend", "*.yaml"), ("device", "cpu.yaml"), ("stream", "default.yaml"))
_MOST_FILES = 100
_BOOLEANS = ("true", "false")
Schema = dict[str, Any]


class Keys:
    """The keys of one manifest; without a manifest, of the packaged demo."""

    def __init__(self, manifest: str | None, config_dir: str | None, command: str | None = None) -> None:
        """Set the files to read; `command` is the group that the command reads instead of a manifest."""
        self._command = command
        self._manifest = Path(manifest) if manifest else configs_dir() / "config.yaml"
        self._folders = [Path(folder) for folder in (config_dir, configs_dir()) if folder]
        self._read: set[Path] = set()

    def overrides(self, current: str) -> Iterator[tuple[str, str]]:
        """Yield `GROUP=`, `models.`, `models.digits.backend=`, and after the `=` the values."""
        sign = re.match(r"[+~]*", current)
        prefix = sign[0] if sign else ""
        key, equals, value = current[len(prefix) :].partition("=")
        if equals:
            yield from ((f"{prefix}{key}={text}", meaning) for text, meaning in self.values(key, value))
            return
        if "." not in key:
            yield from ((f"{prefix}{group}=", "a group: " + ", ".join(self._options(group))) for group in self.groups())
        yield from ((f"{prefix}{path}", meaning) for path, meaning in self._children(key, "="))

    def paths(self, current: str) -> Iterator[tuple[str, str]]:
        """Yield key paths: `models.`, `models.digits`."""
        yield from self._children(current, "")

    def values(self, key: str, value: str) -> Iterator[tuple[str, str]]:
        """Yield the values that may follow `key=`."""
        if key in self.groups():
            yield from ((name, "") for name in self._options(key))
            return
        path = key.split(".")
        target = REFERENCES.get((path[0], path[2])) if len(path) == 3 else None
        if target:
            yield from ((name, "") for name in self.names(target))
        for schema in self._schemas(path):
            yield from ((text, "") for text in _constants(schema))
            if schema.get("format") == "path":
                yield from files(value, None)

    def groups(self) -> list[str]:
        """Return the groups to choose from, sorted."""
        entries = (entry for folder in self._folders if folder.is_dir() for entry in folder.iterdir())
        found = {entry.name for entry in entries if entry.is_dir()}
        return sorted(found - COMMAND_GROUPS if self._command is None else found & {self._command})

    def kinds(self) -> list[str]:
        """Return the backend kinds that are known here, sorted."""
        import importlib.metadata

        return sorted({point.name for point in importlib.metadata.entry_points(group="aegisrt.backends")})

    def names(self, section: str) -> list[str]:
        """Return the names that the base and the manifest declare under `models`, `backends` and so on, sorted."""
        return sorted(self._declared.get(section, {}))

    def _options(self, group: str) -> list[str]:
        return sorted({file.stem for folder in self._folders for file in (folder / group).glob("*.yaml")})

    def _children(self, key: str, ending: str) -> Iterator[tuple[str, str]]:
        """Yield candidates for the last step of a key path: a field with `ending`, a mapping with a dot."""
        *around, _ = key.split(".")
        before = "".join(f"{step}." for step in around)
        if len(around) == 1 and around[0] in self._declared:
            yield from ((f"{before}{name}.", "") for name in self.names(around[0]))
        seen: set[str] = set()
        for schema in self._schemas(around):
            for name, field in schema.get("properties", {}).items():
                if name not in seen:
                    seen.add(name)
                    inside = any(_is_mapping(one) for one in self._arms(field))
                    yield f"{before}{name}{'.' if inside else ending}", field.get("description", "")

    def _schemas(self, path: list[str]) -> list[Schema]:
        """Return the schemas of the value at a key path; none if the path leads nowhere."""
        found = [self._schema] if self._command is None else []
        for depth, step in enumerate(path):
            found = [
                arm
                for schema in found
                for child in _steps(schema, step)
                for arm in self._arms(child, self._kind(path[: depth + 1]))
            ]
        return found

    def _arms(self, schema: Schema, kind: str | None = None) -> list[Schema]:
        """Return a schema's alternatives, references resolved; only the one of `kind` if `kind` decides."""
        by_kind = schema.get("discriminator", {}).get("mapping", {})
        if kind in by_kind:
            return self._arms({"$ref": by_kind[kind]})
        if "$ref" in schema:
            return self._arms(self._schema["$defs"][schema["$ref"].rpartition("/")[2]])
        alternatives = schema.get("anyOf") or schema.get("oneOf")
        return [arm for one in alternatives for arm in self._arms(one)] if alternatives else [schema]

    def _kind(self, path: list[str]) -> str | None:
        declared = self._declared.get(path[0], {}).get(path[1]) if len(path) == 2 else None
        return declared.get("kind") if isinstance(declared, dict) else None

    @cached_property
    def _schema(self) -> Schema:
        schema: Schema = json.loads((schemas_dir() / "manifest.schema.json").read_text(encoding="utf-8"))
        return schema

    @cached_property
    def _declared(self) -> dict[str, dict[str, Any]]:
        """The base's and the manifest's values, by section and name."""
        found: dict[str, dict[str, Any]] = {section: {} for section in ("models", "backends", "devices", "streams")}
        for group, pattern in _BASE:
            for file in sorted((configs_dir() / group).glob(pattern)):
                self._add(file, found)
        self._add(self._manifest, found)
        return found

    def _add(self, file: Path, found: dict[str, dict[str, Any]]) -> None:
        """Add what a file declares, after the files of its defaults list; a file that cannot be read adds nothing."""
        if file in self._read or len(self._read) == _MOST_FILES:
            return
        self._read.add(file)
        text, values = read_yaml(file)
        package = _PACKAGE.search(text)
        if package and package[1] in found:
            found[package[1]][package[2]] = values
            return
        for entry in values.get("defaults") or () if isinstance(values, dict) else ():
            for path in _chosen(entry):
                self._add(next((one / f"{path}.yaml" for one in self._folders), Path()), found)
        for section, names in found.items():
            own = values.get(section) if isinstance(values, dict) else None
            for name, value in own.items() if isinstance(own, dict) else ():
                names[name] = {**_mapping(names.get(name)), **_merged(value)}


def _chosen(entry: object) -> Iterator[str]:
    """Yield the files that an entry of a defaults list names: `model/digits` for `- model: digits`."""
    if isinstance(entry, str) and entry != "_self_":
        yield entry
    elif isinstance(entry, dict):
        for group, chosen in entry.items():
            for name in chosen if isinstance(chosen, list) else [chosen]:
                yield f"{str(group).split()[-1].lstrip('/')}/{name}"


def _steps(schema: Schema, step: str) -> list[Schema]:
    if step in schema.get("properties", {}):
        return [schema["properties"][step]]
    inside = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
    return [one for one in inside if isinstance(one, dict)]


def _constants(schema: Schema) -> list[str]:
    if schema.get("type") == "boolean":
        return list(_BOOLEANS)
    if schema.get("type") == "null":
        return ["null"]
    return [str(value) for value in schema.get("enum", [schema["const"]] if "const" in schema else [])]


def _is_mapping(schema: Schema) -> bool:
    return schema.get("type") == "object"


def _merged(value: object) -> dict[str, Any]:
    """Return a mapping with what its merge key `<<` names."""
    own = _mapping(value)
    merged = own.get("<<")
    found: dict[str, Any] = {}
    for one in reversed(merged if isinstance(merged, list) else [merged]):
        found |= _mapping(one)
    return {key: inner for key, inner in (found | own).items() if key != "<<"}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
