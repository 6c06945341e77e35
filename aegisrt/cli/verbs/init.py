"""`aegisrt init`: writes a first manifest for an ONNX file, and inputs to try it with."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from aegisrt.cli.arguments import Arguments, UsageParser, parse, verb_parser
from aegisrt.cli.output import print_error

if TYPE_CHECKING:
    from aegisrt.backends.base.backend import RuntimeBackend
    from aegisrt.cli.init.inputs import Shapes
    from aegisrt.core.tensor import Array, Signature

DESCRIPTION = """Write a first manifest for an ONNX file, with its inputs as the file declares them.
Beside it lie inputs that are made up, so that it runs as it is. No engine is needed to write it.

    aegisrt init --model net.onnx
    aegisrt run aegisrt.yaml

    aegisrt init                                      of the one .onnx file in this folder
    aegisrt init --model net.onnx --backend tvm       on another engine; `aegisrt backends` lists them
    aegisrt init --model net.onnx --out net.yaml      under another name
    aegisrt init --model net.onnx --shape audio=1x512 with a size that a dynamic dimension takes

exit codes: 0 written, 1 the model is damaged or a file cannot be written, 2 usage, or a file that is not there or is
there already."""

_LISTED = 5


@dataclass(frozen=True, slots=True)
class _Choice:
    name: str
    """Of the option set in the base."""
    others: tuple[str, ...]
    loaded: type[RuntimeBackend[Any]]


def main(words: Sequence[str]) -> int:
    """Return 0, 1 where the model is damaged or nothing can be written, 2 for what the command line says wrongly."""
    parser = _parser()
    arguments = parse(parser, words, takes_key=True)
    if arguments.key and arguments.model:
        parser.error(f"two models: {arguments.key} and {arguments.model}")
    target: str = arguments.out
    if not target.endswith((".yaml", ".yml")):
        parser.error(f"--out {target}: a manifest's name ends in .yaml or .yml")
    from aegisrt.core.result import ErrorCode, ResultError

    try:
        return _init(Path(target), arguments)
    except ResultError as failure:
        asked = (ErrorCode.INVALID_ARGUMENT, ErrorCode.NOT_FOUND, ErrorCode.ALREADY_EXISTS)
        code = print_error(failure.error, arguments.format)
        return 2 if failure.error.code in asked else code


def _parser() -> UsageParser:
    parser = verb_parser("init", DESCRIPTION, takes="[MODEL.onnx]")
    parser.add_argument("--model", metavar="FILE", help="an ONNX file; may be left out where the folder holds one")
    parser.add_argument("--backend", metavar="KIND", default="onnx", help="the engine (default: %(default)s)")
    parser.add_argument("--out", metavar="FILE", default="aegisrt.yaml", help="where to write (default: %(default)s)")
    parser.add_argument(
        "--shape", metavar="NAME=SIZES", action="append", default=[], help="of a made-up input: 1x512; repeats"
    )
    parser.add_argument("--force", action="store_true", help="write over files that are there")
    return parser


def _init(target: Path, arguments: Arguments) -> int:
    from aegisrt.cli.init.answer import tell
    from aegisrt.cli.init.inputs import GENERATED, read_shapes, save, sizes
    from aegisrt.cli.init.manifest import Start, text

    model = Path(arguments.model or arguments.key or _only_model())
    signature = _read(model)
    for path in (model, target):
        _refuse_unencodable(path)
    backend = _backend(arguments.backend)
    sample = target.with_suffix(GENERATED)
    shapes = sizes(signature, read_shapes(arguments.shape, signature))
    inputs, why_none = _inputs(signature, shapes)
    _check_target(target, sample if inputs else None, force=arguments.force)
    can = backend.loaded.capabilities
    start = Start(
        model=model,
        signature=signature,
        target=target,
        backend=backend.name,
        others=backend.others,
        device=None if "cpu" in can.devices else can.devices[0],
        limits_sizes="max_dynamic_size" in backend.loaded.Options.model_fields,
        shapes=shapes,
        sample=sample.name if inputs else None,
    )
    content = text(start).encode()
    if inputs:
        _write(sample, lambda stream: save(inputs, stream))
    _write(target, lambda stream: stream.write(content))
    tell(start, backend.loaded, why_none, arguments.format)
    return 0


def _only_model() -> str:
    from aegisrt.core.result import ErrorCode, fail

    found = sorted(path.name for path in Path().glob("*.onnx"))
    if len(found) == 1:
        return found[0]
    if not found:
        raise fail(ErrorCode.NOT_FOUND, "this folder holds no .onnx file", "name one: aegisrt init --model FILE")
    shown = ", ".join(found[:_LISTED]) + (f" and {len(found) - _LISTED} more" if len(found) > _LISTED else "")
    hint = f"say which: aegisrt init --model {found[0]}"
    raise fail(ErrorCode.INVALID_ARGUMENT, f"this folder holds {len(found)} .onnx files: {shown}", hint)


def _read(model: Path) -> Signature:
    """Return what the ONNX file takes and answers; raise for one that is missing, damaged, or something else."""
    from aegisrt.backends.files.onnx import read_onnx
    from aegisrt.backends.files.onnx_damage import damage
    from aegisrt.backends.files.readable import readable_file
    from aegisrt.core.result import ErrorCode, fail

    readable_file(model)
    if model.suffix.lower() != ".onnx":
        message, hint = f"{model} is no .onnx file", "export the model to ONNX, or name its file `.onnx` if it is one"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, hint)
    if problem := damage(model, ""):
        raise fail(*problem)
    return read_onnx(model).signature


def _backend(asked: str) -> _Choice:
    from aegisrt.backends.registry import backend_class, entries
    from aegisrt.core.resources import configs_dir
    from aegisrt.core.result import ErrorCode, fail
    from aegisrt.core.suggest import suggest
    from aegisrt.manifest.compose.base import option_sets

    sets = option_sets(entries().unwrap(), configs_dir())
    name = asked if asked in sets else next((name for name, kind in sets.items() if kind == asked), None)
    if name is None:
        hint = suggest(asked, sorted({*sets, *sets.values()}), "backends")
        raise fail(ErrorCode.INVALID_ARGUMENT, f"--backend {asked}: there is no such backend", hint)
    return _Choice(name, tuple(other for other in sets if other != name), backend_class(sets[name]).unwrap())


def _inputs(signature: Signature, shapes: Shapes) -> tuple[dict[str, Array] | None, str | None]:
    """Return made-up inputs, or None and why there are none."""
    from aegisrt.cli.init.inputs import made_up
    from aegisrt.core.result import ResultError

    if not signature.inputs:
        return None, None
    try:
        inputs = made_up(signature, shapes)
    except ResultError as failure:
        return None, f"{failure.error.message} ({failure.error.hint})"
    return inputs, None if inputs else "they would take more than 256 MiB"


def _check_target(target: Path, sample: Path | None, *, force: bool) -> None:
    from aegisrt.core.result import ErrorCode, fail

    if not target.parent.is_dir():
        raise fail(ErrorCode.NOT_FOUND, f"the folder {target.parent} does not exist", f"mkdir -p {target.parent}")
    for file in filter(None, (target, sample)):
        if file.is_dir():
            raise fail(ErrorCode.INVALID_ARGUMENT, f"{file} is a folder", "name another file: --out FILE.yaml")
        if file.exists() and not force:
            hint = "write over it with --force, or name another file: --out FILE.yaml"
            raise fail(ErrorCode.ALREADY_EXISTS, f"{file} exists already", hint)


def _refuse_unencodable(path: Path) -> None:
    """Return None where a manifest, which is UTF-8, can name a file or folder by its whole path."""
    from aegisrt.core.result import ErrorCode, fail

    whole = path.absolute()
    try:
        str(whole).encode()
    except UnicodeEncodeError:
        message = f"the path {str(whole)!r} is not UTF-8, and a manifest cannot name it"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "rename it, or run in a UTF-8 locale") from None


def _write(file: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file whole or not at all."""
    from aegisrt.core.result import ErrorCode, fail

    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        try:
            with fresh.open("wb") as stream:
                write(stream)
            fresh.replace(file)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        message = f"{file} cannot be written: {error.strerror}"
        raise fail(ErrorCode.PERMISSION_DENIED, message, "name a file in another folder: --out FILE.yaml") from None
