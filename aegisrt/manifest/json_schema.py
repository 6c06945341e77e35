"""The JSON Schemas of a manifest: for editors (`# yaml-language-server: $schema=...`) and for check-jsonschema."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeAlias

from pydantic import TypeAdapter

from aegisrt.core.options import BackendOptions
from aegisrt.devices.options import DeviceOptions, StreamOptions
from aegisrt.manifest.check.validate import manifest_type
from aegisrt.manifest.schema import ModelOptions

Schema: TypeAlias = dict[str, Any]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_INTERPOLATION = {"type": "string", "pattern": r"\$\{.+\}", "description": "an OmegaConf interpolation"}
DEFAULTS = {
    "type": "array",
    "description": "Configuration groups and files to compose before this file (Hydra's defaults list).",
    "items": {"anyOf": [{"type": "string"}, {"type": "object", "minProperties": 1, "maxProperties": 2}]},
}


def all_schemas(kinds: Mapping[str, type[BackendOptions]]) -> dict[str, Schema]:
    """Return every schema by its file name under schemas/."""
    manifest = manifest_type(kinds)
    schemas = {
        "manifest.schema.json": _named(manifest.model_json_schema(), "AegisRT manifest, composed"),
        "fragment.schema.json": fragment(manifest.model_json_schema()),
        "device.schema.json": _named(TypeAdapter(DeviceOptions).json_schema(), "AegisRT device"),
        "model.schema.json": _named(_partial(ModelOptions.model_json_schema()), "AegisRT model"),
        "stream.schema.json": _named(StreamOptions.model_json_schema(), "AegisRT stream"),
    }
    for kind, options in sorted(kinds.items()):
        title = f"AegisRT option set of backend kind {kind}"
        schemas[f"backend/{kind}.schema.json"] = _named(options.model_json_schema(), title)
    return schemas


def fragment(manifest: Schema) -> Schema:
    """Return the schema of one file of a composition: any part of a manifest, and a defaults list."""
    schema = _partial(manifest)
    schema["properties"]["defaults"] = DEFAULTS
    for field in schema["properties"].values():
        for pattern, item in field.get("patternProperties", {}).items():
            if "oneOf" in item:
                field["patternProperties"][pattern] = _loose_union(item["oneOf"])
    return _named(schema, "AegisRT manifest, one file of a composition")


def _loose_union(choices: list[Schema]) -> Schema:
    """Return a union by `kind` that also accepts a file without `kind`: another file may set it."""
    return {"type": "object", "if": {"required": ["kind"]}, "then": {"oneOf": choices}, "else": {"anyOf": choices}}


def _named(schema: Schema, title: str) -> Schema:
    """Return the schema under a title, in a stable order, with `kind` required in each model that has it."""
    for part in (schema, *schema.get("$defs", {}).values()):
        if "const" in part.get("properties", {}).get("kind", {}) and not part.get("x-partial"):
            part["required"] = sorted({"kind", *part.get("required", ())})
        part.pop("x-partial", None)
        for field in part.get("properties", {}).values():
            if "patternProperties" in field:
                field.setdefault("additionalProperties", False)
    return {"$schema": DIALECT, **schema, "title": title}


def _partial(schema: Schema) -> Schema:
    """Return the schema with nothing required, and with interpolations allowed for each scalar."""
    loose = copy.deepcopy(schema)
    for part in (loose, *loose.get("$defs", {}).values()):
        part.pop("required", None)
        part["x-partial"] = True
        for name, field in part.get("properties", {}).items():
            if name != "kind" and _is_scalar(field):
                described = {key: field.pop(key) for key in ("title", "description", "default") if key in field}
                part["properties"][name] = {**described, "anyOf": [*field.get("anyOf", [field]), _INTERPOLATION]}
    return loose


def _is_scalar(field: Schema) -> bool:
    types = {choice.get("type") for choice in field.get("anyOf", [field])}
    return bool(types & {"integer", "number", "boolean"}) or any("enum" in c or "const" in c for c in [field])
