"""`aegisrt doctor`: diagnose this machine: each problem with the command that fixes it."""

from __future__ import annotations

from collections.abc import Sequence

from aegisrt.cli.arguments import parse, verb_parser
from aegisrt.cli.output import engine_output, print_json

DESCRIPTION = """Check the driver, the GPUs, the engines and the cache.
Print each problem with the command that fixes it.

    aegisrt doctor
    aegisrt doctor --json

exit codes: 0 no check failed, 1 a check failed, 2 a usage error."""


def main(argv: Sequence[str]) -> int:
    """Return 0, or 1 if a check failed."""
    arguments = parse(verb_parser("doctor", DESCRIPTION, takes=""), argv)
    from aegisrt.doctor.diagnose import diagnose
    from aegisrt.doctor.environment import examine

    with engine_output():
        checks = diagnose(examine())
    failed = any(check.status == "fail" for check in checks)
    if arguments.format == "json":
        print_json({"ok": not failed, "checks": [check.to_json() for check in checks]})
    else:
        from aegisrt.cli.render import print_table

        rows = [(check.status, check.id, check.detail, check.fix or "") for check in checks]
        print_table(("status", "check", "detail", "what to do"), rows)
    return int(failed)
