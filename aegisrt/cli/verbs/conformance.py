"""`aegisrt conformance`: check that backends meet the contract."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aegisrt.cli.arguments import Arguments, UsageParser, parse, verb_parser
from aegisrt.cli.output import engine_output, print_error, print_json, warn
from aegisrt.core.result import Err, Ok, Result, ResultError

if TYPE_CHECKING:
    from aegisrt.conformance.options import ConformanceOptions
    from aegisrt.conformance.report import Report

DESCRIPTION = """Check that backends meet the contract. Without --backend, check every known kind.

    aegisrt conformance --backend onnx                        all checks, on the CPU
    aegisrt conformance conformance=quick                     another set of checks: full, quick, contract, files, ...
    aegisrt conformance --check 'model-files.*' --list        list checks without running them
    aegisrt conformance -m conformance.backend=mock,onnx conformance.device=cpu,cuda

Overrides change the group `conformance`: `conformance.cycles=100`, `conformance.options.intra_op_threads=1`. A sweep
(-m) runs every combination. Checks run in processes of their own, so a crash of an engine is a failed check.

exit codes: 0 no check failed (checks of features that are not declared or not installed are skipped, and never
counted as passed), 1 a check failed, 2 a usage error."""


def main(argv: Sequence[str]) -> int:
    """Return 0 if no check failed, 1 if one did, 2 for a usage error."""
    arguments = parse(_parser(), argv)
    cells = _cells(arguments)
    if isinstance(cells, Err):
        return max(2, print_error(cells.error, arguments.format))
    if arguments.list:
        return _list(cells.value, arguments.format)
    try:
        with engine_output():
            reports = [_judge(cell) for cell in cells.value]
    except ResultError as failure:
        return max(2, print_error(failure.error, arguments.format))
    from aegisrt.conformance.report import Report

    report = Report.merged(reports)
    if arguments.format == "json":
        print_json(report.to_json())
    else:
        from aegisrt.cli.conformance_table import print_report

        print_report(report)
    for file in arguments.report:
        try:
            report.write(file)
        except OSError as error:
            warn(f"aegisrt conformance: {file} cannot be written: {error.strerror}")
            return 1
    not_run = [
        reason
        for cell, one in zip(cells.value, reports, strict=True)
        if cell.require_installed and (reason := one.not_run) is not None
    ]
    for reason in not_run:
        warn(f"aegisrt conformance: not run: {reason}")
    return 1 if not_run else report.exit_code


def _parser() -> UsageParser:
    parser = verb_parser("conformance", DESCRIPTION, takes="[OVERRIDE...]")
    parser.add_argument(
        "--backend",
        action="append",
        default=[],
        metavar="KIND",
        help="a backend kind, or an option set (`trt`); may be repeated",
    )
    parser.add_argument("--device", metavar="KIND", help="a device kind: cpu, cuda, cuda:1")
    parser.add_argument(
        "--check", action="append", default=[], metavar="GLOB", help="only the checks with these ids; may be repeated"
    )
    parser.add_argument(
        "--report",
        action="append",
        default=[],
        type=_report_file,
        metavar="FILE",
        help="write a report to a .json or .xml; may be repeated",
    )
    parser.add_argument("--list", action="store_true", help="list the checks and their needs; run nothing")
    parser.add_argument("-m", "--multirun", action="store_true", help="a sweep: every combination of `a=1,2 b=x,y`")
    return parser


def _report_file(name: str) -> str:
    if not name.endswith((".json", ".xml")):
        raise argparse.ArgumentTypeError(f"{name} does not end in .json or .xml")
    if not Path(name).absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"the folder of {name} does not exist")
    return name


def _cells(arguments: Arguments) -> Result[list[ConformanceOptions]]:
    """Return the options of each run: those of each cell of a sweep, for each backend."""
    from aegisrt.backends.registry import entries
    from aegisrt.conformance.configured import configured
    from aegisrt.manifest.compose.sweep import expand_sweep

    swept = expand_sweep(arguments.overrides) if arguments.multirun else Ok([arguments.overrides])
    if isinstance(swept, Err):
        return swept
    known = entries()
    if isinstance(known, Err):
        return known
    given: dict[str, Any] = {}
    if arguments.check:
        given["checks"] = tuple(arguments.check)
    if arguments.device:
        given["device"] = arguments.device
    cells: list[ConformanceOptions] = []
    for overrides in swept.value:
        options = configured(overrides, config_dir=arguments.config_dir)
        if isinstance(options, Err):
            return options
        kinds = arguments.backend or ([options.value.backend] if options.value.backend else list(known.value))
        cells += [options.value.model_copy(update={**given, "backend": kind}) for kind in kinds]
    return Ok(cells)


def _judge(options: ConformanceOptions) -> Report:
    from aegisrt.cli.render import progress_bar
    from aegisrt.conformance.kit import Step, judge

    assert options.backend is not None
    with progress_bar(f"{options.backend} on {options.device}") as advance:

        def report_progress(step: Step) -> None:
            advance(step.index, step.total, step.check.id)

        return judge(options.backend, options, report_progress)


def _list(cells: list[ConformanceOptions], format: str) -> int:  # noqa: A002
    from aegisrt.conformance.catalogue import select
    from aegisrt.conformance.check import Check

    chosen: dict[str, Check] = {}
    try:
        for cell in cells:
            chosen.update({check.id: check for check in select(cell.checks, cell.exclude)})
    except ResultError as failure:
        return max(2, print_error(failure.error, format))
    if format == "json":
        print_json([check.to_json() for check in chosen.values()])
        return 0
    from aegisrt.cli.render import print_table

    rows = [(check.id, check.rule, ", ".join(need.text for need in check.needs)) for check in chosen.values()]
    print_table(("check", "rule", "needs"), rows)
    return 0
