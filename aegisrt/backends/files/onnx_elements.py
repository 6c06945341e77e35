"""The element types of ONNX: their numbers, names and data types.

`onnx.TensorProto.DataType` (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

from aegisrt.core.tensor import DataType

_NAMES = (
    "UNDEFINED", "FLOAT", "UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64", "STRING", "BOOL", "FLOAT16", "DOUBLE",
    "UINT32", "UINT64", "COMPLEX64", "COMPLEX128", "BFLOAT16", "FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2",
    "FLOAT8E5M2FNUZ", "UINT4", "INT4", "FLOAT4E2M1", "FLOAT8E8M0", "UINT2", "INT2", "FLOAT6E2M3", "FLOAT6E3M2",
)  # fmt: skip
"""By number."""
_RENAMED = {"FLOAT": "FP32", "DOUBLE": "FP64", "FLOAT16": "FP16", "BFLOAT16": "BF16", "STRING": "BYTES"}
_DATA_TYPES = {name: DataType(own) for name in _NAMES if (own := _RENAMED.get(name, name)) in set(DataType)}
ELEMENT = {dtype: _NAMES.index(name) for name, dtype in _DATA_TYPES.items()}
"""ONNX's number of each data type."""


def element_name(number: int) -> str:
    """Return ONNX's name of an element type, such as FLOAT8E4M3FN for 17."""
    return _NAMES[number] if 0 <= number < len(_NAMES) else f"element type {number} of onnx.TensorProto"


def data_type(name: str) -> DataType | None:
    """Return the data type of an element type by its name in either case, or None if `DataType` lacks it."""
    return _DATA_TYPES.get(name.upper())
