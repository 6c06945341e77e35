"""`aegisrt graph`: show what would run where."""

from __future__ import annotations

from collections.abc import Sequence

from aegisrt.cli.arguments import parse, verb_parser
from aegisrt.cli.deployment import resolved_or_code
from aegisrt.cli.output import engine_output, print_error, print_json, print_text

DESCRIPTION = """Show which model would run on which backend and device, and whether this machine can run it.
Without --load, no engine is loaded.

    aegisrt graph deploy.yaml env=prod
    aegisrt graph deploy.yaml --format mermaid

exit codes: 0 success, 1 a model does not load, 2 a usage error or an invalid manifest."""


def main(argv: Sequence[str]) -> int:
    """Return 0, 1 if a model does not load, 2 for a usage error or an invalid manifest."""
    parser = verb_parser("graph", DESCRIPTION, ("text", "json", "mermaid"))
    parser.add_argument("--load", action="store_true", help="load the models, and show what their engines report")
    arguments = parse(parser, argv)
    from aegisrt.core.result import Err
    from aegisrt.deployment import run
    from aegisrt.graph.headers import with_headers
    from aegisrt.graph.render import to_mermaid, to_text

    resolved = resolved_or_code(arguments)
    if isinstance(resolved, int):
        return resolved
    graph = resolved.graph
    if arguments.format == "json" and not arguments.load:
        graph = with_headers(graph)
    if arguments.load:
        from aegisrt.cli.render import status

        with status("loading"), engine_output():
            running = run(resolved)
        if isinstance(running, Err):
            return print_error(running.error, arguments.format)
        with engine_output(), running.value as context:
            graph = context.graph
    if arguments.format == "json":
        print_json(graph.to_json())
    else:
        print_text((to_mermaid(graph) if arguments.format == "mermaid" else to_text(graph)).removesuffix("\n"))
    return 0
