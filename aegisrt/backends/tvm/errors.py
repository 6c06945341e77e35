"""`classify`: the error code of an exception of TVM, by its message: it has one type for nearly all."""

from __future__ import annotations

from aegisrt.core.result import Error, ErrorCode

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
    if "ErrorContext(fn=" in text or text.startswith("Mismatched"):
        return ErrorCode.INVALID_ARGUMENT
    return None
