"""`apply_parameters`: the `parameters` of an inference request, which HTTP and gRPC share.

Every parameter has an effect, reaches the model's call, or is refused; none is ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from aegisrt.core.priority import Priority
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import quoted
from aegisrt.serving.protocol.inference import InferRequest, Parameter, WantedOutput
from aegisrt.serving.protocol.tensors import MOST_INTEGER, integer_text

_EMPTY_FINAL = "triton_enable_empty_final_response"
_RESERVED = "triton_"
_SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")
_SHARED_MEMORY = "shared_memory_"
_MOST_TENSORS = 1024
_PRIORITIES: dict[int, Priority] = {0: "normal", 1: "high", 2: "normal"}
"""0 is the default of the protocol, 1 its highest; 3 and above are low."""


def apply_parameters(request: InferRequest, parameters: Mapping[str, Parameter]) -> None:
    """Set what the parameters of a request ask for.

    INVALID_ARGUMENT: if a value is of the wrong type or out of range, or a name has the prefix that the protocol
    reserves.
    UNIMPLEMENTED: if it is a parameter of sequences.
    """
    custom: dict[str, Parameter] = {}
    for name, value in parameters.items():
        setter = _SETTERS.get(name)
        if setter is not None:
            setter(request, name, value)
        elif name in _SEQUENCE:
            if value:  # the default of each, 0 or false, means no sequence
                raise fail(ErrorCode.UNIMPLEMENTED, f"parameter {quoted(name)}: sequences are not supported")
        elif name.startswith(_RESERVED):
            raise fail(ErrorCode.INVALID_ARGUMENT, f"parameter {quoted(name)}: the prefix `{_RESERVED}` is reserved")
        elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
            raise fail(ErrorCode.INVALID_ARGUMENT, f"parameter {quoted(name)} is not an integer of 64 bits")
        else:
            custom[name] = value
    if custom:
        request.parameters = custom


def check_input_parameters(tensor: str, parameters: Mapping[str, Parameter]) -> None:
    """Check the parameters of an input, all but `binary_data_size`.

    INVALID_ARGUMENT: if one is unknown.
    UNIMPLEMENTED: if the data is in shared memory.
    """
    for name in parameters:
        if name != "binary_data_size":
            raise _unknown("input", tensor, name)


def wanted_output(name: str, parameters: Mapping[str, Parameter]) -> WantedOutput:
    """Return an output that a request names.

    INVALID_ARGUMENT: if a parameter is unknown, or `binary_data` is not a boolean.
    UNIMPLEMENTED: if the data is to go to shared memory, or a classification is asked for.
    """
    output = WantedOutput(name)
    for key, value in parameters.items():
        if key != "binary_data":
            if key == "classification" and not value:
                continue
            raise _unknown("output", name, key)
        output.binary = _boolean(key, value)
    return output


def wanted_outputs(outputs: list[WantedOutput]) -> tuple[WantedOutput, ...] | None:
    """Return the outputs that a request names; None if it names none.

    INVALID_ARGUMENT: if it names one twice, or more than 1,024.
    """
    check_number(len(outputs), "outputs")
    twice = _repeated(output.name for output in outputs)
    if twice is not None:
        raise fail(ErrorCode.INVALID_ARGUMENT, f"output {quoted(twice)} is named twice")
    return tuple(outputs) or None


def check_change(parameters: Any) -> None:
    """Check the parameters of a request that loads or unloads a model.

    UNIMPLEMENTED: if it brings a configuration or files: both are those of the manifest.
    """
    if not isinstance(parameters, Mapping):
        raise fail(ErrorCode.INVALID_ARGUMENT, "`parameters` is not an object")
    for name in parameters:
        if name != "unload_dependents":  # no model depends on another one
            message = f"parameter {quoted(str(name))}: a model is loaded as the manifest declares it"
            raise fail(ErrorCode.UNIMPLEMENTED, message, "change the manifest, and start the server again")


def check_names(names: list[str]) -> None:
    """Check the names of the inputs of a request.

    INVALID_ARGUMENT: if there are two of one name, or more than 1,024.
    """
    check_number(len(names), "inputs")
    twice = _repeated(names)
    if twice is not None:
        raise fail(ErrorCode.INVALID_ARGUMENT, f"input {quoted(twice)} is given twice")


def check_number(number: int, kind: str) -> None:
    """Check how many `inputs` or `outputs` a request has.

    INVALID_ARGUMENT: if there are more than 1,024.
    """
    if number > _MOST_TENSORS:
        message = f"the request has more than {_MOST_TENSORS} {kind}, the most that are accepted"
        raise fail(ErrorCode.INVALID_ARGUMENT, message)


def _repeated(names: Iterable[str]) -> str | None:
    """Return the first name that is there for the second time; None if each is there once."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _unknown(kind: str, tensor: str, name: str) -> Exception:
    where = f"{kind} {quoted(tensor)} has the parameter {quoted(name)}"
    if name.startswith(_SHARED_MEMORY):
        hint = "send the data in the request, and receive it in the answer"
        return fail(ErrorCode.UNIMPLEMENTED, f"{where}: shared memory is not enabled", hint)
    if name == "classification":
        hint = "ask for the output itself, and take its largest values"
        return fail(ErrorCode.UNIMPLEMENTED, f"{where}: classification is not supported", hint)
    return fail(ErrorCode.INVALID_ARGUMENT, f"{where}, which is not one of the protocol")


def _boolean(name: str, value: Parameter) -> bool:
    if isinstance(value, bool):
        return value
    raise _wrong_type(name, value, "a boolean")


def _whole_number(name: str, value: Parameter) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_INTEGER:
        return value
    raise _wrong_type(name, value, "a whole number from 0 to 2**63 - 1")


def _wrong_type(name: str, value: Parameter, wanted: str) -> Exception:
    shown = integer_text(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return fail(ErrorCode.INVALID_ARGUMENT, f"parameter {quoted(name)} is {quoted(shown)}, not {wanted}")


def _set_priority(request: InferRequest, name: str, value: Parameter) -> None:
    request.priority = _PRIORITIES.get(_whole_number(name, value), "low")


def _set_timeout(request: InferRequest, name: str, value: Parameter) -> None:
    request.timeout_us = _whole_number(name, value) or None


def _set_binary(request: InferRequest, name: str, value: Parameter) -> None:
    request.binary_output = _boolean(name, value)


def _set_empty_final(request: InferRequest, name: str, value: Parameter) -> None:
    request.empty_final = _boolean(name, value)


_SETTERS: dict[str, Callable[[InferRequest, str, Parameter], None]] = {
    "priority": _set_priority,
    "timeout": _set_timeout,
    "binary_data_output": _set_binary,
    _EMPTY_FINAL: _set_empty_final,
}
