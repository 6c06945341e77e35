"""Converts ONNX Runtime's exceptions to errors: a code, and a message without its build paths and C++ names.

Its exception classes follow `onnxruntime::common::StatusCode`. Many errors are plain FAIL; there the text decides.
"""

from __future__ import annotations

import re
from pathlib import Path

from aegisrt.backends.files.onnx_damage import damage
from aegisrt.backends.onnx.run_errors import CAPTURE, CAPTURE_MESSAGE, MEMORY, run_error
from aegisrt.core.result import Error, ErrorCode
from aegisrt.devices.cuda.driver import CAPTURE_HINT

_BY_CLASS = {
    "InvalidArgument": ErrorCode.INVALID_ARGUMENT,
    "InvalidGraph": ErrorCode.INVALID_ARGUMENT,
    "NoSuchFile": ErrorCode.NOT_FOUND,
    "NotFound": ErrorCode.NOT_FOUND,
    "NotImplemented": ErrorCode.UNIMPLEMENTED,
    "ModelRequiresCompilation": ErrorCode.FAILED_PRECONDITION,
    "ModelLoadCanceled": ErrorCode.CANCELLED,
    "DeviceReset": ErrorCode.UNAVAILABLE,
}
_PREFIX = re.compile(
    r"^(?:Error in execution: )?(?:\[ONNXRuntimeError\] : -?\d+ : \w+ : (?:Load model from .*? failed:)?)?"
)
"""`run_with_iobinding` adds `Error in execution`, and leaves the status out."""
_NESTED = r"\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)"
_SOURCE = r"\.(?:cc|h|cpp|hpp|cu|cuh):\d+ "
_FULL_WHERE = re.compile(
    rf"(?:\S*[\\/]\S+{_SOURCE}[^()]*|\S+{_SOURCE}[^()\n]*::\w+){_NESTED}(?:[^\s()]*{_NESTED})*"
    r"(?: const)?(?: \[with [^\]]*\])? (?:[^\n]*? was false\. ?)?"
)
_SHORT_WHERE = re.compile(rf"\b[\w.-]+{_SOURCE}\w+(?:\(\))? ")
_NODE = re.compile(
    r"^Non-zero status code returned while running (\S+) node\. Name:'([^']*)' Status Message:(.*)", re.S
)

_IR = re.compile(r"Unsupported model IR version: (\d+), max supported IR version: (\d+)")
_OPSET = re.compile(r"Opset (\d+) is under development.* for domain (\S+) is till opset (\d+)", re.S)
_NO_OPERATOR = re.compile(r'In Node, \("([^"]*)", .*No Op registered for (\S+) with domain_version of (\d+)', re.S)
_NO_FUNCTION = re.compile(r"Fatal error: (\S*):(\w+)\(-?\d+\) is not a registered function/op")
_NO_KERNEL = re.compile(r"Could not find an implementation for (\w+)\((\d+)\) node with name '([^']*)'")
_NO_TYPE = re.compile(r"MLDataType for: (\S+) is not currently registered")
_ON_CPU = "fallback to CPU EP has been explicitly disabled"
_UPGRADE = "export it for an older version, or run: pip install --upgrade onnxruntime"


def is_from_engine(error: Exception) -> bool:
    """Return whether ONNX Runtime raised it: a class of its own, or one that pybind11 makes of a C++ exception."""
    return type(error).__module__.startswith("onnxruntime") or type(error) in (RuntimeError, UnicodeEncodeError)


def execute_error(error: Exception) -> Error:
    """Return the Error for an exception that a session raised while it ran."""
    if isinstance(error, UnicodeEncodeError):
        message = f"a string among the inputs cannot be encoded as UTF-8: {error.reason}"
        return Error(ErrorCode.INVALID_ARGUMENT, message, cause=_cause(error))
    where, reason = _innermost(_plain(error))
    known = _BY_CLASS.get(type(error).__name__)
    code, hint, better = run_error(reason, is_invalid_argument=known is ErrorCode.INVALID_ARGUMENT)
    if known is not None and code is ErrorCode.INTERNAL:
        code = known
    message = _sentence(better or reason)
    return Error(code, f"{where} failed: {message}" if where else message, hint, cause=_cause(error))


