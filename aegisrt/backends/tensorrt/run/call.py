"""`PreparedCall`: what calls of equal shapes share: where their tensors lie, and how they are enqueued."""

from __future__ import annotations

from dataclasses import dataclass

from aegisrt.backends.tensorrt.run.buffers import TensorBuffers
from aegisrt.backends.tensorrt.run.context import Shape, ShapedContext
from aegisrt.backends.tensorrt.run.recording import Recording
from aegisrt.core.tensor import Array
from aegisrt.devices.cuda.arrays import DeviceArray
from aegisrt.devices.cuda.stream import CudaStream

Lent = dict[str, DeviceArray]
"""Inputs that lie on the GPU already, by the engine's names."""
_ALIGNMENT = 256
"""Bytes; what `IExecutionContext::setTensorAddress` asks of an address."""


@dataclass(slots=True, eq=False)
class PreparedCall:
    """In one thread at a time."""

    inputs: tuple[tuple[TensorBuffers, Array], ...]
    """Each with the page-locked memory that it is copied from."""
    shapes: dict[str, Shape]
    """Of the inputs, by the caller's names."""
    outputs: dict[str, tuple[TensorBuffers, Array]]
    """The requested ones whose shape is known beforehand, by the caller's names, with the memory they come to."""
    unasked: tuple[TensorBuffers, ...]
    """Other outputs whose shape is known: the engine writes them all."""
    runs: int = 0
    recording: Recording | None = None

    @property
    def converts_nothing(self) -> bool:
        """Return whether the engine has the dtypes of the caller."""
        return not any(buffers.converts for buffers, _ in (*self.inputs, *self.outputs.values()))

    def stage(self, inputs: dict[str, Array]) -> Lent:
        """Copy inputs to where the GPU can fetch them; return those that lie on it already."""
        lent: Lent = {}
        for (buffers, view), value in zip(self.inputs, inputs.values(), strict=True):
            if not isinstance(value, DeviceArray):
                buffers.fill(view, value)
            elif buffers.tensor.on_host or buffers.dtype != value.dtype:
                buffers.fill(view, value.numpy())
            else:
                lent[buffers.tensor.name] = value
        return lent

    def point(self, context: ShapedContext) -> None:
        """Tell a context where all tensors lie."""
        for buffers, _ in (*self.inputs, *self.outputs.values()):
            context.point(buffers.tensor.name, buffers.pointer)
        for buffers in self.unasked:
            context.point(buffers.tensor.name, buffers.pointer)

    def enqueue(self, context: ShapedContext, stream: CudaStream, lent: Lent | None = None) -> None:
        """Enqueue the copies in, the kernels, and the copies out; raise what TensorRT refused it with."""
        handle = stream.handle
        for buffers, view in self.inputs:
            name = buffers.tensor.name
            array = lent.get(name) if lent else None
            if array is None:
                context.point(name, buffers.pointer)
                buffers.to_device(view.nbytes, handle)
            else:
                stream.wait_for_stream(array.stream)
                context.point(name, _borrowed(array, buffers, handle))
        refused = context.execute(handle)
        if refused is not None:
            stream.raise_if_lost()
            raise context.refused(refused)
        for buffers, view in self.outputs.values():
            buffers.to_host(view.nbytes, handle)


def _borrowed(array: DeviceArray, buffers: TensorBuffers, stream: int) -> int:
    """Return the address of a caller's array on the GPU, or of a copy where the engine could not read it there."""
    if array.pointer and not array.pointer % _ALIGNMENT:
        return array.pointer
    buffers.copy_on_device(array.pointer, array.nbytes, stream)
    return buffers.pointer
