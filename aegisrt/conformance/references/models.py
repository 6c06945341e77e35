"""The reference models: their inputs, their outputs, and how numpy computes the right outputs.

tests/conformance/references/make_models.py makes the files of aegisrt/conformance/models from this table. Inputs come
from a seed. Goldens are computed here and stored nowhere, independently of every backend. Names of inputs and outputs
are not in alphabetical order, so that a backend that sorts them is detected.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np

from aegisrt.conformance.references.compare import ACCUMULATED, ELEMENTWISE
from aegisrt.conformance.references.convnet import conv_net
from aegisrt.core.tensor import Array, DataType, Dim, Signature, TensorSpec

SLOW_STEPS = 24
"""MatMul nodes in the slow models; even, so that a matrix that is its own inverse is returned unchanged."""
SLOW_SIDES = (384, 768, 2048, 3072, 6144)
"""Rows of the slow models' square inputs: on each device one of them takes tens of milliseconds."""


@dataclass(frozen=True, slots=True)
class IdentityReference:
    """The output is the input."""

    input: str


@dataclass(frozen=True, slots=True)
class AffineReference:
    """The output is `scale * input + offset`."""

    input: str
    scale: float
    offset: float


@dataclass(frozen=True, slots=True)
class AddReference:
    """The output is the sum of two inputs."""

    left: str
    right: str


@dataclass(frozen=True, slots=True)
class DefaultedAddReference:
    """The output is the sum of an input and an optional one, which is `default` everywhere if it is left out."""

    input: str
    optional: str
    default: float


@dataclass(frozen=True, slots=True)
class PowerReference:
    """The output is the input, multiplied `SLOW_STEPS` times by itself: long to compute, small to store."""

    input: str


@dataclass(frozen=True, slots=True)
class ConvNetReference:
    """The output is the class probabilities of a small convolutional net."""

    input: str


_BELOW = {1: 100, 2: 100, 4: 1 << 28, 8: 1 << 60}
"""By size in bytes: a bound of integers that overflow in no affine model, beyond what a float of that size holds."""

Operation: TypeAlias = (
    IdentityReference | AffineReference | AddReference | DefaultedAddReference | PowerReference | ConvNetReference
)


