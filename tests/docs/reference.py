"""The reference tables of the documentation, made from the code; `python -m tests.docs.reference` writes them again.

A table stands on its page between `<!-- generated: NAME -->` and `<!-- end -->`. Types, ranges, defaults and meanings
come from the JSON Schemas of the options, and so from the docstrings of their fields. A backend that has no page yet in
docs/engines/ gets one, with its docstring and its options.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.backends.registry import backend_class, entries
from aegisrt.ci.options import CellOptions
from aegisrt.cli.main import usage
from aegisrt.conformance.options import ConformanceOptions
from aegisrt.core.optional import DISTRIBUTION
from aegisrt.core.options import NAME_PATTERN, BackendOptions, StrictModel
from aegisrt.core.tensor import DataType
from aegisrt.devices.options import CpuOptions, CudaOptions, StreamOptions
from aegisrt.manifest.queueing import BatchingOptions, QueueOptions
from aegisrt.manifest.schema import LimitOptions, Manifest, ModelOptions, SampleOptions, SignatureOptions, TensorOptions
from tests.docs.api import api_reference
from tests.docs.checks import checks_reference, tolerances_rows
from tests.docs.pages import ROOT
from tests.docs.support import cells_table, extras_table
from tests.docs.tables import table

ENGINES = ROOT / "docs" / "engines"
PAGES = (
    *(
        ROOT / "docs" / name
        for name in ("MANIFEST.md", "BACKENDS.md", "CONFORMANCE.md", "CI.md", "API.md", "support.md")
    ),
    *sorted(ENGINES.glob("*.md")),
)
_REGION = re.compile(r"<!-- generated: (.+?) -->\n.*?<!-- end -->", re.DOTALL)
_SECTIONS = {
    "ModelOptions": "[models](#models) by name",
    "LimitOptions": "[limits](#limits)",
    "SampleOptions": "[a sample](#sample)",
    "SignatureOptions": "[a signature](#signature)",
    "TensorOptions": "[tensors](#tensor) by name",
    "QueueOptions": "[a queue](#queue)",
    "BatchingOptions": "[batching](#batching)",
    "BackendOptions": "[option sets](#backends) by name",
    "CpuOptions": "[devices](#devices) by name",
    "CudaOptions": "[devices](#devices) by name",
    "StreamOptions": "[streams](#streams) by name",
    "DataType": "[data type](MANIFEST.md#data-types)",
    "ErrorCode": "[error code](ERRORS.md#codes)",
}
_FLAGS = ("dynamic_shapes", "zero_size", "scalars", "output_subset", "concurrent", "deterministic", "external_data")
Schema = dict[str, Any]


def own_backends() -> dict[str, type[RuntimeBackend[Any]]]:
    """Return this distribution's own backends by kind."""
    own = [kind for kind, entry in entries().unwrap().items() if entry.distribution == DISTRIBUTION]
    return {kind: backend_class(kind).unwrap() for kind in own}


def regions() -> dict[str, Callable[[], str]]:
    """Return what makes each table, by the table's name."""
    models: dict[str, type[StrictModel]] = {
        "manifest": Manifest[BackendOptions],
        "device cpu": CpuOptions,
        "device cuda": CudaOptions,
        "stream": StreamOptions,
        "backend": BackendOptions,
        "model": ModelOptions,
        "limits": LimitOptions,
        "sample": SampleOptions,
        "signature": SignatureOptions,
        "tensor": TensorOptions,
        "queue": QueueOptions,
        "batching": BatchingOptions,
    }
    made: dict[str, Callable[[], str]] = {name: lambda of=model: fields_table(of) for name, model in models.items()}
    for kind, backend in own_backends().items():
        made[f"backend {kind}"] = lambda of=backend.Options: fields_table(of, leave_out=BackendOptions.model_fields)
    return made | {
        "data types": data_types_table,
        "backends": backends_table,
        "capabilities": capabilities_table,
        "conformance": lambda: fields_table(ConformanceOptions),
        "ci": lambda: fields_table(CellOptions),
        "tolerances": lambda: table(("dtype", "elementwise", "accumulated"), tolerances_rows()),
        "checks": checks_reference,
        "api": api_reference,
        "extras": extras_table,
        "cells": cells_table,
        "usage": lambda: f"```text\n{usage()}```",
    }


def render(text: str, page: Path) -> str:
    """Return the text of a page, with new tables; their links are relative to docs/, and are made so to the page."""
    made = regions()
    up = "../" * (len(page.relative_to(ROOT / "docs").parts) - 1)

    def region(match: re.Match[str]) -> str:
        table = re.sub(r"\]\((?=[\w/]+\.md)", f"]({up}", made[match[1]]())
        return f"<!-- generated: {match[1]} -->\n{table}\n<!-- end -->"

    return _REGION.sub(region, text)


def new_pages() -> dict[Path, str]:
    """Return the first text of the page of each backend that does not have one, by the page's path."""
    own = {ENGINES / f"{kind}.md": (kind, backend) for kind, backend in own_backends().items()}
    return {
        page: f"# The backend `{kind}`\n\n{inspect.getdoc(backend)}\n\n"
        f"<!-- generated: backend {kind} -->\n<!-- end -->\n"
        for page, (kind, backend) in own.items()
        if not page.exists()
    }


