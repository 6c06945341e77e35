"""The error of a build that had too little memory; `run_child` reports those that end the child."""

from __future__ import annotations

from aegisrt.core.result import ErrorCode, ResultError, fail


def out_of_memory(message: str, limit: int | None, cause: str | None) -> ResultError:
    """Return RESOURCE_EXHAUSTED with the remedy; `limit` is the option `build.memory_bytes`."""
    if limit is None:
        hint = "free memory on the GPU, or set `workspace_bytes`"
    else:
        size = f"{limit / 2**30:.3g} GiB"
        hint = f"raise `build.memory_bytes` ({size}; TensorRT 8.6 takes 2.9 GiB for its builder), or free GPU memory"
    return fail(ErrorCode.RESOURCE_EXHAUSTED, message, hint, cause=cause)
