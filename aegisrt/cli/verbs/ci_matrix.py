"""`aegisrt ci-matrix`: print the cells of configs/ci/ as a GitHub matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aegisrt.cli.arguments import Arguments, UsageParser, parse, verb_parser
from aegisrt.cli.output import engine_output, print_error, print_json

if TYPE_CHECKING:
    from aegisrt.ci.matrix import MatrixEntry, Trigger

DESCRIPTION = """Print the CI matrix as one line of JSON, which a GitHub workflow passes through `fromJSON` to
`strategy.matrix`. Each file of configs/ci/, or of ci/ in --config-dir, is one cell; every cell is checked first.

    aegisrt ci-matrix                                     every cell
    aegisrt ci-matrix --event pull_request                the cells that a pull request runs
    aegisrt ci-matrix ci=cpu-onnx ci.timeout_minutes=60   one cell, with another limit
    aegisrt ci-matrix -m ci.python=3.11,3.12              a sweep: every cell once with each value
    aegisrt ci-matrix -m ci=integration-trt backends.trt.precision=fp32,fp16

`ci=NAME` chooses a cell, `ci.FIELD=VALUE` changes a field of each; other overrides apply to the packaged demo, and are
passed to the cell. `--format text` prints a table of all cells, with the reason why one does not run.

exit codes: 0 success, 2 a usage error or an invalid cell."""


def main(argv: Sequence[str]) -> int:
    """Return 0, or 2 for a usage error or an invalid cell."""
    parser = _parser()
    arguments = parse(parser, argv)
    from aegisrt.ci.matrix import Trigger, make_matrix
    from aegisrt.core.result import Err

    trigger = _trigger(arguments, parser, Trigger)
    with engine_output():
        matrix = make_matrix(arguments.overrides, multirun=arguments.multirun, config_dir=arguments.config_dir)
    if isinstance(matrix, Err):
        return max(2, print_error(matrix.error, arguments.format))
    entries = [entry for entry in matrix.value if _is_asked(entry, arguments.runner)]
    if arguments.format == "text":
        _print_table(entries, trigger)
    else:
        runs = [entry for entry in entries if trigger is None or trigger.leaves_out(entry.cell.options) is None]
        print_json({"include": [entry.to_json() for entry in runs]})
    return 0


def _parser() -> UsageParser:
    parser = verb_parser("ci-matrix", DESCRIPTION, ("text", "json", "github"), takes="[OVERRIDE...]")
    parser.set_defaults(format="matrix")  # the JSON, with errors as text
    parser.add_argument("-m", "--multirun", action="store_true", help="a sweep: every combination of `a=1,2 b=x,y`")
    parser.add_argument(
        "--event",
        choices=("pull_request", "push", "schedule", "workflow_dispatch"),
        help="only the cells that this event runs",
    )
    parser.add_argument("--ref", help="the pushed ref: refs/heads/NAME (default: the default branch)")
    parser.add_argument("--default-branch", metavar="NAME", help="the name of the default branch")
    parser.add_argument("--runner", choices=("hosted", "self-hosted"), help="only the cells for these runners")
    return parser


def _trigger(arguments: Arguments, parser: UsageParser, make: type[Trigger]) -> Trigger | None:
    ref, branch = arguments.ref, arguments.default_branch
    if arguments.event is None:
        if ref is not None or branch is not None:
            parser.error("--ref and --default-branch need --event")
        return None
    if arguments.event == "push" and ref is not None and not branch:
        parser.error("--ref needs --default-branch NAME: a push to the default branch runs more cells")
    return make(arguments.event, ref, branch or "")


def _is_asked(entry: MatrixEntry, runner: str | None) -> bool:
    return runner is None or entry.cell.options.is_hosted == (runner == "hosted")


def _print_table(entries: Sequence[MatrixEntry], trigger: Trigger | None) -> None:
    from aegisrt.cli.render import print_table

    rows = []
    for entry in entries:
        options = entry.cell.options
        reason = trigger.leaves_out(options) if trigger else None
        state = f"no: {reason}" if reason else "yes" if trigger else options.when
        device = f"{options.backend} on {options.device}"
        rows.append((entry.name, ", ".join(options.runs_on), entry.python, device, ", ".join(options.extras), state))
    print_table(("cell", "runner", "Python", "proves", "extras", "runs"), rows)
