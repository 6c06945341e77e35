"""`InputCheck`: a request's inputs against a model's signature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy import ndarray

from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import suggest
from aegisrt.core.tensor import Array, DataType, DeviceView, Dim, TensorSpec, shape_text

_Fixed: TypeAlias = tuple[tuple[int, int], ...]
"""Axis and size of each dimension that is not dynamic."""
_Checked: TypeAlias = tuple[str, "np.dtype[Any]", tuple[int, ...]]
"""The name, the dtype and the shape of an input that was passed on as it is."""


class InputCheck:
    """Checks the inputs of requests against a signature, and returns plain arrays for the engine.

    They are native-endian, C-contiguous and aligned: the caller's own array if it already was, else a copy. Nothing is
    cast.

    Most requests have the dtypes and shapes of the one before: such inputs are only compared with what was checked
    last. Thread-safe: what was checked last is one immutable tuple, which each check reads once and replaces whole.
    """

    __slots__ = ("_by_name", "_defaults_fixed", "_device_view", "_expected", "_last", "_specs")

    def __init__(
        self, specs: Sequence[TensorSpec], device_view: DeviceView | None = None, defaults_fixed: Sequence[str] = ()
    ) -> None:
        """`device_view` recognizes arrays on the engine's own device; those pass through without a copy.

        `defaults_fixed` is as in `Signature`.
        """
        self._defaults_fixed = frozenset(defaults_fixed)
        self._device_view = device_view
        self._specs = tuple(specs)
        self._expected = tuple(_expected(spec) for spec in specs)
        self._by_name = {spec.name for spec in specs}
        self._last: tuple[_Checked, ...] | None = None

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Return the arrays by name in the model's order.

        INVALID_ARGUMENT: if an input is missing, unknown, or of another dtype or shape; the message names it.
        UNIMPLEMENTED: if it is an optional input whose default value the engine computes as a constant.
        """
        last = self._last
        if last is None or type(inputs) is not dict or len(inputs) != len(last):
            return self._compared(inputs)
        checked = {}
        for name, dtype, shape in last:
            array = inputs.get(name)
            if type(array) is not ndarray or array.dtype is not dtype or array.shape != shape or not array.flags.carray:
                return self._compared(inputs)
            checked[name] = array
        return checked

    def _compared(self, inputs: Mapping[str, Any]) -> dict[str, Array]:
        """Compare the inputs with the signature; note their dtypes and shapes if each is passed on as it is."""
        expected = self._expected
        if (type(inputs) is not dict and not isinstance(inputs, Mapping)) or len(inputs) != len(expected):
            expected = self._without_defaults(inputs)
        checked: dict[str, Array] = {}
        noted: list[_Checked] = []
        for name, dtype, shape, fixed, spec in expected:
            try:
                array = inputs[name]
            except KeyError:
                raise self._names(inputs) from None
            if type(array) is ndarray and array.dtype is dtype:
                found = array.shape  # once: another thread may set the shape of an array
                if found != shape:
                    _require_shape(found, fixed, spec)
                checked[name] = array if array.flags.carray else _in_order(array)
                noted.append((name, dtype, found))
            else:
                checked[name] = self._converted(array, fixed, spec)
        if len(noted) == len(checked):
            self._last = tuple(noted)
        return checked

    def _converted(self, value: Any, fixed: _Fixed, spec: TensorSpec) -> Any:
        """Convert a value to a plain array of the model's dtype, or to a view on the engine's device."""
        view = None if self._device_view is None else self._device_view(value, spec)
        array = _as_array(value, spec) if view is None else view
        _require_shape(array.shape, fixed, spec)
        return array if view is not None else _in_order(array)

    def _without_defaults(self, inputs: object) -> tuple[_Expected, ...]:
        """Return what is expected of a request that leaves optional inputs out."""
        if isinstance(inputs, Mapping):
            expected = tuple(each for each in self._expected if not each.spec.optional or each.name in inputs)
            if len(inputs) == len(expected):
                return expected
        raise self._names(inputs)

    def _names(self, inputs: object) -> Exception:
        if not isinstance(inputs, Mapping):
            return fail(ErrorCode.INVALID_ARGUMENT, f"inputs is a {type(inputs).__name__}, not a mapping of names")
        known = [spec.name for spec in self._specs]
        unknown = [name for name in inputs if name not in self._by_name]
        if unknown and unknown[0] in self._defaults_fixed:
            message = f"input `{unknown[0]}` has a default value that is compiled in, so a request cannot set another"
            return fail(ErrorCode.UNIMPLEMENTED, message, "leave it out, or run this model on `backend: onnx`")
        if unknown:
            hint = suggest(str(unknown[0]), known, "inputs")
            return fail(ErrorCode.INVALID_ARGUMENT, f"`{unknown[0]}` is not an input of the model", hint)
        missing = ", ".join(f"`{spec.name}`" for spec in self._specs if not spec.optional and spec.name not in inputs)
        return fail(ErrorCode.INVALID_ARGUMENT, f"input {missing} is missing", "the model takes " + self._described())

    def _described(self) -> str:
        return ", ".join(map(str, self._specs))


