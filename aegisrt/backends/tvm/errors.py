"""`classify`: the error code of an exception of TVM, by its message: it has one type for nearly all."""

from __future__ import annotations

import re

from aegisrt.core.result import Error, ErrorCode

_SIZES = re.compile(r"\((-?\d+) vs\. (-?\d+)\)")
_NO_MEMORY = ("cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY")


def classify(error: Exception) -> ErrorCode | Error | None:
    """Return the code of an error, or the whole error if TVM's message is too long; None if it is not known."""
    text = str(error)
    if any(word in text for word in _NO_MEMORY):
        hint = "use a smaller batch, fewer instances, or unload another model"
        return Error(ErrorCode.RESOURCE_EXHAUSTED, "out of memory on the GPU", hint, cause=text[:500])
    if "CUDALaunch Error" in text:  # the text goes on with the source of all kernels
        reason = text.partition("// func_name")[0].strip()[:500]
        return Error(ErrorCode.INTERNAL, f"TVM cannot start a kernel: {reason.splitlines()[0]}", cause=reason)
    if "a loader of that name is not registered" in text:
        hint = "it was compiled for a device whose runtime is not in this build of TVM"
        return Error(ErrorCode.FAILED_PRECONDITION, f"TVM cannot load the library: {text.splitlines()[0]}", hint)
    if "Failed to load dynamic shared library" in text:
        return ErrorCode.FAILED_PRECONDITION
    if "ErrorContext(match_cast" in text:
        return _wrong_sizes(text)
    if "ErrorContext(fn=" in text or text.startswith("Mismatched"):
        return ErrorCode.INVALID_ARGUMENT
    return None


def _wrong_sizes(text: str) -> Error:
    """Return the error of a check that the build put before an operator (build/sizes.py)."""
    sizes = _SIZES.search(text)
    found = f": {sizes[1]} where it needs {sizes[2]}" if sizes else ""
    message = f"an operator of the model does not take inputs of these shapes{found}"
    hint = "TVM does not broadcast a dynamic dimension of size 1; if that is meant, declare the sizes with `shapes`"
    return Error(ErrorCode.INVALID_ARGUMENT, message, hint, cause=text[:500])
