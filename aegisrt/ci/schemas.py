"""The JSON Schema of a cell's file."""

from __future__ import annotations

from typing import Any

from aegisrt.ci.options import CellOptions
from aegisrt.manifest.json_schema import DEFAULTS, DIALECT


def ci_schemas() -> dict[str, dict[str, Any]]:
    """Return the schema by its file name under schemas/; a file with a defaults list may omit any field."""
    cell = CellOptions.model_json_schema()
    required = cell.pop("required")
    cell["properties"] = {**cell["properties"], "defaults": DEFAULTS}
    inherits = {"if": {"required": ["defaults"]}, "else": {"required": required}}
    return {"ci.schema.json": {"$schema": DIALECT, **cell, **inherits, "title": "AegisRT cell of the CI matrix"}}
