"""`aegisrt compare`: run one model on several backends, and compare their outputs and times."""

from __future__ import annotations

import json
import math
from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aegisrt.cli.arguments import Arguments, UsageParser, parse, verb_parser
from aegisrt.cli.deployment import add_inputs, add_model, resolve_arguments
from aegisrt.cli.output import engine_output, print_error, print_json, print_text, shown_line

if TYPE_CHECKING:
    from aegisrt.comparison.report import ComparisonReport
    from aegisrt.core.result import Error, Result
    from aegisrt.core.tensor import Array
    from aegisrt.deployment import Resolved
    from aegisrt.runtime.context import ExecutionContext

DESCRIPTION = """Run one model on several backends with the same inputs, and compare outputs and times.
The first backend is the reference. Without --input the model's sample is used; without a sample, made-up inputs.
An element differs if |got - wanted| > atol + rtol * |wanted|. The defaults are those of each output's dtype: for FP32
an rtol of 0.001, and an atol of 0.0001 times the largest value of the output; integers and strings must be equal.

    aegisrt compare --backends onnx,tvm                     the packaged demo
    aegisrt compare deploy.yaml --model digits --backends onnx,trt --atol 0.01
    aegisrt compare deploy.yaml --backends onnx,tvm --input image=digit.npy --report compare.xml

exit codes: 0 every backend agrees, 1 one differs or did not answer, 2 a usage error or an invalid manifest."""


def _parser() -> UsageParser:
    parser = verb_parser("compare", DESCRIPTION)
    add_model(parser)
    parser.add_argument(
        "--backends",
        metavar="A,B,...",
        type=_names,
        default=[],
        help="names of option sets under `backends`; the first is the reference",
    )
    add_inputs(parser)
    parser.add_argument("--atol", metavar="X", type=_tolerance, help="absolute tolerance of every output")
    parser.add_argument("--rtol", metavar="X", type=_tolerance, help="relative tolerance of every output")
    parser.add_argument("--report", metavar="FILE", help="write the results to a .json, or as JUnit XML to an .xml")
    return parser


def _names(text: str) -> list[str]:
    return [name for name in (part.strip() for part in text.split(",")) if name]


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value >= 0 and math.isfinite(value)):
        raise ArgumentTypeError(f"`{text}` is not a number of at least 0")
    return value


def main(argv: Sequence[str]) -> int:
    """Return 0 if all agree, 1 if one differs or fails, 2 for a usage error or an invalid manifest."""
    parser = _parser()
    arguments = parse(parser, argv)
    _check_usage(parser, arguments)
    from aegisrt.cli.logs import hide_failures
    from aegisrt.core.result import Err, ResultError

    hide_failures()
    deployments = _deployments(parser, arguments)
    if isinstance(deployments, Err):
        return max(2, print_error(deployments.error, arguments.format))
    try:
        report, made_up = _compare(deployments.value, arguments)
    except ResultError as failure:  # an input does not fit
        return max(2, print_error(failure.error, arguments.format))
    if isinstance(report, Err):
        return print_error(report.error, arguments.format)
    return _show(report.value, arguments, made_up=made_up)


def _check_usage(parser: UsageParser, arguments: Arguments) -> None:
    if len(arguments.backends) < 2:
        parser.error("name at least two backends: --backends onnx,tvm; `aegisrt backends` lists them")
    if repeated := sorted({name for name in arguments.backends if arguments.backends.count(name) > 1}):
        parser.error(f"--backends names {', '.join(repeated)} twice")
    report = arguments.report
    if report is not None and Path(report).suffix not in (".json", ".xml"):
        parser.error(f"--report {report}: name a .json or a .xml file")
    if report is not None and not Path(report).absolute().parent.is_dir():
        parser.error(f"--report {report}: the folder {Path(report).parent} does not exist")


def _deployments(parser: UsageParser, arguments: Arguments) -> Result[list[tuple[str, Resolved]]]:
    """Return the deployment of the one model on each backend; all are checked before anything runs."""
    from aegisrt.cli.verbs.run import choose
    from aegisrt.core.result import Err, Ok
    from aegisrt.core.suggest import suggest
    from aegisrt.deployment import resolve

    first = resolve_arguments(arguments)
    if isinstance(first, Err):
        return first
    model = choose(first.value, arguments.model, parser).graph.models[0].name
    known = first.value.manifest.backends
    deployments = []
    for name in arguments.backends:
        if name not in known:
            parser.error(f"`{name}` is not a backend of the manifest; {suggest(name, list(known), 'backends')}")
        overrides = [*arguments.overrides, f"models.{model}.backend={name}"]
        if getattr(known[name], "outputs", None) == "device":  # they are compared on the host
            overrides.append(f"backends.{name}.outputs=host")
        with engine_output():
            resolved = resolve(arguments.manifest, overrides, config_dir=arguments.config_dir)
        if isinstance(resolved, Err):
            return resolved
        deployments.append((name, choose(resolved.value, model, parser)))
    return Ok(deployments)


