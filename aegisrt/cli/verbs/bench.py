"""`aegisrt bench`: measure a model of a manifest, and compare it with the bare engine."""

from __future__ import annotations

import json
import math
from argparse import ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aegisrt.cli.arguments import Arguments, UsageParser, parse, verb_parser
from aegisrt.cli.deployment import add_model, resolved_or_code
from aegisrt.cli.output import engine_output, error_json, finite, print_error, print_json

if TYPE_CHECKING:
    from aegisrt.bench.report import BenchReport, Load
    from aegisrt.bench.workload import Workload
    from aegisrt.core.result import Error
    from aegisrt.deployment import Resolved
    from aegisrt.runtime.context import ExecutionContext

SCENARIOS = ("single-stream", "multi-stream", "offline", "server")
DESCRIPTION = """Measure a model of a manifest on the rows of its sample. Without a sample it is sent zeros; sizes of
dynamic dimensions, except that of the rows, must then be given: --shape image=1x3x224x224.

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
    add_model(parser)
    parser.add_argument("--scenario", choices=SCENARIOS, default="single-stream", help="default: %(default)s")
    parser.add_argument(
        "--qps", type=_positive, metavar="N", help="server: arrivals per second (default: half the capacity)"
    )
    parser.add_argument(
        "--seconds", type=_positive, metavar="S", default=5.0, help="duration of each measurement (default: 5)"
    )
    parser.add_argument("--rows", type=_count, metavar="N", help="rows per request (default: 1)")
    parser.add_argument(
        "--shape",
        metavar="NAME=SIZES",
        action="append",
        default=[],
        help="send zeros of this shape, such as 1x3x224x224, instead of the sample; may be repeated",
    )
    parser.add_argument(
        "--against", choices=("bare",), help="also measure the engine's own call, interleaved in the same run"
    )
    parser.add_argument("--report", metavar="FILE", help="write the results to a .json, or as JUnit XML to an .xml")
    parser.add_argument(
        "--plot", metavar="FILE", help="also measure `server` at five loads, and plot them to an .svg or a .png"
    )
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
    from aegisrt.cli.logs import hide_failures
    from aegisrt.cli.render import status
    from aegisrt.cli.verbs.run import choose
    from aegisrt.core.result import Err, ResultError
    from aegisrt.deployment import run

    hide_failures()
    resolved = resolved_or_code(arguments)
    if isinstance(resolved, int):
        return resolved
    chosen = choose(resolved, arguments.model, parser)
    try:
        _check_files(arguments)
    except ResultError as failure:
        return max(2, print_error(failure.error, arguments.format))
    with status("loading"), engine_output():
        started = run(chosen)
    if isinstance(started, Err):
        return print_error(started.error, arguments.format)
    try:
        return _bench(started.value, chosen, arguments)
    finally:
        with engine_output():
            started.value.close()


def _check_usage(parser: UsageParser, arguments: Arguments) -> None:
    if arguments.qps is not None and arguments.scenario != "server":
        parser.error("--qps is for --scenario server")
    if arguments.rows is not None and arguments.shape:
        parser.error("--rows and --shape: the first size of --shape is the number of rows; leave --rows out")
    for option, suffixes in (("report", (".json", ".xml")), ("plot", (".svg", ".png"))):
        value = getattr(arguments, option)
        if value is not None and Path(value).suffix not in suffixes:
            parser.error(f"--{option} {value}: name a {' or a '.join(suffixes)} file")
        if value is not None and not Path(value).parent.is_dir():
            parser.error(f"--{option} {value}: the folder {Path(value).parent} does not exist")


def _check_files(arguments: Arguments) -> None:
    """Check that the report and the plot can be written, before minutes of measuring are lost."""
    from aegisrt.bench.files import check_writable

    if arguments.report:
        check_writable(Path(arguments.report))
    if arguments.plot:
        from aegisrt.bench.plot import MATPLOTLIB
        from aegisrt.core.optional import require

        require(MATPLOTLIB)
        check_writable(Path(arguments.plot))


def _bench(context: ExecutionContext, resolved: Resolved, arguments: Arguments) -> int:
    from aegisrt.bench.report import Load, benchmark, planned_s
    from aegisrt.bench.workload import Workload
    from aegisrt.cli.init.inputs import read_shapes
    from aegisrt.cli.render import seconds_bar
    from aegisrt.core.result import ResultError

    model = context.models[0]
    signature = context.signature(model)
    assert signature is not None
    try:
        shapes = read_shapes(arguments.shape, signature)
        load = Load(arguments.seconds, arguments.rows or 1, arguments.qps, arguments.against == "bare", shapes)
        workload = Workload.of(context, model, load.rows, shapes)
    except ResultError as failure:
        return max(2, print_error(failure.error, arguments.format))
    try:
        with seconds_bar("bench", planned_s(arguments.scenario, load)) as progress, engine_output():
            report = benchmark(workload, arguments.scenario, load, progress, _declared(resolved, model))
    except ResultError as failure:
        return print_error(failure.error, arguments.format)
    return _publish(workload, load, report, arguments)


def _declared(resolved: Resolved, model: str) -> dict[str, Any]:
    """Return what the manifest declares of the model and its backend, without values of the environment."""
    shown = resolved.composition.shown()
    backend = resolved.manifest.models[model].backend
    return {"model": shown["models"][model], "backend": shown["backends"][backend]}


def _publish(workload: Workload, load: Load, report: BenchReport, arguments: Arguments) -> int:
    """Print the table first: a plot or a report that fails afterwards loses no measurement."""
    from aegisrt.cli.bench_table import print_bench
    from aegisrt.core.result import ResultError

    document = report.to_json()
    errors: list[Error] = []
    if arguments.format != "json":
        print_bench(report)
    if arguments.plot:
        try:
            document["sweep"] = _plot(workload, load, report, Path(arguments.plot))
        except ResultError as failure:
            errors.append(failure.error)
    if arguments.report:
        try:
            _report(Path(arguments.report), report, document)
        except ResultError as failure:
            errors.append(failure.error)
    if arguments.format == "json":
        print_json({**document, "error": error_json(errors[0])} if errors else document)
    else:
        for error in errors:
            print_error(error, arguments.format)
    return 1 if report.failures or errors else 0


def _report(path: Path, report: BenchReport, document: dict[str, Any]) -> None:
    from aegisrt.bench.files import write

    text = json.dumps(finite(document), indent=2, default=str) + "\n"
    write(path, report.to_junit() if path.suffix == ".xml" else text.encode())


def _plot(workload: Workload, load: Load, report: BenchReport, path: Path) -> list[dict[str, Any]]:
    from aegisrt.bench.plot import write_plot
    from aegisrt.bench.report import sweep, sweep_s
    from aegisrt.cli.render import seconds_bar

    with seconds_bar("sweep", sweep_s(load)) as progress, engine_output():
        reports = sweep(workload, load, progress)
        write_plot(path, report, reports)
    points = []
    for one in reports:
        bare = {"bare": one.bare.to_json()} if one.bare is not None else {}
        points.append({"qps": round(one.load.qps or 0.0, 3), **one.ours.to_json(), **bare})
    return points
