"""`aegisrt run`: deploy a manifest, call one model once, and print its outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aegisrt.cli.arguments import Arguments, UsageParser, parse, verb_parser
from aegisrt.cli.deployment import add_inputs, add_model, resolved_or_code
from aegisrt.cli.output import engine_output, print_error, print_json

if TYPE_CHECKING:
    from aegisrt.core.request import ExecutionResult
    from aegisrt.core.result import Error
    from aegisrt.deployment import Resolved
    from aegisrt.runtime.building.sample import Sample
    from aegisrt.runtime.context import ExecutionContext

DESCRIPTION = """Deploy a manifest, call one model once, and print its outputs.
Without --input the model's sample is used. If the sample has labels, the accuracy is printed as well.

    aegisrt run                                             the packaged demo
    aegisrt run deploy.yaml --model digits --input image=digit.npy --output answer.npz
    aegisrt run deploy.yaml models.digits.backend=tvm       another engine
    aegisrt run deploy.yaml env=prod --json                 an environment, and output as JSON

exit codes: 0 success, 1 the model did not load or the call failed, 2 a usage error or an invalid manifest."""

_MADE_UP = """the inputs are made up, and the model may not accept them: give real ones with --input NAME=FILE, or
make up other sizes with `aegisrt init --shape NAME=SIZES --force`"""


def _parser() -> UsageParser:
    parser = verb_parser("run", DESCRIPTION)
    add_model(parser)
    add_inputs(parser)
    parser.add_argument("--output", metavar="FILE", help="write the outputs to a .npz, .json or .npy")
    return parser


def main(argv: Sequence[str]) -> int:
    """Return 0, 1 if the model failed, 2 for a usage error or an invalid manifest."""
    parser = _parser()
    arguments = parse(parser, argv)
    from aegisrt.cli.logs import hide_failures
    from aegisrt.core.result import Err
    from aegisrt.deployment import run

    hide_failures()
    resolved = resolved_or_code(arguments)
    if isinstance(resolved, int):
        return resolved
    chosen = choose(resolved, arguments.model, parser)
    from aegisrt.cli.render import status

    with status(f"loading {arguments.model or ''}"), engine_output():
        started = run(chosen)
    if isinstance(started, Err):
        return print_error(started.error, arguments.format)
    try:
        return _call(chosen, started.value, arguments)
    finally:
        with engine_output():
            started.value.close()


def choose(resolved: Resolved, name: str | None, parser: UsageParser) -> Resolved:
    """Return the deployment reduced to the chosen model, so that no other is loaded."""
    from aegisrt.core.suggest import suggest

    known = [node.name for node in resolved.graph.models]
    if name is None and len(known) != 1:
        parser.error(f"name the model: --model {'|'.join(known)}" if known else "the manifest declares no model")
    if name is not None and name not in known:
        parser.error(f"`{name}` is not a model of the manifest; {suggest(name, known, 'models')}")
    nodes = tuple(node for node in resolved.graph.nodes if node.kind != "model" or node.name == (name or known[0]))
    return replace(resolved, graph=replace(resolved.graph, nodes=nodes))


def _call(resolved: Resolved, context: ExecutionContext, arguments: Arguments) -> int:
    from aegisrt.cli.init.inputs import GENERATED
    from aegisrt.cli.tensors.saved_outputs import check_output, write_outputs
    from aegisrt.core.request import ExecutionRequest
    from aegisrt.core.result import Err, ResultError

    model = context.models[0]
    options = None if arguments.input else resolved.manifest.models[model].sample
    made_up = options is not None and options.inputs.name.endswith(GENERATED)
    try:
        sample = inputs_of(resolved, context, model, arguments.input)
        signature = context.signature(model)
        if arguments.output:
            check_output(Path(arguments.output), len(signature.outputs) if signature else 0)
    except ResultError as failure:
        if made_up:
            return print_error(_with_made_up_hint(failure.error), arguments.format)
        return max(2, print_error(failure.error, arguments.format))
    with engine_output():
        result = context.execute(ExecutionRequest(model=model, inputs=sample.inputs))
    if isinstance(result, Err):
        error = result.error
        return print_error(_with_made_up_hint(error) if made_up else error, arguments.format)
    if arguments.output:
        try:
            write_outputs(Path(arguments.output), result.value.outputs)
        except ResultError as failure:
            return print_error(failure.error, arguments.format)
    _print(result.value, sample, made_up, arguments.format)
    return 0


def _with_made_up_hint(error: Error) -> Error:
    """Return the error with the hint that its inputs were made up, before any hint about what is wrong with them."""
    from aegisrt.core.result import ErrorCode

    if error.hint is None or error.code is not ErrorCode.INVALID_ARGUMENT:
        return replace(error, hint=error.hint or _MADE_UP)
    return replace(error, hint=f"{_MADE_UP} ({error.hint})")


def inputs_of(resolved: Resolved, context: ExecutionContext, model: str, files: Sequence[str]) -> Sample:
    """Return the inputs from `files`, or else the model's sample; raise a ResultError that names the file."""
    from aegisrt.cli.tensors.inputs import read_inputs
    from aegisrt.core.result import ErrorCode, fail
    from aegisrt.runtime.building.input_budget import InputBudget
    from aegisrt.runtime.building.sample import Sample, read_sample

    signature = context.signature(model)
    assert signature is not None
    budget = InputBudget(resolved.manifest.limits.input_bytes)
    if files:
        return Sample(read_inputs(files, signature, budget))
    options = resolved.manifest.models[model].sample
    if options is None and not signature.required:
        return Sample({})
    if options is None:
        takes = ", ".join(str(spec) for spec in signature.inputs)
        hint = f"give them with --input NAME=FILE, or declare models.{model}.sample.inputs; it takes {takes}"
        raise fail(ErrorCode.INVALID_ARGUMENT, f"model `{model}` has no sample, and no --input was given", hint)
    return read_sample(options, signature, budget)


def _print(result: ExecutionResult, sample: Sample, made_up: bool, format: str) -> None:  # noqa: A002
    from aegisrt.cli.tensors.answer import accuracy, print_answer

    score = accuracy(result.outputs, sample.labels)
    if format != "json":
        print_answer(result, sample, score)
        if made_up:
            print("the inputs were made up by `aegisrt init`: give real ones with --input NAME=FILE")
        return
    from aegisrt.cli.tensors.saved_outputs import plain
    from aegisrt.core.tensor import DataType

    outputs: dict[str, Any] = {
        name: {"dtype": DataType.of(value.dtype) or str(value.dtype), "shape": list(value.shape), "data": plain(value)}
        for name, value in result.outputs.items()
    }
    document: dict[str, Any] = {
        "ok": True,
        "model": result.model,
        "backend": result.backend,
        "device": result.device,
        "outputs": outputs,
        "timings_ns": result.timings._asdict(),
        "metadata": result.metadata,
    }
    if made_up:
        document["made_up_inputs"] = True
    print_json(document if score is None else {**document, "accuracy": score})
