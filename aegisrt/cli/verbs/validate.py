"""`aegisrt validate`: every error of a manifest at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from aegisrt.cli.arguments import parse, verb_parser
from aegisrt.cli.output import print_error, print_json, wants_color

DESCRIPTION = """Check a manifest and its overrides; load no engine. Every error is reported, each with its place.

    aegisrt validate deploy.yaml env=prod
    aegisrt validate deploy.yaml --format github            one line an error, for a workflow of GitHub Actions

exit codes: 0 valid, 2 not."""


def main(words: Sequence[str]) -> int:
    """Return 0 where the manifest is valid, else 2."""
    arguments = parse(verb_parser("validate", DESCRIPTION, ("text", "json", "github")), words)
    from aegisrt.core.result import Err
    from aegisrt.deployment import resolve
    from aegisrt.manifest.diagnostics.report import render_github, render_text, to_json

    resolved = resolve(arguments.manifest, arguments.overrides, config_dir=arguments.config_dir)
    if isinstance(resolved, Err) and not resolved.error.diagnostics:
        return max(2, print_error(resolved.error, arguments.format))
    found = resolved.error.diagnostics if isinstance(resolved, Err) else resolved.value.warnings
    ok = not isinstance(resolved, Err)
    if arguments.format == "json":
        print_json(to_json(found))
    elif arguments.format == "github":
        sys.stdout.write(render_github(found))
    else:
        if found:
            sys.stdout.write(render_text(found, color=wants_color(sys.stdout)))
        if ok:
            sys.stdout.write(f"{arguments.manifest or 'the packaged demo'} is valid\n")
    return 0 if ok else 2
