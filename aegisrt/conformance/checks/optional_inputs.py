"""Inputs with a default value: they may be left out, and are used if they are given."""

from __future__ import annotations

import numpy as np

from aegisrt.conformance import verdict
from aegisrt.conformance.check import check
from aegisrt.conformance.subject import Subject
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import ErrorCode


@check(
    "inputs.optional",
    why="An exporter gives a threshold or a state a default value. A value that a request gives and the engine drops "
    "is a wrong answer without an error.",
    fix="Declare the input with `optional=True` in `_signature` and feed it if `_execute` receives it; or compile the "
    "default in, leave the input out of `_signature`, and name it in the signature's `defaults_fixed`.",
)
def optional(subject: Subject) -> None:
    """Without an optional input its default is used; a value is used too, or refused if the signature lacks it."""
    backend = subject.loaded("default")
    left_out = subject.inputs("default")
    given = {**left_out, "offset": np.arange(6, dtype=np.float32).reshape(2, 3)}
    signature = backend.signature
    spec = next((spec for spec in signature.inputs if spec.name == "offset"), None) if signature else None
    verdict.that(spec is None or spec.optional, "`signature` has `offset`, and not as optional")
    for turn in range(3):
        doing = f"execute without `offset`, call {turn}"
        subject.matches("default", left_out, subject.call(backend, left_out, doing).outputs, doing)
        if spec is None:
            compiled_in = signature is not None and "offset" in signature.defaults_fixed
            code = ErrorCode.UNIMPLEMENTED if compiled_in else ErrorCode.INVALID_ARGUMENT
            error = verdict.refused(backend.execute(ExecutionRequest(inputs=given)), code, "execute with `offset`")
            verdict.that("`offset`" in str(error), f"execute with `offset`: the error does not name it: {error}")
        else:
            doing = f"execute with `offset`, call {turn}"
            subject.matches("default", given, subject.call(backend, given, doing).outputs, doing)
    if spec is not None:
        wrong = {**left_out, "offset": given["offset"].astype(np.float64)}
        verdict.refused(
            backend.execute(ExecutionRequest(inputs=wrong)), ErrorCode.INVALID_ARGUMENT, "a float64 `offset`"
        )
