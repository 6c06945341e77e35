"""`aegisrt serve`: serve the models of a manifest over HTTP and gRPC."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aegisrt.cli.arguments import Arguments, parse, verb_parser
from aegisrt.cli.output import engine_output, print_error, print_json, print_text, warn

if TYPE_CHECKING:
    from aegisrt.core.result import Result
    from aegisrt.runtime.context import ExecutionContext

DESCRIPTION = """Serve the models of a manifest over the Open Inference Protocol, for every client of Triton and KServe:
HTTP on 127.0.0.1:8000, gRPC on 127.0.0.1:8001, metrics and health on 127.0.0.1:8002.
SIGTERM answers what was accepted and ends; a second one ends at once.

    aegisrt serve                                           the packaged demo
    aegisrt serve deploy.yaml env=prod server.http.listen=127.0.0.1:9000
    aegisrt serve deploy.yaml --check                       load, answer one request, and end

exit codes: 0 every accepted request was answered, 1 a model or a listener failed, or requests were cut off,
2 a usage error or an invalid manifest."""


def main(argv: Sequence[str]) -> int:
    """Return 0 after a clean end, 1 for a failure, 2 for a usage error or an invalid manifest."""
    parser = verb_parser("serve", DESCRIPTION)
    parser.add_argument("--check", action="store_true", help="load, answer one request of each model, and end")
    arguments = parse(parser, argv)
    from aegisrt.cli.logs import hide_failures
    from aegisrt.cli.render import status
    from aegisrt.core.optional import require
    from aegisrt.core.result import Err, ResultError
    from aegisrt.deployment import resolve, run
    from aegisrt.serving.requirements import SERVER

    if arguments.check:
        hide_failures()
    try:
        for requirement in SERVER:
            require(requirement)
    except ResultError as failure:
        return print_error(failure.error, arguments.format)
    with engine_output():
        resolved = resolve(arguments.manifest, arguments.overrides, config_dir=arguments.config_dir)
    if isinstance(resolved, Err):
        return max(2, print_error(resolved.error, arguments.format))
    with status("loading"), engine_output():
        started = run(resolved.value)
    if isinstance(started, Err):
        return print_error(started.error, arguments.format)
    try:
        return _check(started.value, arguments) if arguments.check else _serve(started.value, arguments)
    finally:
        with engine_output():
            started.value.close()


def _serve(context: ExecutionContext, arguments: Arguments) -> int:
    from aegisrt.core.result import ResultError

    try:
        answered = _run(_serve_until_signal(context))
    except ResultError as failure:
        return print_error(failure.error, arguments.format)
    if not answered:
        warn("aegisrt serve: requests were cut off")
    return 0 if answered else 1


def _run(work: object) -> bool:
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return bool(runner.run(work))  # type: ignore[arg-type]


async def _serve_until_signal(context: ExecutionContext) -> bool:
    from aegisrt.serving.server import Server

    def report(line: str) -> None:
        print_text(line)
        sys.stdout.flush()

    return await Server(context, report).serve()


def _check(context: ExecutionContext, arguments: Arguments) -> int:
    from aegisrt.core.result import Err
    from aegisrt.serving.check import check_server

    checked: Result[list[str]] = check_server(context)
    if isinstance(checked, Err):
        return print_error(checked.error, arguments.format)
    if arguments.format == "json":
        print_json({"ok": True, "checked": checked.value})
    else:
        for line in checked.value:
            print_text(line)
    return 0
