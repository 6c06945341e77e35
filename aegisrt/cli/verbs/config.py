"""`aegisrt config`: print the composed manifest as YAML."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from aegisrt.cli.arguments import add_show_env, parse, verb_parser
from aegisrt.cli.output import engine_output, print_error, print_json

DESCRIPTION = """Print the composed manifest as YAML, with overrides applied and paths resolved. It can be deployed.

    aegisrt config deploy.yaml env=prod > composed.yaml
    aegisrt config deploy.yaml --json

exit codes: 0 success, 2 a usage error or an invalid manifest."""


def main(argv: Sequence[str]) -> int:
    """Return 0, or 2 for an invalid manifest."""
    parser = verb_parser("config", DESCRIPTION)
    add_show_env(parser)
    arguments = parse(parser, argv)
    from aegisrt.core.result import Err
    from aegisrt.deployment import resolve

    with engine_output():
        resolved = resolve(
            arguments.manifest, arguments.overrides, config_dir=arguments.config_dir, environment=arguments.environment
        )
    if isinstance(resolved, Err):
        return print_error(resolved.error, arguments.format)
    composition = resolved.value.composition
    if arguments.format == "json":
        print_json(composition.shown())
    else:
        sys.stdout.write(composition.yaml())
    return 0