def fields_table(model: type[StrictModel], leave_out: Iterable[str] = ()) -> str:
    """Return a table of the fields of a model."""
    schema = model.model_json_schema()
    shown = {name: field for name, field in schema["properties"].items() if name not in leave_out}
    rows = _rows({**schema, "properties": shown}, schema.get("$defs", {}), "")
    return table(("field", "type", "default", "meaning"), rows)


def data_types_table() -> str:
    """Return a table of the data types and numpy's names for them."""
    names = {DataType.BF16: "ml_dtypes.bfloat16", DataType.BYTES: "object, of str or bytes"}
    return table(("data type", "numpy"), [(f"`{one}`", names.get(one) or one.numpy.name) for one in DataType])


def backends_table() -> str:
    """Return a table of the backends and what each needs."""
    rows = []
    for kind, backend in own_backends().items():
        need, can = backend.requirement, backend.capabilities
        engine = f"`{need.module}`" if need else "none"
        rows.append(
            (
                f"[`{kind}`](engines/{kind}.md)",
                f"`{backend.__name__}`",
                engine,
                f"`{need.install}`" if need else "",
                ", ".join(can.devices),
                _codes(can.formats),
                _codes(can.builds_from),
            )
        )
    return table(("kind", "class", "engine", "install", "devices", "loads", "builds from"), rows)


def capabilities_table() -> str:
    """Return a table of what each backend declares that it can do."""
    backends = own_backends()
    rows = [
        (f"`{flag}`", *("yes" if getattr(backend.capabilities, flag) else "no" for backend in backends.values()))
        for flag in _FLAGS
    ]
    dtypes = ["`dtypes`", *(_dtypes(backend.capabilities.dtypes) for backend in backends.values())]
    return table(("capability", *(f"`{kind}`" for kind in backends)), [*rows, tuple(dtypes)])


def _rows(model: Schema, defs: dict[str, Schema], before: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield one row for each field, and after it those of the fields inside of it."""
    for name, field in model["properties"].items():
        yield f"`{before}{name}`", _type(field, defs), _default(name, field, model), _meaning(field)
        for arm in field.get("anyOf", [field]):
            around = f"{before}{name}."
            if arm.get("type") == "object":
                arm, around = arm.get("additionalProperties", {}), f"{around}NAME."
            title = arm.get("$ref", "").rpartition("/")[2] if isinstance(arm, dict) else ""
            if title not in _SECTIONS and "properties" in defs.get(title, {}):
                yield from _rows(defs[title], defs, around)


def _type(field: Schema, defs: dict[str, Schema]) -> str:
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return _SECTIONS.get(name) or ("mapping" if "properties" in defs[name] else _type(defs[name], defs))
    if arms := field.get("anyOf") or field.get("oneOf"):
        kinds = [arm.get("type") for arm in arms]
        left_out = ("null" if field.get("default", ...) is None else "", "integer" if "number" in kinds else "")
        shown = [arm for arm, kind in zip(arms, kinds, strict=True) if kind not in left_out]
        return _either(dict.fromkeys(_type(arm, defs) for arm in shown))
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return _either(f"`{value}`" for value in field["enum"])
    match field.get("type"):
        case "integer" | "number" as number:
            return f"{'whole number' if number == 'integer' else 'number'}{_range(field)}"
        case "boolean":
            return "`true` or `false`"
        case "array":
            items = field.get("items") or field["prefixItems"][0]
            return f"list of: {_type(items, defs)}"
        case "object":
            inner = field.get("additionalProperties") or next(iter(field["patternProperties"].values()))
            if inner is True:
                return "mapping"
            inside = _type(inner, defs)
            return inside if inside.endswith("by name") else f"mapping of: {inside.replace('mapping', 'mappings')}"
        case "null":
            return "null"
    if field.get("pattern") == NAME_PATTERN:
        return "name"
    return "path" if field.get("format") == "path" else "text"


def _range(field: Schema) -> str:
    low, above = field.get("minimum"), field.get("exclusiveMinimum")
    high, below = field.get("maximum"), field.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f" ({low} to {high})"
    lower = f"more than {above}" if above is not None else f"at least {low}" if low is not None else ""
    upper = f"less than {below}" if below is not None else f"at most {high}" if high is not None else ""
    words = ", ".join(filter(None, (lower, upper)))
    return f" ({words})" if words else ""


def _default(name: str, field: Schema, schema: Schema) -> str:
    if name in schema.get("required", ()) or ("const" in field and name == "kind"):
        return "required"
    default = field.get("default", {})
    return "empty" if default == {} else "as below" if isinstance(default, dict) else f"`{_scalar(default)}`"


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _meaning(field: Schema) -> str:
    return " ".join(field.get("description", "").split())


def _either(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last


def _codes(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _dtypes(found: frozenset[DataType]) -> str:
    missing = [dtype for dtype in DataType if dtype not in found]
    if not missing:
        return "all"
    few = len(missing) <= len(found)
    return f"all but {_codes(missing)}" if few else _codes(dtype for dtype in DataType if dtype in found)


def main() -> int:
    """Write the pages again; return 0."""
    for page, text in (new_pages() | {page: page.read_text(encoding="utf-8") for page in PAGES}).items():
        page.write_text(render(text, page), encoding="utf-8")
        print(page.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