@dataclass(frozen=True, slots=True)
class Reference:
    """One reference model."""

    name: str
    signature: Signature
    operations: dict[str, Operation]
    """By output name."""
    external: bool = False
    """Its weights lie in a file beside it."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Its own metadata: texts by key."""

    @property
    def dtypes(self) -> frozenset[DataType]:
        """Return the dtypes of its inputs and outputs."""
        return frozenset(spec.dtype for spec in self._specs())

    @property
    def dynamic(self) -> bool:
        """Return whether a dimension of it is dynamic."""
        return any(not isinstance(dim, int) for spec in self._specs() for dim in spec.shape or ())

    @property
    def scalar(self) -> bool:
        """Return whether a tensor of it has rank 0."""
        return any(spec.shape == () for spec in self._specs())

    def inputs(self, seed: int = 0, /, **dims: int) -> dict[str, Array]:
        """Return the required inputs from a seed; a dynamic dimension has the size given by its name, or 2."""
        random = np.random.default_rng([seed, crc32(self.name.encode())])
        if any(isinstance(operation, PowerReference) for operation in self.operations.values()):
            return {spec.name: _own_inverse(random, spec) for spec in self.signature.inputs}
        return {
            spec.name: _values(random, spec.dtype, tuple(_size(dim, dims) for dim in spec.shape or ()))
            for spec in self.signature.required
        }

    def goldens(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Return the right outputs for `inputs`, computed in double precision if the dtype is a float."""
        return {
            spec.name: np.asarray(_compute(self.operations[spec.name], inputs)).astype(spec.dtype.numpy)
            for spec in self.signature.outputs
        }

    def tolerance(self, output: str) -> float:
        """Return the accepted difference of one output, relative to the largest value; 0 asks for equal bits."""
        dtype = next(spec.dtype for spec in self.signature.outputs if spec.name == output)
        match self.operations[output]:
            case IdentityReference() | PowerReference():
                return 0.0
            case ConvNetReference():
                return ACCUMULATED.get(dtype.numpy.name, 0.0)
            case _:
                return ELEMENTWISE.get(dtype.numpy.name, 0.0)

    def _specs(self) -> Iterator[TensorSpec]:
        yield from self.signature.inputs
        yield from self.signature.outputs


def _compute(operation: Operation, inputs: dict[str, Array]) -> Array:
    match operation:
        case IdentityReference(name):
            return inputs[name]
        case PowerReference(name):
            return inputs[name]  # `inputs` makes only matrices that are their own inverse, and the exponent is odd
        case AffineReference(name, scale, offset):
            wide = _wide(inputs[name])
            return np.asarray(wide * wide.dtype.type(scale) + wide.dtype.type(offset))
        case AddReference(left, right):
            return np.asarray(_wide(inputs[left]) + _wide(inputs[right]))
        case DefaultedAddReference(name, optional, default):
            return np.asarray(_wide(inputs[name]) + (_wide(inputs[optional]) if optional in inputs else default))
        case ConvNetReference(name):
            return conv_net(_wide(inputs[name]))


def _wide(array: Array) -> Array:
    return array.astype(np.int64 if array.dtype.kind in "iu" else np.float64)


def _size(dim: Dim, dims: dict[str, int]) -> int:
    return dim if isinstance(dim, int) else dims.get(dim or "", 2)


def _own_inverse(random: np.random.Generator, spec: TensorSpec) -> Array:
    """Return a permutation matrix that swaps pairs: exact in every precision, TF32 too, however often multiplied."""
    (side, _) = spec.shape or (0, 0)
    assert isinstance(side, int)
    order = np.arange(side)
    pairs = random.permutation(order).reshape(-1, 2)
    order[pairs[:, 0]], order[pairs[:, 1]] = pairs[:, 1], pairs[:, 0]
    return np.asarray(np.eye(side)[order], spec.dtype.numpy)


def _values(random: np.random.Generator, dtype: DataType, shape: tuple[int, ...]) -> Array:
    if dtype is DataType.BYTES:
        return np.asarray([f"word {number}" for number in random.integers(0, 1000, np.prod(shape))], object).reshape(
            shape
        )
    if dtype is DataType.BOOL:
        return np.asarray(random.random(shape) < 0.5)
    if dtype.numpy.kind in "iu":
        return np.asarray(random.integers(0, _BELOW[dtype.numpy.itemsize], shape)).astype(dtype.numpy)
    return np.asarray(random.uniform(-4, 4, shape)).astype(dtype.numpy)


def _spec(name: str, dtype: DataType, *shape: Dim) -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def _one(name: str, dtype: DataType, shape: tuple[Dim, ...], operation: Any, **more: Any) -> Reference:
    """Return a model of one input `x` and one output `y` of one dtype and shape."""
    signature = Signature((_spec("x", dtype, *shape),), (_spec("y", dtype, *shape),))
    return Reference(name, signature, {"y": operation}, **more)


def _table() -> Iterator[Reference]:
    fp32, int32 = DataType.FP32, DataType.INT32
    for dtype in DataType:
        yield _one(f"identity-{dtype.lower()}", dtype, (4, 4), IdentityReference("x"))
    for dtype in (DataType.FP16, DataType.FP64, int32, DataType.INT64):
        yield _one(f"affine-{dtype.lower()}", dtype, (2, 3), AffineReference("x", 3, -1))
    yield _one("affine", fp32, (2, 3), AffineReference("x", 2.5, -1.25))
    yield _one("affine-other", fp32, (2, 3), AffineReference("x", -0.75, 8.0))
    yield _one("affine-wide", fp32, (5, 2), AffineReference("x", 0.5, 3.0))
    yield _one("external", fp32, (2, 3), AffineReference("x", 1.5, 0.25), external=True)
    yield _one("scalar", fp32, (), AffineReference("x", 2.0, 1.0))
    yield _one("batch", fp32, ("batch", 3), AffineReference("x", 2.0, 0.5))
    yield _one("rows-and-columns", fp32, ("rows", "columns"), AffineReference("x", -1.5, 0.5))
    yield _one("unnamed", fp32, (None, 3), AffineReference("x", 4.0, -2.0))
    yield Reference(
        "pair",
        Signature((_spec("b", fp32, "n"), _spec("a", fp32, "n")), (_spec("sum", fp32, "n"),)),
        {"sum": AddReference("b", "a")},
    )
    yield Reference(
        "default",
        Signature((_spec("x", fp32, 2, 3), TensorSpec("offset", fp32, (2, 3), True)), (_spec("y", fp32, 2, 3),)),
        {"y": DefaultedAddReference("x", "offset", 1.5)},
    )
    yield Reference(
        "multi-io",
        Signature(
            (_spec("right", fp32, 2, 3), _spec("count", int32, 4), _spec("left", fp32, 2, 3)),
            (_spec("total", fp32, 2, 3), _spec("counted", int32, 4), _spec("first", fp32, 2, 3)),
        ),
        {
            "total": AddReference("right", "left"),
            "counted": AffineReference("count", 2, 1),
            "first": AffineReference("right", 3.0, -1.0),
        },
        metadata={"classes": "total, counted, first", "characters": "a\nÄ\n字\n", "empty": ""},
    )
    image = (_spec("image", fp32, 1, 1, 8, 8),)
    yield Reference(
        "conv-net",
        Signature(image, (_spec("probabilities", fp32, 1, 10),)),
        {"probabilities": ConvNetReference("image")},
    )
    for side in SLOW_SIDES:
        yield _one(f"slow-{side}", fp32, (side, side), PowerReference("x"))


REFERENCES: dict[str, Reference] = {reference.name: reference for reference in _table()}
