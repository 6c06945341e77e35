"""Defects of numbers."""

from __future__ import annotations

import numpy as np

from aegisrt.backends.mock import MockBackend
from aegisrt.conformance.references.convnet import CHANNELS, CLASSES, SIDE, weights
from tests.conformance.defects.defect import defect
from tests.conformance.defects.seams import Altering
from tests.conformance.defects.sound import SoundBackend


class Computing(MockBackend):
    """Computes values of one dtype in another, and returns the first."""

    DTYPE: str
    IN: str

    def _execute(self, slot, inputs, outputs):
        if any(output.operation.kind == "identity" for output in slot.outputs.values()):
            return super()._execute(slot, inputs, outputs)
        rough = {name: self.rough(value) for name, value in inputs.items()}
        return [self.rough(value) for value in super()._execute(slot, rough, outputs)]

    def rough(self, value):
        return value.astype(self.IN).astype(self.DTYPE) if value.dtype == self.DTYPE else value


@defect("numerics.fp16", "execute: output `y` of `affine-fp16`")
class Fp16InEightBits(Computing):
    DTYPE = "float16"

    def rough(self, value):
        return (value.view(np.uint16) & 0xFF80).view(np.float16) if value.dtype == np.float16 else value


@defect("numerics.fp32", "execute: output `y` of `affine`")
class Fp32InHalf(Computing):
    DTYPE, IN = "float32", "float16"


@defect("numerics.fp64", "execute: output `y` of `affine-fp64`")
class Fp64InSingle(Computing):
    DTYPE, IN = "float64", "float32"


@defect("numerics.int32", "execute: output `y` of `affine-int32`")
class Int32InSingle(Computing):
    DTYPE, IN = "int32", "float32"


@defect("numerics.int64", "execute: output `y` of `affine-int64`")
class Int64InDouble(Computing):
    DTYPE, IN = "int64", "float64"


@defect("numerics.int64", "execute: output `y` of `affine-int64`")
class Int64In32Bits(Computing):
    DTYPE, IN = "int64", "int32"


class Convolving(SoundBackend):
    """Computes the convolutional net step by step; a subclass breaks one step."""

    def _execute(self, slot, inputs, outputs):
        if slot.name != "conv-net":
            return super()._execute(slot, inputs, outputs)
        parameters, image = weights(), inputs["image"]
        padded = np.pad(image[:, 0], ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        features = np.einsum("bhwij,cij->bchw", windows, self.kernel(parameters["kernel"][:, 0]))
        features = np.maximum(features + parameters["bias"][:, None, None], 0)
        half = SIDE // 2
        flat = self.pool(features.reshape(-1, CHANNELS, half, 2, half, 2)).reshape(len(image), -1)
        return [self.probabilities(flat @ parameters["dense"] + parameters["dense_bias"]).astype(np.float32)]

    def kernel(self, kernel):
        return kernel

    def pool(self, squares):
        return squares.max(axis=(3, 5))

    def probabilities(self, logits):
        powers = np.exp(logits)
        return powers / powers.sum(axis=1, keepdims=True)


@defect("numerics.conv-net", "output `probabilities` of `conv-net`")
class FlipsTheKernel(Convolving):
    """Convolves with a flipped kernel, as in mathematics."""

    def kernel(self, kernel):
        return kernel[:, ::-1, ::-1]


@defect("numerics.conv-net", "output `probabilities` of `conv-net`")
class PoolsByMean(Convolving):
    def pool(self, squares):
        return squares.mean(axis=(3, 5))


@defect("numerics.conv-net", "output `probabilities` of `conv-net`")
class SoftmaxesTheBatch(Convolving):
    def probabilities(self, logits):
        return np.full((1, CLASSES), 1 / CLASSES)


@defect("numerics.nan", "nan in FP16: wanted")
class ReplacesNan(Altering):
    def alter(self, value):
        return np.where(np.isnan(value), 0, value).astype(value.dtype) if value.dtype.kind == "f" else value


@defect("numerics.nan", "NaN at [0,1] went in")
class SpreadsNan(MockBackend):
    def _execute(self, slot, inputs, outputs):
        values = super()._execute(slot, inputs, outputs)
        identity = any(output.operation.kind == "identity" for output in slot.outputs.values())
        return values if identity else [value + 0 * value.max() for value in values]


@defect("numerics.infinity", "infinity in FP16: wanted")
class SaturatesInfinity(Altering):
    def alter(self, value):
        return np.nan_to_num(value, nan=np.nan) if value.dtype.kind == "f" else value


@defect("numerics.infinity", "wanted [[inf, -inf, inf]")
class SaturatesOverflow(MockBackend):
    def _execute(self, slot, inputs, outputs):
        values = super()._execute(slot, inputs, outputs)
        identity = any(output.operation.kind == "identity" for output in slot.outputs.values())
        return values if identity else [np.clip(value, -3.4e38, 3.4e38).astype(value.dtype) for value in values]


@defect("numerics.denormals", "denormals in FP16: wanted")
class FlushesDenormals(Altering):
    def alter(self, value):
        if value.dtype.kind != "f":
            return value
        tiny = np.abs(value) < np.finfo(value.dtype).smallest_normal
        return np.where(tiny, np.copysign(0, value), value).astype(value.dtype)


@defect("numerics.signed-zero", "signed zero in FP16: wanted")
class AddsZero(Altering):
    def alter(self, value):
        return value + value.dtype.type(0) if value.dtype.kind == "f" else value
