"""`probe`: opens a library of unknown origin in a process of its own first, which may die instead of the caller's.

A library without sidecar may be damaged in places that no header covers: its start-up code then ends the process that
opens it. The child also reads the inputs and outputs, which takes calls of the library.
`python -m aegisrt.backends.tvm.run.probe JOB ANSWER`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aegisrt.backends.process.child import child_main
from aegisrt.backends.process.job import Limits, run_child
from aegisrt.backends.tvm.errors import classify
from aegisrt.backends.tvm.run.introspect import derived_signature
from aegisrt.backends.tvm.run.library import find_entry, open_library
from aegisrt.core.result import Error, ErrorCode, ResultError, fail
from aegisrt.core.sidecar import signature_json, signature_of
from aegisrt.core.tensor import Signature

_LIMIT_S = 120.0


@dataclass(frozen=True, slots=True)
class Probed:
    """The facts of a library that were read in the other process."""

    entry: str
    """The function to call."""
    signature: Signature | None
    """The inputs and outputs; None if they were not asked for."""


def probe(
    path: Path, entry: str | None, *, with_signature: bool, memory_bytes: int, environment: Sequence[str] = ()
) -> Probed:
    """Return the entry of the library at `path`, after another process opened it; optionally with its signature.

    DATA_LOSS: if opening it ends the process.
    INVALID_ARGUMENT: if it has no function `entry`.
    FAILED_PRECONDITION: if the linker or TVM refuses it, or its signature cannot be read.
    """
    job = {"library": str(path.absolute()), "entry": entry, "with_signature": with_signature}
    with tempfile.TemporaryDirectory(prefix="aegisrt-") as folder:
        log = Path(folder, "log")
        try:
            answer = run_child(
                "aegisrt.backends.tvm.run.probe",
                job,
                Path(folder),
                limits=Limits(_LIMIT_S, memory_bytes),
                log=log,
                environment=environment,
            )
        except ResultError as failure:
            raise _refusal(failure.error, path) from failure
    return Probed(answer["entry"], signature_of(answer["signature"]) if with_signature else None)


def _refusal(error: Error, path: Path) -> ResultError:
    if error.code is ErrorCode.INTERNAL:
        message = f"{path} cannot be opened: a process that tried, {error.message.removeprefix('it ')}"
        return fail(ErrorCode.DATA_LOSS, message, "it is damaged: copy or build it again", cause=error.cause)
    return ResultError(replace(error, log=None))  # it was deleted


def open_in_child(job: dict[str, Any]) -> dict[str, Any]:
    """Return the entry and the signature of the job's library, in the child."""
    path = Path(job["library"])
    try:
        module = open_library(path)
        entry = find_entry(module, job["entry"], path)
        signature = signature_json(derived_signature(module, entry, path)) if job["with_signature"] else None
    except ResultError:
        raise
    except Exception as error:
        classified = classify(error)
        code = classified.code if isinstance(classified, Error) else classified or ErrorCode.FAILED_PRECONDITION
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise fail(code, f"{path} cannot be opened: {first}", cause=f"{type(error).__name__}: {error}") from error
    return {"entry": entry, "signature": signature}


if __name__ == "__main__":
    child_main(open_in_child)
