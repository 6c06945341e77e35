"""Memory for outputs whose shape is known only after the call, by TensorRT's `IOutputAllocator`.

https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/work-dynamic-shapes.html#dynamically-shaped-output
"""

from __future__ import annotations

from typing import Any

from aegisrt.devices.cuda.context import CudaContext
from aegisrt.devices.cuda.memory import DeviceBuffer


class DynamicOutput:
    """The memory and the shape of one such output; both change with every call."""

    def __init__(self, context: CudaContext) -> None:
        self._context = context
        self._buffer: DeviceBuffer | None = None
        self.shape: tuple[int, ...] | None = None
        """The shape that the last call reported; None if it reported none."""
        self.problem: BaseException | None = None
        """Why the last call got no memory; TensorRT itself gets only a null pointer."""

    @property
    def pointer(self) -> int:
        """The address on the GPU; 0 before the first call."""
        return self._buffer.pointer if self._buffer else 0

    @property
    def size_bytes(self) -> int:
        """Bytes held on the GPU."""
        return self._buffer.size_bytes if self._buffer else 0

    def reallocate(self, size_bytes: int) -> int:
        """Return the address of at least this much memory, or 0 if there is none."""
        if self._buffer is None or self._buffer.size_bytes < size_bytes:
            try:
                self.free()
                self._buffer = DeviceBuffer(self._context, size_bytes)
            except BaseException as failure:  # noqa: BLE001  (the bindings would print it and go on)
                self.problem = failure
                return 0
        return self._buffer.pointer

    def free(self) -> None:
        """Free the memory."""
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            buffer.free()


def new_allocator(package: Any, output: DynamicOutput) -> Any:
    """Return an `IOutputAllocator` over `output`; it must live as long as the execution context.

    TensorRT 8 calls `reallocate_output`, 10 and later `reallocate_output_async`. No other stream uses the memory, so
    both do the same.
    """

    class Allocator(package.IOutputAllocator):  # type: ignore[misc]
        def __init__(self) -> None:
            package.IOutputAllocator.__init__(self)

        def reallocate_output(self, tensor_name: str, memory: int, size: int, alignment: int) -> int:
            return output.reallocate(size)

        def reallocate_output_async(self, tensor_name: str, memory: int, size: int, alignment: int, stream: int) -> int:
            return output.reallocate(size)

        def notify_shape(self, tensor_name: str, shape: Any) -> None:
            output.shape = tuple(shape)

    return Allocator()
