"""The output of `aegisrt init`: the files that it wrote, and the next command."""

from __future__ import annotations

import shlex
from typing import Any

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.backends.base.description import availability_of
from aegisrt.backends.files.unserved import unserved
from aegisrt.cli.init.inputs import fill_name
from aegisrt.cli.init.manifest import Start
from aegisrt.cli.output import print_json, print_text
from aegisrt.core.sidecar import signature_json
from aegisrt.core.tensor import shape_text


def print_summary(
    start: Start,
    backend: type[RuntimeBackend[Any]],
    why_none: str | None,
    format: str,  # noqa: A002
) -> None:
    """Print which files were written; `why_none` is the reason if no inputs were made up."""
    if format == "json":
        print_json(_document(start, backend))
    else:
        _print(start, backend, why_none)


def _document(start: Start, backend: type[RuntimeBackend[Any]]) -> dict[str, Any]:
    state = availability_of(backend)
    return {
        "ok": True,
        "manifest": str(start.target),
        "sample": str(start.target.with_name(start.sample)) if start.sample else None,
        "model": {"name": start.name, "path": str(start.model), **signature_json(start.signature)},
        "backend": {
            "name": start.backend,
            "kind": backend.kind,
            "available": state.available,
            "reason": state.reason,
            "install": state.install,
        },
        "next": _next(start),
    }


def _print(start: Start, backend: type[RuntimeBackend[Any]], why_none: str | None) -> None:
    from aegisrt.cli.render import print_table

    print_text(f"{start.target}: model `{start.name}` on backend `{start.backend}`")
    if start.sample:
        print_text(f"{start.target.with_name(start.sample)}: made-up inputs; replace them with real ones\n")
        rows = [(str(spec), shape_text(start.shapes[spec.name]), fill_name(spec)) for spec in start.signature.required]
        print_table(("input", "made up", "filled with"), rows)
    elif why_none:
        print_text(f"no inputs are made up: {why_none}; give them with --input NAME=FILE")
    for name, kind in start.signature.omitted:
        reason, hint = unserved(kind)
        print_text(f"\nomitted from the answers: `{name}` is {reason}\n    {hint}")
    state = availability_of(backend)
    if not state.available:
        install = f"\n    {state.install}" if state.install else ""
        print_text(f"\nit cannot run here yet: {state.reason}{install}")
    print_text(f"\nnext: {_next(start)}")


def _next(start: Start) -> str:
    return f"aegisrt run {shlex.quote(str(start.target))}"
