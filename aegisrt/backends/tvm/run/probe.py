"""`probe`: opens a library that is not known here in a process of its own first, which may die instead of the caller's.

A library without sidecar may be damaged where no header tells: its start-up code then ends whoever opens it. The child
also asks it for its inputs and outputs, which takes calls of it. `python -m aegisrt.backends.tvm.run.probe JOB ANSWER`.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
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
    """What a library told in the other process."""

    entry: str
    """The function to call."""
    signature: Signature | None
    """What goes in and out; None where it was not asked for."""


def probe(path: Path, entry: str | None, *, ask: bool, memory_bytes: int) -> Probed:
    """Return what the library at `path` tells, after it was opened without harm; with `ask`, its signature too.

    DATA_LOSS where opening it ends the process, INVALID_ARGUMENT without the function `entry`, FAILED_PRECONDITION
    where the linker or TVM refuses it, or it does not tell its signature.
    """
    job = {"library": str(path.absolute()), "entry": entry, "ask": ask}
    with tempfile.TemporaryDirectory(prefix="aegisrt-") as folder:
        log = Path(folder, "log")
        try:
            said = run_child(
                "aegisrt.backends.tvm.run.probe", job, Path(folder), limits=Limits(_LIMIT_S, memory_bytes), log=log
            )
        except ResultError as failure:
            raise _refusal(failure.error, path, log) from failure
    return Probed(said["entry"], signature_of(said["signature"]) if ask else None)


def _refusal(error: Error, path: Path, log: Path) -> ResultError:
    if error.code is ErrorCode.INTERNAL:
        message = f"{path} cannot be opened: a process that tried, {error.message.removeprefix('it ')}"
        return fail(ErrorCode.DATA_LOSS, message, "it is damaged: copy or build it again", cause=error.cause)
    hint = (error.hint or "").replace(f"; the log is {log}", "").replace(f"the log is {log}", "")
    return fail(error.code, error.message, hint or None, cause=error.cause)


def opened(job: dict[str, Any]) -> dict[str, Any]:
    """Return the entry and the signature of the job's library, in the child."""
    path = Path(job["library"])
    try:
        module = open_library(path)
        entry = find_entry(module, job["entry"], path)
        signature = signature_json(derived_signature(module, entry, path)) if job["ask"] else None
    except ResultError:
        raise
    except Exception as error:
        known = classify(error)
        code = known.code if isinstance(known, Error) else known or ErrorCode.FAILED_PRECONDITION
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise fail(code, f"{path} cannot be opened: {first}", cause=f"{type(error).__name__}: {error}") from error
    return {"entry": entry, "signature": signature}


if __name__ == "__main__":
    child_main(opened)
