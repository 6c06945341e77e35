"""`aegisrt config`: print the composed manifest as YAML."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from aegisrt.cli.arguments import add_show_env, parse, verb_parser
from aegisrt.cli.deployment import resolved_or_code
from aegisrt.cli.output import print_json

DESCRIPTION = """Print the composed manifest as YAML, with overrides applied and paths resolved. It can be deployed.

    aegisrt config deploy.yaml env=prod > composed.yaml
    aegisrt config deploy.yaml --json

exit codes: 0 success, 2 a usage error or an invalid manifest."""


def main(argv: Sequence[str]) -> int:
    """Return 0, or 2 for an invalid manifest."""
    parser = verb_parser("config", DESCRIPTION)
    add_show_env(parser)
    arguments = parse(parser, argv)

    resolved = resolved_or_code(arguments)
    if isinstance(resolved, int):
        return resolved
    composition = resolved.composition
    if arguments.format == "json":
        print_json(composition.shown())
    else:
        sys.stdout.write(composition.yaml())
    return 0
