"""`MockBackend`: a deterministic backend that needs numpy only; for tests, and for a manifest without its engines."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np
from pydantic import Field, ValidationError

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.backends.files.onnx import read_onnx
from aegisrt.backends.files.readable import known_format
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.options import BackendOptions, StrictModel
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.tensor import Array, DataType, Signature, TensorSpec


class MockOptions(BackendOptions):
    """Options of the mock."""

    nicknames = ("dummy", "fake")
    kind: Literal["mock"] = "mock"
    """Always `mock`."""
    delay_ms: Annotated[float, Field(ge=0, le=3_600_000)] = 0.0
    """Milliseconds that each call takes; the GIL is free meanwhile."""
    load_delay_ms: Annotated[float, Field(ge=0, le=3_600_000)] = 0.0
    """Milliseconds that a load takes."""
    fail_load: ErrorCode | None = None
    """The code with which every load fails."""
    fail_execute: ErrorCode | None = None
    """The code with which calls fail."""
    fail_every: Annotated[int, Field(ge=1)] = 1
    """With `fail_execute`: fail each call whose count is a multiple of this."""


class Identity(StrictModel):
    """The output is a copy of an input."""

    kind: Literal["identity"]
    input: str


class Affine(StrictModel):
    """The output is `scale * input + offset`, computed in the output's dtype."""

    kind: Literal["affine"]
    input: str
    scale: float = 1.0
    offset: float = 0.0


class Add(StrictModel):
    """The output is the sum of two inputs, broadcast as numpy does."""

    kind: Literal["add"]
    inputs: tuple[str, str]


class Digest(StrictModel):
    """The output is pseudo-random, seeded by the bytes of all inputs: equal inputs give equal bits."""

    kind: Literal["digest"]


Operation: TypeAlias = Annotated[Identity | Affine | Add | Digest, Field(discriminator="kind")]


class MockTensor(StrictModel):
    """An input of a mock model."""

    name: str
    dtype: DataType
    shape: tuple[int | str | None, ...] | None
    """None accepts any rank; such an output is a scalar."""
    optional: bool = False
    """Of an input: a request may leave it out; only a digest may read it."""

    def spec(self) -> TensorSpec:
        """Return it as a TensorSpec."""
        return TensorSpec(self.name, self.dtype, self.shape, self.optional)


class MockOutput(MockTensor):
    """An output of a mock model, and the operation that makes it."""

    operation: Operation


class MockModel(StrictModel):
    """A mock model's file, in JSON."""

    format: Literal["aegisrt-mock/v1"]
    delay_ms: Annotated[float, Field(ge=0, le=3_600_000)] = 0.0
    """Milliseconds that each call takes, in addition to those of the options."""
    inputs: tuple[MockTensor, ...]
    outputs: Annotated[tuple[MockOutput, ...], Field(min_length=1)]
    metadata: dict[str, str] = Field(default_factory=dict)
    """The model's own metadata, such as class names."""


class _MockSlot:
    def __init__(self, model: MockModel) -> None:
        self.outputs = {output.name: output for output in model.outputs}
        self.delay_ms = model.delay_ms
        self.calls = 0


class MockBackend(RuntimeBackend[MockOptions, MockModel, _MockSlot]):
    """Loads a mock model's JSON, or any ONNX file: it has that file's signature, and answers digests."""

    kind = "mock"
    Options: ClassVar[type[BackendOptions]] = MockOptions
    capabilities = Capabilities(
        formats=(".mock.json", ".onnx"),
        dtypes=frozenset(DataType) - {DataType.BF16},
        dynamic_shapes=True,
        zero_size=True,
        scalars=True,
    )

    @classmethod
    def conformance_model(cls, name: str, folder: Path) -> Path | None:
        """Return the mock's own file only: its answers for an ONNX file are digests."""
        file = folder / f"{name}.mock.json"
        return file if file.is_file() else None

    def _load(self, path: Path) -> MockModel:
        time.sleep(self.options.load_delay_ms / 1e3)
        if self.options.fail_load is not None:
            raise fail(self.options.fail_load, "the mock is set to fail at load", "see `fail_load` in its options")
        with path.open("rb") as stream:
            head = stream.read(64).lstrip()
        return _read_json(path) if head.startswith(b"{") else _from_onnx(path)

    def _signature(self, engine: MockModel) -> Signature:
        return Signature(tuple(i.spec() for i in engine.inputs), tuple(o.spec() for o in engine.outputs))

    def _model_metadata(self, engine: MockModel) -> dict[str, str]:
        return engine.metadata

    def _open(self, engine: MockModel, stream: Any) -> _MockSlot:
        return _MockSlot(engine)

    def _execute(self, slot: _MockSlot, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Array]:
        if delay_ms := self.options.delay_ms + slot.delay_ms:
            time.sleep(delay_ms / 1e3)
        slot.calls += 1
        if self.options.fail_execute is not None and slot.calls % self.options.fail_every == 0:
            raise fail(self.options.fail_execute, "the mock is set to fail", "see `fail_execute` in its options")
        return [_compute(slot.outputs[name], inputs) for name in outputs]

    def _classify(self, error: Exception) -> ErrorCode | None:
        return ErrorCode.INVALID_ARGUMENT if isinstance(error, ValueError) else None


