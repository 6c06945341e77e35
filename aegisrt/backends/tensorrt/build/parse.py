"""ONNX to a TensorRT network; the parser's errors name the node and the operator.

https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/parsers/Onnx/pyOnnx.html
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from aegisrt.backends.files.onnx_dimensions import unname_dimensions
from aegisrt.backends.tensorrt.distribution import TensorRT
from aegisrt.backends.tensorrt.log import sentence
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.tensor import shared_names

_CODES = {
    "MEM_ALLOC_FAILED": ErrorCode.RESOURCE_EXHAUSTED,
    "MODEL_DESERIALIZE_FAILED": ErrorCode.DATA_LOSS,
    "INTERNAL_ERROR": ErrorCode.INTERNAL,
}
_NODE = re.compile(r'While parsing node number (\d+) \[(\S+)(?: -> "([^"]*)")?')
_NODE_NAME = re.compile(r'^name: "([^"]+)"$', re.MULTILINE)
_NODE_DEFECT = re.compile("Bad node spec|topologically sorted")
"""In the checker's messages about nodes, which no engine runs."""
_ALTERNATIVE = "export the model without it, or run it on backend `onnx`"
_HINTS = {
    ErrorCode.DATA_LOSS: "copy or export it again",
    ErrorCode.RESOURCE_EXHAUSTED: "free memory, or allow more with `build.memory_bytes` if it is set",
}
_MAX_NAMED = 5
"""How many unsupported operators a message names."""


def parse(trt: TensorRT, path: Path, network: Any, *, native_norm: bool) -> Any:
    """Fill `network` from the file; return the parser, which owns weights of the network.

    UNIMPLEMENTED: if TensorRT lacks an operator or a dtype, or does not parse a valid model for another reason.
    INVALID_ARGUMENT: if the model is not valid ONNX.
    DATA_LOSS: if the file is damaged.
    RESOURCE_EXHAUSTED: if there is too little memory.

    Each message names the node and the operator.
    """
    package = trt.package
    parser = package.OnnxParser(network, trt.logger)
    if native_norm and trt.has("OnnxParserFlag", "NATIVE_INSTANCENORM"):
        parser.set_flag(package.OnnxParserFlag.NATIVE_INSTANCENORM)
    with trt.log.errors() as lines:
        parsed = _parse_file(parser, path)
    if not parsed:
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        raise _invalid(trt, path, errors) or _refused(trt, path, errors, lines)
    return parser


def _invalid(trt: TensorRT, path: Path, errors: list[Any]) -> ResultError | None:
    """Return INVALID_ARGUMENT if the file is not valid ONNX, as far as the package `onnx` can check that.

    The parser's own INVALID_NODE, INVALID_GRAPH and INVALID_VALUE do not show it: it reports them for valid models too.
    """
    if not any(_name(error).startswith("INVALID") for error in errors):
        return None
    try:
        import onnx.checker
    except ImportError:
        return None
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        if not _NODE_DEFECT.search(str(error)):
            return None  # an output without a shape, say, which ONNX Runtime accepts
        reason = " ".join(str(error).partition("==>")[0].split())
        message = f"{trt.display_name} does not parse {path}, which is not valid ONNX: {reason}"
        cause = "\n".join(item.desc() for item in errors)
        return fail(ErrorCode.INVALID_ARGUMENT, message, "export the model again", cause=cause)
    return None


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
    reason = _reason(first) or sentence(lines)
    message = f"{trt.display_name} does not parse {path}: {prefix}{reason}"
    return fail(code, message, _HINTS.get(code, _ALTERNATIVE), cause=cause)


def _parse_file(parser: Any, path: Path) -> bool:
    """Parse the file, or a copy without the dimension names that mislead; names cannot be changed after parsing."""
    content = bytearray(path.read_bytes())
    if unname_dimensions(content, shared_names):
        return bool(parser.parse(bytes(content), str(path)))  # with the path, weights beside the model are found
    del content
    return bool(parser.parse_from_file(str(path)))


def _name(error: Any) -> str:
    """Return the name of the error's code. `.name` is a method in the bindings of 8.6, and a text in later ones."""
    return str(error.code()).rpartition(".")[2]


def _code(error: Any) -> ErrorCode:
    if "Plugin not found" in error.desc():
        return ErrorCode.UNIMPLEMENTED
    return _CODES.get(_name(error), ErrorCode.UNIMPLEMENTED)


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
