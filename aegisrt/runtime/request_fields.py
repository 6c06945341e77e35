"""`RequestFields` and `request_of`: a request as an object, or as the arguments of a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Required, TypedDict

from aegisrt.backends.base.backend import not_a_request
from aegisrt.core.priority import Priority
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import Err, Error, ErrorCode
from aegisrt.core.suggest import suggest


class RequestFields(TypedDict, total=False):
    """The fields of an `ExecutionRequest`, as arguments of `execute`, `submit` and `execute_async`."""

    inputs: Required[Mapping[str, Any]]
    model: str | None
    outputs: Sequence[str] | None
    timeout_ms: float | None
    id: str | None
    priority: Priority
    parameters: Mapping[str, Any]


_NAMES = [field.name for field in fields(ExecutionRequest)]


def request_of(request: ExecutionRequest | None, given: Mapping[str, Any]) -> ExecutionRequest | Err:
    """Return the request of a call that has an object, or the fields of one.

    INVALID_ARGUMENT: if it has both or neither, an unknown field, or fields without `inputs`.
    """
    if not given:
        return not_a_request(request) if request is None else request
    unknown = next((name for name in given if name not in _NAMES), None)
    if unknown is not None:
        message = f"`{unknown}` is not a field of a request"
        return Err(Error(ErrorCode.INVALID_ARGUMENT, message, suggest(unknown, _NAMES, "fields")))
    if request is not None:
        message = f"the call has a request, and beside it `{'`, `'.join(given)}`"
        return Err(Error(ErrorCode.INVALID_ARGUMENT, message, "set the fields of the request"))
    if "inputs" not in given:
        hint = "pass `inputs={name: array}`, or an `ExecutionRequest`"
        return Err(Error(ErrorCode.INVALID_ARGUMENT, "the request has no `inputs`", hint))
    return ExecutionRequest(**given)
