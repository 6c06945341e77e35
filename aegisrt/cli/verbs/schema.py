"""`aegisrt schema`: write the JSON Schemas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from aegisrt.cli.arguments import parse, verb_parser
from aegisrt.cli.output import engine_output, print_error, print_json
from aegisrt.core.system_error import system_error

DESCRIPTION = """Write the JSON Schemas of a manifest, of one file of a composition, of the conformance kit, of a
cell of the CI matrix, and of each installed backend kind, including third parties'. To use one in an editor, begin a
file with
    # yaml-language-server: $schema=schemas/fragment.schema.json

    aegisrt schema
    aegisrt schema --out .vscode/schemas

exit codes: 0 success, 1 a file cannot be written, 2 a usage error."""


def main(argv: Sequence[str]) -> int:
    """Return 0, or 1 if a file cannot be written."""
    parser = verb_parser("schema", DESCRIPTION, takes="")
    parser.add_argument("--out", metavar="DIR", default="schemas", help="the folder to write to (default: schemas)")
    arguments = parse(parser, argv)
    from aegisrt.backends.registry import options_by_kind
    from aegisrt.ci.schemas import ci_schemas
    from aegisrt.conformance.schemas import conformance_schemas
    from aegisrt.core.result import Err
    from aegisrt.manifest.json_schema import all_schemas

    with engine_output():
        kinds = options_by_kind()
    if isinstance(kinds, Err):
        return print_error(kinds.error, arguments.format)
    folder = Path(arguments.out)
    written = []
    try:
        for name, schema in {**all_schemas(kinds.value), **conformance_schemas(), **ci_schemas()}.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(schema, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            written.append(str(file))
    except OSError as error:
        message, hint = f"{error.filename or folder} cannot be written", "name another folder: --out DIR"
        return print_error(system_error(error, message, hint).error, arguments.format)
    if arguments.format == "json":
        print_json({"ok": True, "files": written})
    else:
        print("\n".join(written))
    return 0
