"""`aegisrt config`: the composed manifest as YAML."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from aegisrt.cli.arguments import parse, verb_parser
from aegisrt.cli.output import print_error, print_json

DESCRIPTION = """Print the composed manifest as YAML, with overrides applied and paths resolved; it deploys as it is.

    aegisrt config deploy.yaml env=prod > composed.yaml
    aegisrt config deploy.yaml --json

exit codes: 0 fine, 2 a manifest with errors."""


def main(words: Sequence[str]) -> int:
    """Return 0, or 2 for a manifest with errors."""
    arguments = parse(verb_parser("config", DESCRIPTION), words)
    from aegisrt.core.result import Err
    from aegisrt.deployment import resolve

    resolved = resolve(arguments.manifest, arguments.overrides, config_dir=arguments.config_dir)
    if isinstance(resolved, Err):
        return print_error(resolved.error, arguments.format)
    composition = resolved.value.composition
    if arguments.format == "json":
        print_json(composition.values)
    else:
        sys.stdout.write(composition.yaml())
    return 0
