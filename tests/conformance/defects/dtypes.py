"""Defects of single dtypes: the losses that engines and their bindings are known for."""

from __future__ import annotations

import numpy as np

from aegisrt.core.tensor import DataType
from tests.conformance.defects.defect import defect
from tests.conformance.defects.seams import Altering
from tests.conformance.defects.sound import WithBf16


class Losing(Altering):
    """Passes values of one dtype through `lose`."""

    DTYPE: DataType

    def alter(self, value):
        return self.lose(value).astype(value.dtype) if DataType.of(value.dtype) is self.DTYPE else value

    def lose(self, value):
        return value


@defect("dtypes.bool", "BOOL values, array 1: output `y`")
class BoolsPacked(Losing):
    """Keeps one bit of each byte of eight."""

    DTYPE = DataType.BOOL

    def lose(self, value):
        return np.packbits(value.ravel(), bitorder="little").view(np.uint8).repeat(8).reshape(value.shape) == 1


@defect("dtypes.uint8", "UINT8 values")
class Uint8Signed(Losing):
    DTYPE = DataType.UINT8

    def lose(self, value):
        return np.minimum(value, 127)


@defect("dtypes.uint16", "UINT16 values")
class Uint16Signed(Losing):
    DTYPE = DataType.UINT16

    def lose(self, value):
        return np.minimum(value, 32767)


@defect("dtypes.uint32", "UINT32 values")
class Uint32Single(Losing):
    DTYPE = DataType.UINT32

    def lose(self, value):
        return np.clip(value.astype(np.float32), 0, 4294967040)


@defect("dtypes.uint64", "UINT64 values")
class Uint64Double(Losing):
    DTYPE = DataType.UINT64

    def lose(self, value):
        return np.clip(value.astype(np.float64), 0, 2.0**64 - 2048)


@defect("dtypes.int8", "INT8 values")
class Int8Symmetric(Losing):
    """Loses -128, as symmetric quantization does."""

    DTYPE = DataType.INT8

    def lose(self, value):
        return np.maximum(value, -127)


@defect("dtypes.int16", "INT16 values")
class Int16Half(Losing):
    DTYPE = DataType.INT16

    def lose(self, value):
        return np.clip(value.astype(np.float16).astype(np.float32), -32768, 32767)


@defect("dtypes.int32", "INT32 values")
class Int32Single(Losing):
    DTYPE = DataType.INT32

    def lose(self, value):
        return np.clip(value.astype(np.float32), -(2.0**31), 2.0**31 - 128)


@defect("dtypes.int64", "INT64 values")
class Int64Narrow(Losing):
    DTYPE = DataType.INT64

    def lose(self, value):
        return value.astype(np.int32)


@defect("dtypes.fp16", "FP16 values")
class Fp16AsBf16(Losing):
    """Keeps the seven bits of mantissa that bfloat16 has."""

    DTYPE = DataType.FP16

    def lose(self, value):
        return (value.view(np.uint16) & 0xFFF8).view(np.float16)


@defect("dtypes.bf16", "BF16 values", module="ml_dtypes")
class Bf16Truncated(Losing, WithBf16):
    DTYPE = DataType.BF16

    def lose(self, value):
        return (value.view(np.uint16) & 0xFFFE).view(value.dtype)


@defect("dtypes.fp32", "FP32 values")
class Fp32AsTf32(Losing):
    """Keeps the ten bits of mantissa that TF32 has."""

    DTYPE = DataType.FP32

    def lose(self, value):
        return (value.view(np.uint32) & 0xFFFFE000).view(np.float32)


@defect("dtypes.fp64", "FP64 values")
class Fp64Single(Losing):
    DTYPE = DataType.FP64

    def lose(self, value):
        with np.errstate(over="ignore"):
            return value.astype(np.float32)


@defect("dtypes.bytes", "BYTES values")
class StringsStripped(Losing):
    DTYPE = DataType.BYTES

    def lose(self, value):
        return np.asarray([text.strip() for text in value.flat], object).reshape(value.shape)


@defect("dtypes.bytes", "BYTES values")
class StringsOfFixedWidth(Losing):
    DTYPE = DataType.BYTES

    def lose(self, value):
        return value.astype("U256").astype(object)


@defect("dtypes.bytes", "BYTES values")
class StringsInLatin1(Losing):
    DTYPE = DataType.BYTES

    def lose(self, value):
        return np.asarray([text.encode().decode("latin-1") for text in value.flat], object).reshape(value.shape)
