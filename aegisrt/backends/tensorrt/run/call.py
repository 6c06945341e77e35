"""`PreparedCall`: the state that calls of equal shapes share: the memory of their tensors, and how to enqueue them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from numpy import ndarray

from aegisrt.backends.tensorrt.run.buffers import TensorBuffers
from aegisrt.backends.tensorrt.run.context import Shape, ShapedContext
from aegisrt.core.tensor import Array
from aegisrt.devices.cuda.arrays import DeviceArray, JoinedArray
from aegisrt.devices.cuda.call import GpuCalls, QuickCall
from aegisrt.devices.cuda.stream import CudaStream

Borrowed = dict[str, DeviceArray | JoinedArray]
"""The caller's inputs that are on the GPU already, by the engine's names."""
ALIGNMENT = 256
"""Bytes; required of an address by `IExecutionContext::setTensorAddress`."""
Staged = tuple[TensorBuffers, Array]
"""A tensor's memory, and its page-locked part in the shape of the call."""


@dataclass(slots=True, eq=False)
class PreparedCall:
    """In one thread at a time."""

    names: tuple[str, ...]
    """The requested outputs, by the caller's names."""
    inputs: tuple[Staged, ...]
    shapes: dict[str, Shape]
    """Of the inputs, by the caller's names."""
    outputs: dict[str, Staged]
    """The requested outputs whose shape is known before the call, by the caller's names."""
    fetched: list[Staged]
    """Those of them that are copied to the host."""
    unrequested: tuple[TensorBuffers, ...]
    """Other outputs whose shape is known: the engine writes all of them."""
    runs: int = 0

    def quick(self, gpu: GpuCalls, launch: Callable[[], int]) -> QuickCall | None:
        """Return the whole call around a recording of it; None if it cannot be prepared whole.

        Each requested output must be copied to the host, and no tensor be converted.
        """
        tensors = (*self.inputs, *self.fetched)
        if not gpu.alone or len(self.fetched) < len(self.names) or any(buffers.converts for buffers, _ in tensors):
            return None
        inputs, results = ([view for _, view in side] for side in (self.inputs, self.fetched))
        return QuickCall(gpu.stream, self.names, inputs=inputs, launch=launch, results=results)

    def stage(self, inputs: dict[str, Array]) -> Borrowed:
        """Copy inputs to page-locked memory; return those that are on the GPU already."""
        borrowed: Borrowed = {}
        for (buffers, view), value in zip(self.inputs, inputs.values(), strict=True):
            if isinstance(value, ndarray):
                buffers.fill(view, value)
            elif buffers.tensor.on_host or buffers.dtype != value.dtype:
                buffers.fill(view, value.numpy())
            else:
                borrowed[buffers.tensor.name] = value
        return borrowed

    def set_addresses(self, context: ShapedContext) -> None:
        """Set the addresses of all tensors in a context."""
        for buffers, _ in (*self.inputs, *self.outputs.values()):
            context.set_address(buffers.tensor.name, buffers.pointer)
        for buffers in self.unrequested:
            context.set_address(buffers.tensor.name, buffers.pointer)

    def enqueue(self, context: ShapedContext, stream: CudaStream, gpu: GpuCalls, borrowed: Borrowed) -> None:
        """Enqueue the copies in, the kernels, and the copies out.

        Errors as of `ShapedContext.refused`: if TensorRT does not enqueue the kernels.
        """
        handle = stream.handle
        for buffers, view in self.inputs:
            name = buffers.tensor.name
            array = borrowed.get(name)
            if array is None:
                context.set_address(name, buffers.pointer)
                buffers.to_device(view.nbytes, handle)
            else:
                context.set_address(name, gpu.borrow(array, buffers.staged))
        lines = context.execute(handle)
        if lines is not None:
            stream.raise_if_lost()
            raise context.refused(lines)
        for buffers, view in self.fetched:
            buffers.to_host(view.nbytes, handle)
