"""`aegisrt explain`: show which file, line or override set each value."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aegisrt.cli.arguments import add_show_env, parse, verb_parser
from aegisrt.cli.deployment import resolved_or_code
from aegisrt.cli.output import print_error, print_json

DESCRIPTION = """Show each value of the composed manifest, and the file:line or the override that set it.
KEY.PATH, such as `models.digits`, limits it to that part.

    aegisrt explain deploy.yaml                         every value
    aegisrt explain deploy.yaml models.digits env=prod  one part, in an environment

exit codes: 0 success, 2 a usage error, an invalid manifest or an unknown key."""


def main(argv: Sequence[str]) -> int:
    """Return 0, or 2 for an invalid manifest or an unknown key."""
    parser = verb_parser("explain", DESCRIPTION, takes="[MANIFEST] [KEY.PATH] [OVERRIDE...]")
    add_show_env(parser)
    arguments = parse(parser, argv, takes_key=True)
    from aegisrt.core.result import Err
    from aegisrt.manifest.explain import explain

    resolved = resolved_or_code(arguments)
    if isinstance(resolved, int):
        return resolved
    composition = resolved.composition
    rows = explain(composition, resolved.manifest, arguments.key)
    if isinstance(rows, Err):
        return max(2, print_error(rows.error, arguments.format))
    if arguments.format == "json":
        print_json(rows.value)
    else:
        from aegisrt.cli.render import print_table

        shown = [
            (row["path"], json.dumps(row["value"], ensure_ascii=False, default=str), _source(row)) for row in rows.value
        ]
        print_table(("key", "value", "set by"), shown)
    return 0


def _source(row: Mapping[str, Any]) -> str:
    if row["source"] == "file":
        return f"{row['file']}:{row['line']}:{row['column']}"
    return f"override {row['override']}" if row["source"] == "override" else "default"
