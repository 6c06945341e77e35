"""The table of errors that ONNX Runtime raises while a model runs: caused by the request's data, or by the engine.

A kernel checks its inputs as it computes. ONNX Runtime reports most of its findings as plain FAIL, or as the text of a
C++ exception, like failures of its own; so the text decides. docs/engines/onnx.md shows this table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aegisrt.core.result import ErrorCode
from aegisrt.devices.cuda.driver import CAPTURE_HINT

CAPTURE = re.compile(r"CUDA failure 90[0-8]\b|cudaErrorStreamCapture")
"""A recording of the application, of this thread or in CUDA's mode `global`, forbids the call."""
LIBRARY = re.compile(r"CUDA failure|CUDA error|CU(?:BLAS|DNN|FFT|RAND|SPARSE)")
"""A failure of CUDA, or of one of its libraries."""
OTHER_SHAPE = re.compile("pre-allocated output|re-use buffer|Expected shape from model")
"""An output has another shape than the memory that is bound to it."""
CAPTURE_MESSAGE = "the application records a CUDA graph, and the driver does not allow this meanwhile"
MEMORY = re.compile(
    r"Failed to allocate memory|bad_alloc|out of memory|CUDA_ERROR_OUT_OF_MEMORY|(?:CUBLAS|CUDNN)_STATUS_ALLOC_FAILED"
    r"|Available memory of \d+ is smaller than requested bytes",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class RunError:
    """One row: the texts of one sort of error."""

    pattern: re.Pattern[str]
    code: ErrorCode
    hint: str | None = None
    message: str | None = None
    """Replaces a text that would not be understood."""


def _data(pattern: str, hint: str, message: str | None = None) -> RunError:
    return RunError(re.compile(pattern, re.IGNORECASE), ErrorCode.INVALID_ARGUMENT, hint, message)


_REFUSED = "the operator refuses its inputs: check the values of the request"
TABLE = (
    RunError(CAPTURE, ErrorCode.UNAVAILABLE, CAPTURE_HINT, CAPTURE_MESSAGE),
    RunError(MEMORY, ErrorCode.RESOURCE_EXHAUSTED, "use a smaller batch, fewer instances, or unload another model"),
    RunError(LIBRARY, ErrorCode.INTERNAL),
    _data(
        r"unknown category",
        "the encoder was exported to refuse categories that it was not trained on: map the value to a known one, or "
        "export it with `handle_unknown='ignore'`",
    ),
    _data(
        r"^(?:sto(?:i|l|ll|ul|ull|f|d|ld))$",
        "pass strings that hold numbers in the range of the type",
        "a string among the inputs is not a number, or not one that fits the type",
    ),
    _data(
        r"out of (?:data )?bounds|out of range|invalid ind(?:ex|ice)|invalid sequence index",
        "an index, such as a token id, is out of range: check it against the model's vocabulary",
    ),
    _data(r"(?:division|modulo) by zero", "an integer divisor among the inputs is 0"),
    _data(
        r"shape|dimension|broadcast|overflow|\brank\b|\baxis\b|channels|same length|mismatch",
        "the sizes do not fit each other: check the shapes of the inputs, and inputs that hold a shape",
    ),
    _data(
        r"\b(?:must|should|cannot|can not|could not be|invalid|expected|unexpected|negative|exceeds?|not equal"
        r"|(?:less|greater|more) than|only (?:accepts|supports))\b",
        _REFUSED,
    ),
)
"""The first row that matches decides. A text without a row is INVALID_ARGUMENT if ONNX Runtime reports that, else
INTERNAL."""


def run_error(reason: str, *, is_invalid_argument: bool) -> tuple[ErrorCode, str | None, str | None]:
    """Return the code, the hint and a better message, if there is one, for what a node or the session reported."""
    for row in TABLE:
        if row.pattern.search(reason):
            return row.code, row.hint, row.message
    if is_invalid_argument:
        return ErrorCode.INVALID_ARGUMENT, _REFUSED, None
    return ErrorCode.INTERNAL, None, None
