"""`aegisrt bench`: measure a model of a manifest, and compare it with the bare engine."""

from __future__ import annotations

import json
import math
from argparse import ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aegisrt.cli.arguments import Arguments, UsageParser, parse, verb_parser
from aegisrt.cli.output import engine_output, print_error, print_json, print_text

if TYPE_CHECKING:
    from aegisrt.bench.report import BenchReport, Load
    from aegisrt.runtime.context import ExecutionContext

SCENARIOS = ("single-stream", "multi-stream", "offline", "server")
DESCRIPTION = """Measure a model of a manifest on the rows of its sample, or on zeros if it has no sample.

scenarios, named as in MLPerf:
  single-stream  one request after the other
  multi-stream   queries of 8 requests at once
  offline        all requests at once: throughput
  server         Poisson arrivals at --qps; a latency starts when its request was due

    aegisrt bench deploy.yaml --against bare
    aegisrt bench deploy.yaml --scenario server --qps 200 --seconds 30 --plot load.svg

exit codes: 0 success, 1 the model did not load or a request failed, 2 a usage error or an invalid manifest."""


def _parser() -> UsageParser:
    parser = verb_parser("bench", DESCRIPTION)
    parser.add_argument("--model", metavar="NAME", help="which model; needed if there are several")
    parser.add_argument("--scenario", choices=SCENARIOS, default="single-stream", help="default: %(default)s")
    parser.add_argument(
        "--qps", type=_positive, metavar="N", help="server: arrivals per second (default: half the capacity)"
    )
    parser.add_argument(
        "--seconds", type=_positive, metavar="S", default=5.0, help="duration of each measurement (default: 5)"
    )
    parser.add_argument("--rows", type=_count, metavar="N", default=1, help="rows per request (default: 1)")
    parser.add_argument(
        "--against", choices=("bare",), help="also measure the engine's own call, interleaved in the same run"
    )
    parser.add_argument("--report", metavar="FILE", help="write the results to a .json, or as JUnit XML to an .xml")
    parser.add_argument("--plot", metavar="FILE", help="also measure `server` at five loads, and plot them to an .svg")
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise ArgumentTypeError(f"`{text}` is not a number above 0")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ArgumentTypeError(f"`{text}` is not a whole number above 0")
    return int(text)


def main(argv: Sequence[str]) -> int:
    """Return 0, 1 if the model failed, 2 for a usage error or an invalid manifest."""
    parser = _parser()
    arguments = parse(parser, argv)
    _check_usage(parser, arguments)
    from aegisrt.cli.render import status
    from aegisrt.cli.verbs.run import choose
    from aegisrt.core.result import Err
    from aegisrt.deployment import resolve, run

    with engine_output():
        resolved = resolve(arguments.manifest, arguments.overrides, config_dir=arguments.config_dir)
    if isinstance(resolved, Err):
        return print_error(resolved.error, arguments.format)
    chosen = choose(resolved.value, arguments.model, parser)
    with status("loading"), engine_output():
        started = run(chosen)
    if isinstance(started, Err):
        return print_error(started.error, arguments.format)
    try:
        return _measure(started.value, arguments)
    finally:
        with engine_output():
            started.value.close()


def _check_usage(parser: UsageParser, arguments: Arguments) -> None:
    if arguments.qps is not None and arguments.scenario != "server":
        parser.error("--qps is for --scenario server")
    for option, suffixes in (("report", (".json", ".xml")), ("plot", (".svg",))):
        value = getattr(arguments, option)
        if value is not None and Path(value).suffix not in suffixes:
            parser.error(f"--{option} {value}: name a {' or a '.join(suffixes)} file")
        if value is not None and not Path(value).parent.is_dir():
            parser.error(f"--{option} {value}: the folder {Path(value).parent} does not exist")


def _measure(context: ExecutionContext, arguments: Arguments) -> int:
    from aegisrt.bench.report import Load, benchmark
    from aegisrt.cli.render import progress_bar
    from aegisrt.core.result import ResultError

    load = Load(arguments.seconds, arguments.rows, arguments.qps, arguments.against == "bare")
    model = context.models[0]
    try:
        with progress_bar("bench") as progress, engine_output():
            report = benchmark(context, model, arguments.scenario, load, progress)
        document = report.to_json()
        if arguments.plot:
            document["sweep"] = _plot(context, model, load, Path(arguments.plot))
        if arguments.report:
            _report(Path(arguments.report), report, document)
    except ResultError as failure:
        return print_error(failure.error, arguments.format)
    if arguments.format == "json":
        print_json(document)
    else:
        _print(report)
    return 1 if report.failures else 0


def _report(path: Path, report: BenchReport, document: dict[str, Any]) -> None:
    text = json.dumps(document, indent=2) + "\n"
    _write(path, report.to_junit() if path.suffix == ".xml" else text.encode())


def _write(path: Path, content: bytes) -> None:
    from aegisrt.core.system_error import system_error

    try:
        path.write_bytes(content)
    except OSError as error:
        raise system_error(error, f"{path} cannot be written") from None


def _plot(context: ExecutionContext, model: str, load: Load, path: Path) -> list[dict[str, Any]]:
    from aegisrt.bench.plot import latency_plot
    from aegisrt.bench.report import sweep
    from aegisrt.cli.render import progress_bar
    from aegisrt.core.result import ErrorCode, fail

    with progress_bar("sweep") as progress, engine_output():
        reports = sweep(context, model, load, progress)
    lines = {
        f"{kind} {name}": [
            (report.load.qps or 0.0, latency)
            for report, summary in pairs
            if (latency := summary.latency_us[name]) is not None
        ]
        for kind, pairs in (
            ("aegisrt", [(report, report.ours) for report in reports]),
            ("bare", [(report, report.bare) for report in reports if report.bare is not None]),
        )
        for name in ("p50", "p99")
    }
    if not any(lines.values()):
        message = "no request of the sweep succeeded, so there is nothing to plot"
        raise fail(ErrorCode.FAILED_PRECONDITION, message, "run without --plot to see the errors")
    title = f"{model} on {reports[0].backend}: latency against load (server scenario)"
    _write(path, latency_plot(title, {name: line for name, line in lines.items() if line}).encode())
    return [{"qps": round(report.load.qps or 0.0, 3), **report.ours.to_json()} for report in reports]


def _print(report: BenchReport) -> None:
    from aegisrt.cli.render import print_table

    names = ("p50", "p90", "p99", "mean")
    rows = [("aegisrt", report.ours), *([("bare", report.bare)] if report.bare is not None else [])]
    cells = [
        (
            kind,
            *(_shown(summary.latency_us[name], 1) for name in names),
            f"{summary.throughput_per_s:.0f}",
            str(summary.count),
        )
        for kind, summary in rows
    ]
    if report.bare is not None and report.ours.count:
        ratio = report.ours.over(report.bare)
        cells.append(("ratio", *(_shown(ratio[name], 3) for name in (*names, "throughput")), ""))
    rate = f" at {report.load.qps:.0f} requests per second" if report.load.qps is not None else ""
    title = f"{report.scenario}{rate}, model {report.model} on {report.backend}, {report.load.seconds:g} s"
    print_table(("", *(f"{name} us" for name in names), "per second", "count"), cells, title=title)
    for failure in report.failures:
        count, _, error = failure.partition(" ")
        print_text(f"{count} requests failed with {error}")


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
