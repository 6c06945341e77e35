"""The JSON Schemas of the conformance kit: its options, and its report."""

from __future__ import annotations

from typing import Any

from aegisrt.conformance.options import ConformanceOptions
from aegisrt.conformance.report import Report

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def conformance_schemas() -> dict[str, dict[str, Any]]:
    """Return both schemas by their file names under schemas/."""
    options = ConformanceOptions.model_json_schema()
    report = Report.model_json_schema(mode="serialization")
    return {
        "conformance.schema.json": {"$schema": DIALECT, **options, "title": "AegisRT conformance run"},
        "conformance-report.schema.json": {"$schema": DIALECT, **report, "title": "AegisRT conformance report"},
    }