def _compare(deployments: list[tuple[str, Resolved]], arguments: Arguments) -> tuple[Result[ComparisonReport], bool]:
    """Return the report, and whether the inputs are made up."""
    from aegisrt.cli.render import progress_bar
    from aegisrt.comparison.engines import Tolerances, compare_engines
    from aegisrt.core.result import Err

    reference, first = deployments[0]
    made_up = False

    def inputs_of(context: ExecutionContext) -> Mapping[str, Array]:
        nonlocal made_up
        inputs, made_up = _inputs(first, context, arguments.input)
        return inputs

    with progress_bar("compare") as advance, engine_output():
        names = [name for name, _ in deployments]
        compared = compare_engines(
            deployments,
            inputs_of,
            Tolerances(arguments.atol, arguments.rtol),
            lambda name: advance(names.index(name), len(names), name),
        )
    if isinstance(compared, Err):
        compared = Err(replace(compared.error, message=f"the reference `{reference}`: {compared.error.message}"))
    return compared, made_up


def _inputs(resolved: Resolved, context: ExecutionContext, files: Sequence[str]) -> tuple[Mapping[str, Array], bool]:
    """Return the inputs, and whether they are made up."""
    from aegisrt.cli.init.inputs import generate_inputs, sizes
    from aegisrt.cli.verbs.run import inputs_of
    from aegisrt.core.result import ErrorCode, fail

    model = context.models[0]
    signature = context.signature(model)
    assert signature is not None
    if files or resolved.manifest.models[model].sample is not None or not signature.required:
        return inputs_of(resolved, context, model, files).inputs, False
    made_up = generate_inputs(signature, sizes(signature, {}))
    if made_up is None:
        message = f"model `{model}` has no sample, and made-up inputs would need more than 256 MiB"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "give inputs with --input NAME=FILE")
    return made_up, True


def _show(report: ComparisonReport, arguments: Arguments, *, made_up: bool) -> int:
    """Print and write the report; return the exit code."""
    from aegisrt.core.result import ResultError

    document = report.to_json() | {"made_up_inputs": made_up}
    if arguments.format == "json":
        print_json(document)
    else:
        _print(report, made_up=made_up)
    if arguments.report:
        try:
            _write(Path(arguments.report), report, document)
        except ResultError as failure:
            return print_error(failure.error, "text")
    return 0 if report.ok else 1


def _write(path: Path, report: ComparisonReport, document: Mapping[str, Any]) -> None:
    from aegisrt.core.fresh_file import write_file
    from aegisrt.core.system_error import system_error

    text = json.dumps(document, indent=2) + "\n"
    try:
        write_file(path, report.to_junit() if path.suffix == ".xml" else text.encode())
    except OSError as error:
        raise system_error(error, f"{path} cannot be written") from None


def _print(report: ComparisonReport, *, made_up: bool) -> None:
    from aegisrt.cli.render import print_table
    from aegisrt.comparison.report import verdict

    rows = [
        (
            result.backend,
            name,
            _number(output.max_abs, output.max_abs_at),
            _number(output.max_rel, output.max_rel_at),
            "-" if output.top1 is None else f"{output.top1:.4g}",
            verdict(output),
        )
        for result in report.results
        for name, output in result.outputs.items()
    ]
    reference = report.results[0].backend
    title = f"model {report.model}, outputs compared with those of {reference}"
    print_table(("backend", "output", "max abs", "max rel", "top-1", ""), rows, title=title)
    times = [(result.backend, result.latency_us) for result in report.results if result.latency_us is not None]
    print_text("median of a call: " + ", ".join(f"{name} {latency_us:.0f} us" for name, latency_us in times))
    for result in report.results:
        if result.error is not None:
            _print_failure(result.backend, result.error)
    if made_up:
        print_text("the inputs were made up: give real ones with --input NAME=FILE")


def _print_failure(backend: str, error: Error) -> None:
    print_text(shown_line(f"{backend}: {error.code}: {error.message}"))
    if error.log:
        print_text(f"    the log is {error.log}")
    if error.hint:
        print_text(f"    {error.hint}")


def _number(value: float | None, at: Sequence[int] | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3g}" + (f" at [{','.join(map(str, at))}]" if at is not None and value else "")
