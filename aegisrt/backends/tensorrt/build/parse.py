"""ONNX to a TensorRT network: the parser's errors, with the node and the operator that they are about.

https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/parsers/Onnx/pyOnnx.html
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from aegisrt.backends.tensorrt.distribution import TensorRT
from aegisrt.backends.tensorrt.log import sentence
from aegisrt.core.result import ErrorCode, ResultError, fail

_CODES = {
    "MEM_ALLOC_FAILED": ErrorCode.RESOURCE_EXHAUSTED,
    "MODEL_DESERIALIZE_FAILED": ErrorCode.DATA_LOSS,
    "INVALID_VALUE": ErrorCode.INVALID_ARGUMENT,
    "INVALID_GRAPH": ErrorCode.INVALID_ARGUMENT,
    "INVALID_NODE": ErrorCode.INVALID_ARGUMENT,
    "INTERNAL_ERROR": ErrorCode.INTERNAL,
}
_NODE = re.compile(r'While parsing node number (\d+) \[(\S+)(?: -> "([^"]*)")?')
_NODE_NAME = re.compile(r'^name: "([^"]+)"$', re.MULTILINE)
_ELSEWHERE = "export the model without it, or run it on backend `onnx`"
_NAMED = 5
"""How many unsupported operators a message names."""


def parse(engine: TensorRT, path: Path, network: Any, *, native_norm: bool) -> Any:
    """Return the parser, which owns weights of the network, after it filled the network from the file.

    UNIMPLEMENTED for operators and dtypes that TensorRT lacks, INVALID_ARGUMENT for a wrong graph, DATA_LOSS for a
    damaged file; each names the node and the operator.
    """
    trt = engine.module
    parser = trt.OnnxParser(network, engine.logger)
    if native_norm and engine.has("OnnxParserFlag", "NATIVE_INSTANCENORM"):
        parser.set_flag(trt.OnnxParserFlag.NATIVE_INSTANCENORM)
    with engine.log.errors() as lines:
        parsed = parser.parse_from_file(str(path))
    if not parsed:
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        raise _refused(engine, path, errors, lines)
    return parser


def _refused(engine: TensorRT, path: Path, errors: list[Any], lines: list[str]) -> ResultError:
    if not errors:
        return fail(ErrorCode.INTERNAL, f"{engine.words} does not parse {path}: {sentence(lines)}")
    nodes = _logged_nodes(lines)
    cause = "\n".join(f"{error.file()}:{error.line()} {error.func()}: {error.desc()}" for error in errors)
    first, code = errors[0], _code(errors[0])
    named = [text for error in errors if (text := _named(error, nodes))]
    if code is ErrorCode.UNIMPLEMENTED and named:
        unique = list(dict.fromkeys(named))
        more = f" and {len(unique) - _NAMED} more" if len(unique) > _NAMED else ""
        message = f"{path}: {engine.words} does not support {', '.join(unique[:_NAMED])}{more}"
        said = _said(first)
        return fail(code, f"{message}: {said}" if said else message, _ELSEWHERE, cause=cause)
    where = f"{named[0]}: " if named else ""
    hint = "copy or export it again" if code is ErrorCode.DATA_LOSS else _ELSEWHERE
    said = _said(first) or sentence(lines)
    return fail(code, f"{engine.words} does not parse {path}: {where}{said}", hint, cause=cause)


def _code(error: Any) -> ErrorCode:
    name = error.code().name
    if name.startswith("UNSUPPORTED") or "Plugin not found" in error.desc():
        return ErrorCode.UNIMPLEMENTED
    return _CODES.get(name, ErrorCode.INTERNAL)


def _named(error: Any, logged: dict[int, tuple[str, str]]) -> str:
    """Return node and operator; TensorRT 8 has neither in the error, and writes both to the log."""
    operator, name = logged.get(error.node(), ("", ""))
    if hasattr(error, "node_operator"):
        operator, name = error.node_operator() or operator, error.node_name() or name
    if not operator:
        return ""
    return f"operator `{operator}` (node `{name}`)" if name else f"operator `{operator}` (node {error.node()})"


def _logged_nodes(lines: list[str]) -> dict[int, tuple[str, str]]:
    """Return operator and name by the node's number; the first output stands for a node that has no name.

    The parser of TensorRT 8 logs the node itself after the line that has its number:
    https://github.com/onnx/onnx-tensorrt/blob/release/8.6-GA/ModelImporter.cpp
    """
    found: dict[int, tuple[str, str]] = {}
    number = None
    for line in lines:
        if match := _NODE.search(line):
            number = int(match[1])
            found[number] = match[2], match[3] or ""
        elif number is not None and (named := _NODE_NAME.search(line)):
            found[number] = found[number][0], named[1]
            number = None
    return found


def _said(error: Any) -> str:
    """Return the parser's own words, without the C++ condition where that is all there is."""
    text = " ".join(error.desc().split())
    quoted = re.search(r'&& "([^"]+)"', text)
    text = quoted[1] if quoted else text.removeprefix("Assertion failed: ").split(": ", 1)[-1]
    return "" if text in ("false", "true") else text.removesuffix(".")
