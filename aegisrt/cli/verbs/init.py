"""`aegisrt init`: write a first manifest for an ONNX file, and made-up inputs to try it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from aegisrt.cli.arguments import Arguments, UsageParser, parse, verb_parser
from aegisrt.cli.output import engine_output, print_error

if TYPE_CHECKING:
    from aegisrt.backends.base.backend import RuntimeBackend
    from aegisrt.cli.init.inputs import Shapes
    from aegisrt.core.tensor import Array, Signature

DESCRIPTION = """Write a first manifest for an ONNX file, with the inputs that the file declares.
A file of made-up inputs is written next to it, so that it runs at once. No engine is needed,
except to try sizes for dimensions without a name: without ONNX Runtime, give them with --shape.

    aegisrt init --model net.onnx
    aegisrt run aegisrt.yaml

    aegisrt init --example                            a model of handwritten digits, its data and a manifest
    aegisrt init                                      for the only .onnx file in this folder
    aegisrt init --model net.onnx --backend tvm       on another engine; `aegisrt backends` lists them
    aegisrt init --model net.onnx --out net.yaml      under another name
    aegisrt init --model net.onnx --shape audio=1x512 with a size for a dynamic dimension

exit codes: 0 success, 1 the model is damaged or a file cannot be written, 2 a usage error, a missing model, or a file
that exists already."""

_LISTED = 5


@dataclass(frozen=True, slots=True)
class _Choice:
    name: str
    """The name of the option set in the base."""
    others: tuple[str, ...]
    loaded: type[RuntimeBackend[Any]]


def main(argv: Sequence[str]) -> int:
    """Return 0, 1 if the model is damaged or a file cannot be written, 2 for a mistake in the command line."""
    parser = _parser()
    arguments = parse(parser, argv, takes_key=True)
    if arguments.key and arguments.model:
        parser.error(f"two models: {arguments.key} and {arguments.model}")
    if arguments.example:
        _refuse_with_example(parser, arguments)
    target: str = arguments.out or ("deploy.yaml" if arguments.example else "aegisrt.yaml")
    if not target.endswith((".yaml", ".yml")):
        parser.error(f"--out {target}: the name of a manifest ends in .yaml or .yml")
    from aegisrt.core.result import ErrorCode, ResultError

    try:
        if arguments.example:
            from aegisrt.cli.init.example import write_example

            return write_example(Path(target), force=arguments.force, format=arguments.format)
        return _init(Path(target), arguments)
    except ResultError as failure:
        usage = (ErrorCode.INVALID_ARGUMENT, ErrorCode.NOT_FOUND, ErrorCode.ALREADY_EXISTS)
        code = print_error(failure.error, arguments.format)
        return 2 if failure.error.code in usage else code


def _parser() -> UsageParser:
    parser = verb_parser("init", DESCRIPTION, takes="[MODEL.onnx]")
    parser.key_is_file = True
    parser.add_argument("--model", metavar="FILE", help="an ONNX file (default: the only one in this folder)")
    parser.add_argument(
        "--example", action="store_true", help="write the packaged digits model, its data and a manifest"
    )
    parser.add_argument("--backend", metavar="KIND", help="the engine (default: onnx)")
    written = "the manifest to write (default: aegisrt.yaml, or deploy.yaml of the example)"
    parser.add_argument("--out", metavar="FILE", help=written)
    parser.add_argument(
        "--shape",
        metavar="NAME=SIZES",
        action="append",
        default=[],
        help="shape of a made-up input, such as 1x512; may be repeated",
    )
    parser.add_argument("--force", action="store_true", help="overwrite existing files")
    return parser


def _refuse_with_example(parser: UsageParser, arguments: Arguments) -> None:
    for given, option in (
        (arguments.key or arguments.model, "a model"),
        (arguments.backend, "--backend"),
        (arguments.shape, "--shape"),
    ):
        if given:
            parser.error(f"--example has a model and a manifest of its own; leave out {option}")


def _init(target: Path, arguments: Arguments) -> int:
    from aegisrt.cli.init.files import check_free, write
    from aegisrt.cli.init.inputs import GENERATED, read_shapes, save, sizes
    from aegisrt.cli.init.manifest import Start, text
    from aegisrt.cli.init.summary import print_summary

    model = Path(arguments.model or arguments.key or _only_model())
    signature = _read(model)
    for path in (model, target):
        _refuse_unencodable(path)
    backend = _backend(arguments.backend or "onnx")
    sample = target.with_suffix(GENERATED)
    given = read_shapes(arguments.shape, signature)
    shapes = sizes(signature, given)
    inputs, why_none = _inputs(signature, shapes)
    if inputs and backend.loaded.kind != "mock":  # which accepts any size
        from aegisrt.cli.init.accepted import check_accepted

        with engine_output():
            check_accepted(model, [spec for spec in signature.required if spec.name not in given], inputs)
    check_free([target, *([sample] if inputs else [])], force=arguments.force)
    devices = backend.loaded.capabilities.devices
    start = Start(
        model=model,
        signature=signature,
        target=target,
        backend=backend.name,
        others=backend.others,
        device=None if "cpu" in devices else devices[0],
        limits_sizes="max_dynamic_size" in backend.loaded.Options.model_fields,
        shapes=shapes,
        sample=sample.name if inputs else None,
    )
    content = text(start).encode()
    if inputs:
        write(sample, lambda stream: save(inputs, stream))
    write(target, lambda stream: stream.write(content))
    print_summary(start, backend.loaded, why_none, arguments.format)
    return 0


def _only_model() -> str:
    from aegisrt.core.result import ErrorCode, fail

    files = sorted(path.name for path in Path().glob("*.onnx"))
    if len(files) == 1:
        return files[0]
    if not files:
        raise fail(ErrorCode.NOT_FOUND, "this folder holds no .onnx file", "name one: aegisrt init --model FILE")
    shown = ", ".join(files[:_LISTED]) + (f" and {len(files) - _LISTED} more" if len(files) > _LISTED else "")
    hint = f"name one: aegisrt init --model {quote(files[0])}"
    raise fail(ErrorCode.INVALID_ARGUMENT, f"this folder holds {len(files)} .onnx files: {shown}", hint)


def _read(model: Path) -> Signature:
    """Return the ONNX file's signature; raise if it is missing, damaged or another kind of file."""
    from aegisrt.backends.files.onnx import read_onnx
    from aegisrt.backends.files.onnx_damage import damage
    from aegisrt.backends.files.readable import readable_file
    from aegisrt.core.result import ErrorCode, fail

    readable_file(model)
    if model.suffix.lower() != ".onnx":
        message, hint = (
            f"{model} is not an .onnx file",
            "export the model to ONNX; an ONNX file's name must end in `.onnx`",
        )
        raise fail(ErrorCode.INVALID_ARGUMENT, message, hint)
    if problem := damage(model, ""):
        raise fail(*problem)
    return read_onnx(model).signature


