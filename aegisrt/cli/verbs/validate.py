"""`aegisrt validate`: report every error of a manifest at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from aegisrt.cli.arguments import add_show_env, parse, verb_parser
from aegisrt.cli.deployment import resolve_arguments
from aegisrt.cli.output import print_error, print_json, print_text, wants_color

DESCRIPTION = """Check a manifest and its overrides without loading an engine. Report every error with its location.

    aegisrt validate deploy.yaml env=prod
    aegisrt validate deploy.yaml --format github            one line per error, for a workflow of GitHub Actions

exit codes: 0 the manifest is valid, 2 a usage error or an invalid manifest."""


def main(argv: Sequence[str]) -> int:
    """Return 0 if the manifest is valid, else 2."""
    parser = verb_parser("validate", DESCRIPTION, ("text", "json", "github"))
    add_show_env(parser)
    parser.add_argument(
        "--no-env",
        action="store_const",
        const="refused",
        dest="environment",
        help="refuse a manifest that reads environment variables, such as one of a pull request",
    )
    arguments = parse(parser, argv)
    from aegisrt.core.result import Err
    from aegisrt.manifest.diagnostics.report import render_github, render_text, to_json

    resolved = resolve_arguments(arguments)
    if isinstance(resolved, Err) and not resolved.error.diagnostics:
        return max(2, print_error(resolved.error, arguments.format))
    diagnostics = resolved.error.diagnostics if isinstance(resolved, Err) else resolved.value.warnings
    ok = not isinstance(resolved, Err)
    if arguments.format == "json":
        print_json(to_json(diagnostics))
    elif arguments.format == "github":
        sys.stdout.write(render_github(diagnostics))
    else:
        if diagnostics:
            sys.stdout.write(render_text(diagnostics, color=wants_color(sys.stdout)))
        if ok:
            print_text(f"{arguments.manifest or 'the packaged demo'} is valid")
    return 0 if ok else 2
