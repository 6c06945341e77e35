"""`aegisrt backends`: list every known backend, available or why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aegisrt.cli.arguments import parse, verb_parser
from aegisrt.cli.output import engine_output, print_error, print_json

DESCRIPTION = """List every known backend kind: available, or the reason and the exact install command.

    aegisrt backends
    aegisrt backends --json

exit codes: 0 success, 1 the installed packages cannot be read."""


def main(argv: Sequence[str]) -> int:
    """Return 0, or 1 if the installed packages cannot be read."""
    arguments = parse(verb_parser("backends", DESCRIPTION, takes=""), argv)
    from aegisrt.backends.registry import entries
    from aegisrt.core.result import Err

    known = entries()
    if isinstance(known, Err):
        return print_error(known.error, arguments.format)
    with engine_output():
        rows = [_row(kind) for kind in known.value]
    if arguments.format == "json":
        print_json(rows)
    else:
        from aegisrt.cli.render import print_table

        print_table(("kind", "available", "version", "runs on", "reason", "install"), [_cells(row) for row in rows])
    return 0


def _row(kind: str) -> dict[str, Any]:
    from aegisrt.backends.base.description import availability_of
    from aegisrt.backends.registry import backend_class
    from aegisrt.core.optional import installed
    from aegisrt.core.result import Err, Ok
    from aegisrt.doctor.engines import installation_of

    backend = backend_class(kind)
    row: dict[str, Any] = {"kind": kind, "available": False, "version": None, "reason": None, "install": None}
    if isinstance(backend, Err):
        return row | {"reason": str(backend.error), "install": backend.error.hint, "packages": {}, "capabilities": None}
    state = availability_of(backend.value, probe=True)
    row |= {name: getattr(state, name) for name in ("available", "version", "reason", "install")}
    engine = installation_of(kind)
    row["packages"] = dict(installed(engine.value.all_packages)) if isinstance(engine, Ok) else {}
    return row | {"capabilities": backend.value.capabilities.to_json()}


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    devices = ", ".join(row["capabilities"]["devices"]) if row["capabilities"] else ""
    yes = "yes" if row["available"] else "no"
    return row["kind"], yes, row["version"] or "", devices, row["reason"] or "", row["install"] or ""