def _backend(wanted: str) -> _Choice:
    from aegisrt.backends.registry import backend_class, entries
    from aegisrt.core.resources import configs_dir
    from aegisrt.core.result import ErrorCode, fail
    from aegisrt.core.suggest import suggest
    from aegisrt.manifest.compose.base import option_sets

    kinds = [kind for kind, entry in entries().unwrap().items() if entry.is_name]
    sets = option_sets(kinds, configs_dir())
    name = wanted if wanted in sets else next((name for name, kind in sets.items() if kind == wanted), None)
    if name is None:
        hint = suggest(wanted, sorted({*sets, *sets.values()}), "backends")
        raise fail(ErrorCode.INVALID_ARGUMENT, f"--backend {wanted}: there is no such backend", hint)
    with engine_output():
        loaded = backend_class(sets[name]).unwrap()
    return _Choice(name, tuple(other for other in sets if other != name), loaded)


def _inputs(signature: Signature, shapes: Shapes) -> tuple[dict[str, Array] | None, str | None]:
    """Return made-up inputs, or None and the reason why there are none."""
    from aegisrt.cli.init.inputs import generate_inputs
    from aegisrt.core.result import ResultError

    if not signature.required:
        return None, None
    try:
        inputs = generate_inputs(signature, shapes)
    except ResultError as failure:
        return None, f"{failure.error.message} ({failure.error.hint})"
    return inputs, None if inputs else "they would need more than 256 MiB"


def _refuse_unencodable(path: Path) -> None:
    """Raise INVALID_ARGUMENT if an absolute path is not UTF-8, since a manifest cannot name it."""
    from aegisrt.core.result import ErrorCode, fail

    whole = path.absolute()
    try:
        str(whole).encode()
    except UnicodeEncodeError:
        message = f"the path {str(whole)!r} is not UTF-8, so a manifest cannot name it"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "rename it, or run in a UTF-8 locale") from None
