"""`Binding`: a model's inputs and outputs bound to memory for one set of shapes, so that a call only copies and runs.

https://onnxruntime.ai/docs/api/python/api_summary.html#data-on-device
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple

import numpy as np

from aegisrt.backends.files.onnx_elements import ELEMENT
from aegisrt.core.tensor import Array, DataType, Signature, TensorSpec
from aegisrt.devices.cuda.call import Copy, QuickCall
from aegisrt.devices.cuda.context import CudaContext
from aegisrt.devices.cuda.staged import StagedTensor
from aegisrt.devices.cuda.stream import CudaStream


def runs_bound(signature: Signature) -> bool:
    """Return whether a model's tensors can be bound by address; strings cannot."""
    return all(spec.dtype is not DataType.BYTES for spec in (*signature.inputs, *signature.outputs))


class TensorPlace(NamedTuple):
    """The two addresses of a tensor: the engine's and the host's."""

    device_type: str
    pointer: int
    host: Array
    """In the tensor's shape, in page-locked memory."""
    address: int
    """Of `host`."""

    @property
    def is_copied(self) -> bool:
        """Whether the tensor has elements and the engine does not read or write the host's memory itself."""
        return self.pointer != self.address and self.host.nbytes > 0


@dataclass(slots=True, eq=False)
class TensorMemory:
    """The memory of one binding, or of several that are used in turn; growing it moves tensors."""

    context: CudaContext
    device_type: str
    on_cpu: frozenset[str]
    """Tensors that nodes on the CPU read or write."""
    staged: dict[str, StagedTensor] = field(default_factory=dict)

    def reserve(self, name: str, size_bytes: int, *, direct: bool) -> bool:
        """Make room for a tensor; return whether a bound one has moved.

        `direct`: the GPU reads and writes page-locked memory itself, over the bus. Such memory has one address for both
        (https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__UNIFIED.html).
        """
        staged = self.staged.get(name)
        is_bound = staged is not None
        if staged is None:
            staged = self.staged[name] = StagedTensor(self.context)
        return staged.reserve(size_bytes, device=not direct and name not in self.on_cpu) and is_bound

    def place(self, spec: TensorSpec, shape: tuple[int, ...], *, direct: bool = False) -> TensorPlace:
        """Return the addresses of a tensor; `reserve` comes first."""
        staged = self.staged[spec.name]
        address = staged.address
        on_cpu = spec.name in self.on_cpu
        pointer = address if direct or on_cpu else staged.pointer
        host = staged.view(shape, spec.dtype.numpy)
        return TensorPlace("cpu" if on_cpu else self.device_type, pointer, host, address)

    def free(self) -> None:
        """Free all of it; may be called again."""
        for staged in self.staged.values():
            staged.free()
        self.staged.clear()


@dataclass(slots=True, eq=False)
class Binding:
    """One set of shapes. Its memory may be shared with others: `TensorMemory.reserve` reports when it has moved."""

    io: Any
    """An `onnxruntime.IOBinding`."""
    run_options: Any
    memory: TensorMemory
    stream: CudaStream
    places: dict[str, TensorPlace] = field(default_factory=dict)
    """The inputs that each call fills, by name."""
    uploads: list[Copy] = field(default_factory=list)
    """The copies of those that the engine reads on the GPU."""
    results: list[TensorPlace] | None = None
    """The outputs, once their shapes are known."""
    quick: QuickCall | None = None
    """The whole call, once everything is bound."""
    broken: int = 0
    """How often the recording of its run was broken by other work on the GPU."""
    used: bool = False
    """Whether it ran with memory of ONNX Runtime bound to the outputs: that stays bound, whatever the next shapes."""

    @property
    def downloads(self) -> list[Copy]:
        """The copies of outputs that the engine writes on the GPU."""
        results = self.results or ()
        return [Copy(place.address, place.pointer, place.host.nbytes) for place in results if place.is_copied]

    def bind_input(self, spec: TensorSpec, shape: tuple[int, ...], place: TensorPlace) -> None:
        """Bind an input to memory that each call fills."""
        self.io.bind_input(spec.name, place.device_type, *self._tensor(place, spec, shape))
        self.places[spec.name] = place
        if place.is_copied:
            self.uploads.append(Copy(place.pointer, place.address, place.host.nbytes))

    def bind_borrowed(self, spec: TensorSpec, shape: tuple[int, ...], pointer: int) -> None:
        """Bind an input to the caller's own memory on the GPU."""
        ordinal = self.stream.device.ordinal
        self.io.bind_input(spec.name, self.memory.device_type, ordinal, ELEMENT[spec.dtype], shape, pointer)

    def bind_outputs(self, specs: list[TensorSpec], places: list[TensorPlace]) -> None:
        """Bind the outputs to memory of ours: fewer allocations than with ONNX Runtime's, and fixed addresses."""
        for spec, place in zip(specs, places, strict=True):
            self.io.bind_output(spec.name, place.device_type, *self._tensor(place, spec, place.host.shape))
        self.results = places

    def bind_unallocated(self, outputs: tuple[str, ...]) -> None:
        """Let ONNX Runtime allocate the outputs, as long as their shapes are not known."""
        if self.used:
            self.io.clear_binding_outputs()
        self.results = self.quick = None
        for name in outputs:
            on_cpu = name in self.memory.on_cpu
            self.io.bind_output(
                name, "cpu" if on_cpu else self.memory.device_type, 0 if on_cpu else self.stream.device.ordinal
            )

    def _tensor(self, place: TensorPlace, spec: TensorSpec, shape: tuple[int, ...]) -> tuple[Any, ...]:
        ordinal = 0 if place.device_type == "cpu" else self.stream.device.ordinal
        return ordinal, ELEMENT[spec.dtype], shape, place.pointer


def size_bytes(spec: TensorSpec, shape: tuple[int, ...]) -> int:
    """Return the bytes of a tensor."""
    return prod(shape) * spec.dtype.numpy.itemsize


def owned(value: Any) -> Array:
    """Return a copy of an OrtValue on the CPU."""
    return np.array(value.numpy())
