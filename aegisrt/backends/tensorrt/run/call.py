"""`PreparedCall`: the state that calls of equal shapes share: the memory of their tensors, and how to enqueue them."""

from __future__ import annotations

from dataclasses import dataclass

from aegisrt.backends.tensorrt.run.buffers import TensorBuffers
from aegisrt.backends.tensorrt.run.context import Shape, ShapedContext
from aegisrt.core.tensor import Array
from aegisrt.devices.cuda.arrays import DeviceArray
from aegisrt.devices.cuda.stream import CudaStream

Borrowed = dict[str, DeviceArray]
"""The caller's inputs that are on the GPU already, by the engine's names."""
_ALIGNMENT = 256
"""Bytes; required of an address by `IExecutionContext::setTensorAddress`."""


@dataclass(slots=True, eq=False)
class PreparedCall:
    """In one thread at a time."""

    inputs: tuple[tuple[TensorBuffers, Array], ...]
    """Each with the page-locked memory that it is copied from."""
    shapes: dict[str, Shape]
    """Of the inputs, by the caller's names."""
    outputs: dict[str, tuple[TensorBuffers, Array]]
    """The requested outputs whose shape is known before the call, by the caller's names, with their host memory."""
    unrequested: tuple[TensorBuffers, ...]
    """Other outputs whose shape is known: the engine writes all of them."""
    runs: int = 0

    @property
    def converts_nothing(self) -> bool:
        """Whether the engine's dtypes are the caller's."""
        return not any(buffers.converts for buffers, _ in (*self.inputs, *self.outputs.values()))

    def stage(self, inputs: dict[str, Array]) -> Borrowed:
        """Copy inputs to page-locked memory; return those that are on the GPU already."""
        borrowed: Borrowed = {}
        for (buffers, view), value in zip(self.inputs, inputs.values(), strict=True):
            if not isinstance(value, DeviceArray):
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

    def enqueue(self, context: ShapedContext, stream: CudaStream, borrowed: Borrowed | None = None) -> None:
        """Enqueue the copies in, the kernels, and the copies out.

        Errors as of `ShapedContext.refused`: if TensorRT does not enqueue the kernels.
        """
        handle = stream.handle
        for buffers, view in self.inputs:
            name = buffers.tensor.name
            array = borrowed.get(name) if borrowed else None
            if array is None:
                context.set_address(name, buffers.pointer)
                buffers.to_device(view.nbytes, handle)
            else:
                stream.wait_for_stream(array.stream)
                context.set_address(name, _aligned_address(array, buffers, handle))
        lines = context.execute(handle)
        if lines is not None:
            stream.raise_if_lost()
            raise context.refused(lines)
        for buffers, view in self.outputs.values():
            buffers.to_host(view.nbytes, handle)


def _aligned_address(array: DeviceArray, buffers: TensorBuffers, stream: int) -> int:
    """Return the address of a caller's array on the GPU, or of a copy if TensorRT requires another alignment."""
    if array.pointer and not array.pointer % _ALIGNMENT:
        return array.pointer
    buffers.copy_on_device(array.pointer, array.nbytes, stream)
    return buffers.pointer
