"""`derived_signature`: the signature of a library that has no sidecar, read from the library itself.

TVM keeps names and checks of arguments, but no names of outputs, and shows a check only when it fails. So the function
is called with wrong arguments on purpose, and the inputs are read from the error messages; the outputs are those of
one call on zeros. The messages are those of TVM 0.27; if they do not match, the user declares the signature.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from aegisrt.backends.tvm.run.library import is_vm
from aegisrt.backends.tvm.run.tensors import aligned
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.tensor import DataType, Dim, Signature, TensorSpec

_ANNOTATION = re.compile(r'annotation=R\.Tensor\(\(([^()]*)\), dtype="(\w+)"\)')
_ARGUMENT = re.compile(r"(\w+): Tensor\(\[([^\[\]]*)\], (\w+)\)")
_IMPOSSIBLE_RANK = 9
_MOST_BYTES = 2**30
"""Of the zeros together: as much as `limits.input_bytes` allows by default for the inputs of a call."""


def derived_signature(module: Any, entry: str, path: Path) -> Signature:
    """Return the inputs and outputs of the function `entry`, with outputs named `output_0` and so on.

    The last argument of a plain operator counts as its output.
    FAILED_PRECONDITION: if they cannot be read.
    RESOURCE_EXHAUSTED: if the inputs of a call take too much memory.
    """
    try:
        return _of_vm(module, entry) if is_vm(module) else _of_operator(module, entry)
    except (ValueError, LookupError, TypeError, RuntimeError, AttributeError) as error:
        raise _unreadable(path, f"{type(error).__name__}: {str(error)[:300]}") from error


def _unreadable(path: Path, cause: str) -> ResultError:
    message = (
        f"{path} has no sidecar ({path.name}.json), and not all of its inputs and outputs can be read from the library"
    )
    hint = "copy the sidecar with it, or declare `signature` in the backend's options"
    return fail(ErrorCode.FAILED_PRECONDITION, message, hint, cause=cause)


def _of_vm(module: Any, entry: str) -> Signature:
    import tvm
    import tvm_ffi
    from tvm import relax

    machine = relax.VirtualMachine(module, tvm.cpu())
    names = [str(machine._get_function_param_name(entry, i)) for i in range(machine._get_function_arity(entry))]
    wrong = tvm_ffi.from_dlpack(np.zeros((1,) * _IMPOSSIBLE_RANK, np.float32))
    inputs: list[TensorSpec] = []
    correct: list[Any] = []
    left_bytes = _MOST_BYTES
    for index, name in enumerate(names):
        message = _refusal(machine[entry], [*correct, *[wrong] * (len(names) - index)])
        annotation = _ANNOTATION.search(message)
        if annotation is None:
            raise ValueError(message)
        inputs.append(_spec(name, annotation[1], annotation[2]))
        left_bytes -= _size(inputs[-1])
        if left_bytes < 0:
            message = f"the inputs of `{entry}` take more than {_MOST_BYTES / 2**30:.3g} GiB, to call it with zeros"
            hint = "copy the sidecar with the library, or declare `signature` in the backend's options"
            raise fail(ErrorCode.RESOURCE_EXHAUSTED, message, hint)
        correct.append(tvm_ffi.from_dlpack(_zeros(inputs[-1])))
    answer = machine[entry](*correct)
    values = [answer] if hasattr(answer, "data_ptr") else list(answer)
    fixed = all(isinstance(dim, int) for spec in inputs for dim in spec.shape or ())
    outputs = [_output(f"output_{index}", value, fixed) for index, value in enumerate(values)]
    return Signature(tuple(inputs), tuple(outputs))


def _of_operator(module: Any, entry: str) -> Signature:
    message = _refusal(module[entry], [])
    arguments = [_spec(*item) for item in _ARGUMENT.findall(message)]
    if not arguments:
        raise ValueError(message)
    return Signature(tuple(arguments[:-1]), (arguments[-1],))


def _refusal(function: Any, arguments: Sequence[Any]) -> str:
    try:
        function(*arguments)
    except Exception as error:  # noqa: BLE001  (its message is the result)
        return str(error)
    raise ValueError("the function accepted wrong arguments")


def _spec(name: str, shape: str, dtype: str) -> TensorSpec:
    return TensorSpec(name, _data_type(dtype), tuple(_dim(part.strip()) for part in shape.split(",") if part.strip()))


def _data_type(name: str) -> DataType:
    if name == "bfloat16":
        return DataType.BF16
    found = DataType.of(np.dtype(name))
    if found is None:
        raise ValueError(f"dtype {name}")
    return found


def _dim(text: str) -> Dim:
    if text.isdecimal():
        return int(text)
    return text if text.isidentifier() else None


def _zeros(spec: TensorSpec) -> Any:
    array = aligned(_smallest(spec), spec.dtype.numpy)
    array[...] = 0
    return array


def _size(spec: TensorSpec) -> int:
    return prod(_smallest(spec)) * spec.dtype.numpy.itemsize


def _smallest(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(dim if isinstance(dim, int) else 1 for dim in spec.shape or ())


def _output(name: str, value: Any, fixed: bool) -> TensorSpec:
    shape = tuple(int(dim) if fixed else None for dim in value.shape)
    return TensorSpec(name, _data_type(str(value.dtype)), shape)