def _read_json(path: Path) -> MockModel:
    try:
        raw = path.read_bytes()
        json.loads(raw)
        model = MockModel.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = f"{path} is not a mock model: {where}: {first['msg']}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, cause=str(error)) from None
    except ValueError as error:
        hint = "write or copy it again"
        raise fail(ErrorCode.DATA_LOSS, f"{path} is cut short or damaged", hint, cause=str(error)) from None
    known = {item.name for item in model.inputs if not item.optional}
    for output in model.outputs:
        used = set(_used(output.operation))
        if used - known:
            message = f"{path}: output `{output.name}` reads `{min(used - known)}`, which is not an input"
            raise fail(ErrorCode.INVALID_ARGUMENT, message)
    return model


def _used(operation: Identity | Affine | Add | Digest) -> tuple[str, ...]:
    match operation:
        case Identity() | Affine():
            return (operation.input,)
        case Add():
            return operation.inputs
        case Digest():
            return ()


def _from_onnx(path: Path) -> MockModel:
    other = known_format(path)
    if other:
        message = f"{path} is {other}, not a mock model or an ONNX model"
        raise fail(ErrorCode.INVALID_ARGUMENT, message)
    file = read_onnx(path)
    signature = file.signature
    for spec in (*signature.required, *signature.outputs):
        if spec.dtype not in MockBackend.capabilities.dtypes:
            raise fail(
                ErrorCode.UNIMPLEMENTED, f"`{spec.name}` of {path} is {spec.dtype}, which the mock does not support"
            )
    return MockModel.model_construct(
        format="aegisrt-mock/v1",
        inputs=tuple(MockTensor.model_construct(**_fields(spec)) for spec in _served(signature)),
        outputs=tuple(
            MockOutput.model_construct(**_fields(spec), operation=Digest(kind="digest")) for spec in signature.outputs
        ),
        metadata=file.metadata,
    )


def _served(signature: Signature) -> Iterator[TensorSpec]:
    """Yield the inputs, without optional ones of a dtype that the mock does not support."""
    able = MockBackend.capabilities.dtypes
    return (spec for spec in signature.inputs if not spec.optional or spec.dtype in able)


def _fields(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype, "shape": spec.shape, "optional": spec.optional}


def _compute(output: MockOutput, inputs: dict[str, Array]) -> Array:
    dtype = output.dtype.numpy
    match output.operation:
        case Identity(input=name):
            return inputs[name].astype(dtype, copy=True)
        case Affine(input=name, scale=scale, offset=offset):
            value = inputs[name].astype(dtype)
            return np.asarray(value * dtype.type(scale) + dtype.type(offset), dtype)
        case Add(inputs=(left, right)):
            return np.asarray(inputs[left] + inputs[right], dtype)
        case Digest():
            return _digest(output, inputs)


def _digest(output: MockOutput, inputs: dict[str, Array]) -> Array:
    """Return the whole output of one digest; or, if the first dimension is the batch, one digest for each row."""
    shape = tuple(_size(dim, axis, inputs) for axis, dim in enumerate(output.shape or ()))
    rows = {value.shape[0] if value.ndim else None for value in inputs.values()}
    if not shape or isinstance((output.shape or ())[0], int) or rows != {shape[0]}:
        return _typed(_random(output.name, inputs, shape), output.dtype)
    values = np.empty(shape)
    for row in range(shape[0]):
        values[row] = _random(output.name, {name: value[row] for name, value in inputs.items()}, shape[1:])
    return _typed(values, output.dtype)


def _random(name: str, inputs: dict[str, Array], shape: tuple[int, ...]) -> Array:
    digest = hashlib.blake2b(name.encode(), digest_size=8)
    for key, value in inputs.items():
        content = np.asarray(value)
        digest.update(f"{key}{content.shape}".encode())
        digest.update(repr(content.tolist()).encode() if content.dtype.hasobject else content.tobytes())
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest.digest(), "little"))).random(shape)


def _typed(values: Array, dtype: DataType) -> Array:
    if dtype is DataType.BYTES:
        return np.asarray(values.astype(str), object)
    whole = dtype.numpy.kind in "iu"
    return np.asarray(values * 100 if whole else values).astype(dtype.numpy)


def _size(dim: int | str | None, axis: int, inputs: dict[str, Array]) -> int:
    """Return the size of one dimension of an output: a dynamic first one is the batch, other dynamic ones are 1."""
    if isinstance(dim, int):
        return dim
    first = next(iter(inputs.values()), None)
    return first.shape[0] if axis == 0 and first is not None and first.ndim else 1
