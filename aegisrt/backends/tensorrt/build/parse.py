"""ONNX to a TensorRT network; the parser's errors name the node and the operator.

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
_ALTERNATIVE = "export the model without it, or run it on backend `onnx`"
_MAX_NAMED = 5
"""How many unsupported operators a message names."""


def parse(trt: TensorRT, path: Path, network: Any, *, native_norm: bool) -> Any:
    """Fill `network` from the file; return the parser, which owns weights of the network.

    UNIMPLEMENTED: if TensorRT lacks an operator or a dtype.
    INVALID_ARGUMENT: if the graph is wrong.
    DATA_LOSS: if the file is damaged.

    Each message names the node and the operator.
    """
    package = trt.package
    parser = package.OnnxParser(network, trt.logger)
    if native_norm and trt.has("OnnxParserFlag", "NATIVE_INSTANCENORM"):
        parser.set_flag(package.OnnxParserFlag.NATIVE_INSTANCENORM)
    with trt.log.errors() as lines:
        parsed = parser.parse_from_file(str(path))
    if not parsed:
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        raise _refused(trt, path, errors, lines)
    return parser


def _refused(trt: TensorRT, path: Path, errors: list[Any], lines: list[str]) -> ResultError:
    if not errors:
        return fail(ErrorCode.INTERNAL, f"{trt.display_name} does not parse {path}: {sentence(lines)}")
    nodes = _logged_nodes(lines)
    cause = "\n".join(f"{error.file()}:{error.line()} {error.func()}: {error.desc()}" for error in errors)
    first, code = errors[0], _code(errors[0])
    operators = [name for error in errors if (name := _operator_name(error, nodes))]
    if code is ErrorCode.UNIMPLEMENTED and operators:
        unique = list(dict.fromkeys(operators))
        more = f" and {len(unique) - _MAX_NAMED} more" if len(unique) > _MAX_NAMED else ""
        message = f"{path}: {trt.display_name} does not support {', '.join(unique[:_MAX_NAMED])}{more}"
        reason = _reason(first)
        return fail(code, f"{message}: {reason}" if reason else message, _ALTERNATIVE, cause=cause)
    prefix = f"{operators[0]}: " if operators else ""
    hint = "copy or export it again" if code is ErrorCode.DATA_LOSS else _ALTERNATIVE
    reason = _reason(first) or sentence(lines)
    return fail(code, f"{trt.display_name} does not parse {path}: {prefix}{reason}", hint, cause=cause)


def _code(error: Any) -> ErrorCode:
    name = error.code().name
    if name.startswith("UNSUPPORTED") or "Plugin not found" in error.desc():
        return ErrorCode.UNIMPLEMENTED
    return _CODES.get(name, ErrorCode.INTERNAL)


def _operator_name(error: Any, logged: dict[int, tuple[str, str]]) -> str:
    """Return node and operator; TensorRT 8 has neither in the error, and writes both to the log."""
    operator, name = logged.get(error.node(), ("", ""))
    if hasattr(error, "node_operator"):
        operator, name = error.node_operator() or operator, error.node_name() or name
    if not operator:
        return ""
    return f"operator `{operator}` (node `{name}`)" if name else f"operator `{operator}` (node {error.node()})"


def _logged_nodes(lines: list[str]) -> dict[int, tuple[str, str]]:
    """Return operator and name by the node's number; an unnamed node gets the name of its first output.

    The parser of TensorRT 8 logs the node itself after the line that has its number:
    https://github.com/onnx/onnx-tensorrt/blob/release/8.6-GA/ModelImporter.cpp
    """
    nodes: dict[int, tuple[str, str]] = {}
    number = None
    for line in lines:
        if match := _NODE.search(line):
            number = int(match[1])
            nodes[number] = match[2], match[3] or ""
        elif number is not None and (name := _NODE_NAME.search(line)):
            nodes[number] = nodes[number][0], name[1]
            number = None
    return nodes


def _reason(error: Any) -> str:
    """Return the parser's own message; empty if it consists of a C++ condition alone."""
    text = " ".join(error.desc().split())
    quoted = re.search(r'&& "([^"]+)"', text)
    text = quoted[1] if quoted else text.removeprefix("Assertion failed: ").split(": ", 1)[-1]
    return "" if text in ("false", "true") else text.removesuffix(".")