class _Expected(NamedTuple):
    """What an input is compared with first: one that needs no conversion costs a few comparisons only."""

    name: str
    dtype: np.dtype[Any] | None
    """None for strings: their elements have to be checked one by one."""
    shape: tuple[Dim, ...] | None
    """If a dimension is dynamic, it equals the shape of no array."""
    fixed: _Fixed
    spec: TensorSpec


def _expected(spec: TensorSpec) -> _Expected:
    dtype = None if spec.dtype is DataType.BYTES else spec.dtype.numpy
    return _Expected(spec.name, dtype, spec.shape, _fixed(spec), spec)


def _fixed(spec: TensorSpec) -> _Fixed:
    return tuple((axis, dim) for axis, dim in enumerate(spec.shape or ()) if isinstance(dim, int))


def _require_shape(shape: tuple[int, ...], fixed: _Fixed, spec: TensorSpec) -> None:
    if spec.shape is None:
        return
    if len(shape) != len(spec.shape):
        raise _mismatch(spec, shape)
    for axis, size in fixed:
        if shape[axis] != size:
            raise _mismatch(spec, shape)


def _in_order(array: Array) -> Array:
    """Return the array C-contiguous and aligned; the same object if it already is."""
    flags = array.flags
    if flags.c_contiguous and flags.aligned:
        return array
    return np.require(array, requirements=["C", "A"]).reshape(array.shape)


def _mismatch(spec: TensorSpec, shape: tuple[int, ...]) -> Exception:
    message = f"input `{spec.name}` has shape {shape_text(shape)}, the model takes {shape_text(spec.shape)}"
    return fail(ErrorCode.INVALID_ARGUMENT, message)


def check_header(spec: TensorSpec, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Check the dtype and the shape of an array that is not read yet.

    INVALID_ARGUMENT: as `InputCheck` answers for such an array.
    """
    _require_dtype(dtype, spec)
    _require_shape(shape, _fixed(spec), spec)


def _require_dtype(dtype: np.dtype[Any], spec: TensorSpec) -> None:
    found = DataType.of(dtype)
    if found is not spec.dtype:
        message = f"input `{spec.name}` is {found or dtype}, the model takes {spec.dtype}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, f"convert it: `{spec.name}.astype('{spec.dtype.numpy.name}')`")


def _as_array(value: Any, spec: TensorSpec) -> Array:
    """Return `value` as an array of the model's dtype in native byte order: the slow path of the check."""
    array = _host_array(value, spec)
    _require_dtype(array.dtype, spec)
    if spec.dtype is DataType.BYTES:
        return _strings(array, spec)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _host_array(value: Any, spec: TensorSpec) -> Array:
    if isinstance(value, np.ndarray):
        return value if type(value) is np.ndarray else _plain(value, spec)
    if isinstance(value, np.generic):
        return np.asarray(value)
    if hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__"):
        kind = value.__dlpack_device__()[0]
        if kind == 1:
            return _from_dlpack(value, spec)
        raise fail(
            ErrorCode.INVALID_ARGUMENT,
            f"input `{spec.name}` is on another device (DLPack device type {kind}), and the model runs on the CPU",
            f"copy it to the host: `{spec.name}.cpu()`",
        )
    raise fail(
        ErrorCode.INVALID_ARGUMENT,
        f"input `{spec.name}` is a {type(value).__name__}, not an array",
        f"wrap it: `numpy.asarray({spec.name}, dtype='{spec.dtype.numpy.name}')`",
    )


def _from_dlpack(value: Any, spec: TensorSpec) -> Array:
    try:
        return np.asarray(np.from_dlpack(value))
    except Exception as error:
        message = f"input `{spec.name}` is a {type(value).__name__} that does not export its data: {error}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, "pass it as a numpy array", cause=repr(error)) from error


def _plain(value: Array, spec: TensorSpec) -> Array:
    if isinstance(value, np.ma.MaskedArray):
        message = f"input `{spec.name}` is a masked array, and no engine supports masks"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, f"fill it: `{spec.name}.filled(...)`")
    return np.asarray(value)


def _strings(array: Array, spec: TensorSpec) -> Array:
    for value in array.flat:
        if not isinstance(value, str | bytes):
            message = f"input `{spec.name}` holds a {type(value).__name__}, the model takes strings (BYTES)"
            raise fail(ErrorCode.INVALID_ARGUMENT, message)
    return array if array.dtype.kind == "O" else array.astype(object)