def _innermost(text: str) -> tuple[str, str]:
    """Return the node that failed, the innermost one of an `If`, `Loop` or `Scan`, and what it reported."""
    where = ""
    while node := _NODE.match(text):
        where, text = _named(node.group(2), node.group(1)), _without_prefix(node.group(3))
    return where, text


def load_error(error: Exception, path: Path) -> Error:
    """Return the Error for an exception that ONNX Runtime raised while it loaded the model file at `path`."""
    text, cause = _plain(error), _cause(error)
    if _ON_CPU in text:
        message = f"{path}: some operators have no kernel on the requested providers, and would run on the CPU"
        hint = "add `CPUExecutionProvider` to `providers`, or set `fallback: allow`"
        return Error(ErrorCode.UNAVAILABLE, message, hint, cause=cause)
    if CAPTURE.search(text):
        return Error(ErrorCode.UNAVAILABLE, f"{path} does not load: {CAPTURE_MESSAGE}", CAPTURE_HINT, cause=cause)
    known = _too_new(text, path) or _unknown(text, path) or damage(path, cause)
    if known is not None:
        return Error(*known, cause=cause)
    code = _BY_CLASS.get(type(error).__name__, ErrorCode.INTERNAL)
    if MEMORY.search(text):
        code = ErrorCode.RESOURCE_EXHAUSTED
    elif "CUDA failure" in text:  # the GPU's fault, whatever the model
        code = ErrorCode.UNAVAILABLE
    elif type(error) is RuntimeError or type(error).__name__ == "Fail":
        code = ErrorCode.INVALID_ARGUMENT
    return Error(code, f"ONNX Runtime does not load {path}: {_sentence(text)}", cause=cause)


def _too_new(text: str, path: Path) -> tuple[ErrorCode, str, str] | None:
    if match := _IR.search(text):
        message = f"{path} has ONNX IR version {match[1]}, ONNX Runtime here reads up to {match[2]}"
    elif match := _OPSET.search(text):
        message = f"{path} needs opset {match[1]} of `{match[2]}`, ONNX Runtime here has up to {match[3]}"
    else:
        return None
    return ErrorCode.FAILED_PRECONDITION, message, _UPGRADE


def _unknown(text: str, path: Path) -> tuple[ErrorCode, str, str | None] | None:
    hint: str | None = None
    if match := _NO_OPERATOR.search(text):
        message = f"{path}: {_named(match[1], match[2])}: ONNX has no such operator in opset {match[3]}"
        hint = "export it for an opset that has this operator, or update ONNX Runtime, which may be too old"
    elif match := _NO_FUNCTION.search(text):
        message = f"{path}: ONNX Runtime has no operator `{match[2]}` of domain `{match[1]}`"
        hint = "export it without custom operators: they are native code, which a manifest cannot name"
    elif match := _NO_KERNEL.search(text):
        message = f"{path}: {_named(match[3], match[1])}: no kernel for its element types (opset {match[2]})"
        hint = "export it with other types, such as FP32, or name a provider that has the kernel"
    elif match := _NO_TYPE.search(text):
        message = f"{path}: ONNX Runtime has no element type {match[1]}"
    else:
        return None
    return ErrorCode.UNIMPLEMENTED, message, hint


def _named(name: str, operator: str) -> str:
    return f"node `{name}` ({operator})" if name else f"a node without a name ({operator})"


def _plain(error: Exception) -> str:
    return _without_prefix(str(error))


def _without_prefix(text: str) -> str:
    """Return a text without statuses and places in ONNX Runtime's source, which may be nested."""
    plain = _plain_text(_PREFIX.sub("", text.strip()))
    return plain if plain == text else _without_prefix(plain)


def _plain_text(text: str) -> str:
    return _SHORT_WHERE.sub("", _FULL_WHERE.sub("", text)).strip()


def _sentence(text: str) -> str:
    return " ".join(text.split()) or "no reason was reported"


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip()}"
