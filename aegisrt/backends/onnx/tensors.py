"""Converts tensors that `InferenceSession.run` does not accept: BF16, and strings given as bytes.

numpy has no bfloat16, so BF16 is passed as an `OrtValue` over the bits
(https://onnxruntime.ai/docs/api/python/api_summary.html#ortvalue).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from aegisrt.backends.files.onnx_elements import ELEMENT
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.tensor import Array, DataType, Signature


class Conversion:
    """Converts the inputs and outputs of one model; shared by all of its instances."""

    def __init__(self, ort: Any, signature: Signature) -> None:
        self._ort = ort
        self._strings = _names(signature.inputs, DataType.BYTES)
        self._bf16_inputs = _names(signature.inputs, DataType.BF16)
        self._bf16_outputs = frozenset(_names(signature.outputs, DataType.BF16))
        if self._strings and self._bf16_outputs:
            message = f"a string input (`{self._strings[0]}`) with a BF16 output (`{min(self._bf16_outputs)}`)"
            raise fail(ErrorCode.UNIMPLEMENTED, f"ONNX Runtime's Python API cannot run {message}")

    @property
    def needed(self) -> bool:
        """Whether any request needs more than a plain `run`."""
        return bool(self._strings or self._bf16_inputs or self._bf16_outputs)

    def run(self, session: Any, outputs: tuple[str, ...], inputs: dict[str, Array]) -> Sequence[Any]:
        """Return the outputs of one call, as `session.run` does."""
        feed: dict[str, Any] = dict(inputs)
        for name in self._strings:
            if name in inputs:
                feed[name] = _as_text(inputs[name], name)
        for name in self._bf16_inputs:
            if name in inputs:
                feed[name] = self._bits(inputs[name])
        if self._bf16_outputs.isdisjoint(outputs):
            return session.run(outputs, feed)  # type: ignore[no-any-return]
        for name, value in feed.items():
            if isinstance(value, np.ndarray):
                feed[name] = self._ort.OrtValue.ortvalue_from_numpy(value)
        values = session.run_with_ort_values(outputs, feed)
        return [
            _bf16(value) if name in self._bf16_outputs else value.numpy()
            for name, value in zip(outputs, values, strict=True)
        ]

    def _bits(self, array: Array) -> Any:
        return self._ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), ELEMENT[DataType.BF16])


def _names(specs: Sequence[Any], dtype: DataType) -> tuple[str, ...]:
    return tuple(spec.name for spec in specs if spec.dtype is dtype)


def _bf16(value: Any) -> Array:
    """Return a BF16 tensor as an array of its own; the OrtValue lives until its bits are copied."""
    bits = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes()) if 0 not in value.shape() else b""
    return np.frombuffer(bytearray(bits), DataType.BF16.numpy).reshape(value.shape())


def _as_text(array: Array, name: str) -> Array:
    """Return an array of str: ONNX Runtime would read `b"a"` as the text `b'a'`."""
    flat = array.ravel().tolist()
    if not any(isinstance(item, bytes) for item in flat):
        return array
    texts = np.empty(array.size, object)
    try:
        texts[:] = [item.decode() if isinstance(item, bytes) else item for item in flat]
    except UnicodeDecodeError as error:
        message = f"input `{name}` has bytes that are not UTF-8; ONNX strings are UTF-8"
        raise fail(
            ErrorCode.INVALID_ARGUMENT, message, "encode them, for example as base64", cause=str(error)
        ) from None
    return texts.reshape(array.shape)
