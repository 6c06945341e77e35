"""`Results`: the outputs of a finished call, on the host or on the GPU."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from aegisrt.backends.tensorrt.run.buffers import TensorBuffers
from aegisrt.backends.tensorrt.run.call import PreparedCall
from aegisrt.backends.tensorrt.run.context import ShapedContext
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.tensor import Array
from aegisrt.devices.cuda.arrays import DeviceArray
from aegisrt.devices.cuda.context import CudaContext
from aegisrt.devices.cuda.memory import DeviceBuffer, copy_on_device, copy_to_device
from aegisrt.devices.cuda.stream import CudaStream

_Output = tuple[TensorBuffers, Array]
"""An output's buffers, and the view of its value in the host memory."""


class Results:
    """Reads the outputs of one slot's calls; in one thread at a time, after the stream is done with the call."""

    def __init__(
        self, cuda: CudaContext, stream: CudaStream, context: ShapedContext, buffers: Mapping[str, TensorBuffers]
    ) -> None:
        """`buffers` are those of the outputs, by the caller's names."""
        self._cuda, self._stream, self._context, self._buffers = cuda, stream, context, buffers

    def on_host(self, call: PreparedCall, names: tuple[str, ...]) -> list[Array]:
        """Return copies as numpy arrays, in the order of `names`."""
        outputs = self._outputs(call, names)
        return [buffers.result(view) for buffers, view in outputs]

    def on_device(self, call: PreparedCall, names: tuple[str, ...]) -> list[Any]:
        """Return copies on the GPU, each in memory of its own: the next call overwrites the engine's memory."""
        outputs = self._outputs(call, names)
        with self._stream.lock, self._cuda:
            copies = [self._copy(name, *output) for name, output in zip(names, outputs, strict=True)]
            self._stream.finish()
        return copies

    def _outputs(self, call: PreparedCall, names: tuple[str, ...]) -> list[_Output]:
        known = call.outputs
        if len(known) < len(names):
            known = {**known, **self._fetch_late([name for name in names if name not in known])}
        return [known[name] for name in names]

    def _fetch_late(self, names: list[str]) -> dict[str, _Output]:
        """Copy outputs to the host whose shapes this call has reported."""
        fetched = {}
        with self._stream.lock, self._cuda:
            for name in names:
                output, buffers = self._context.late[name], self._buffers[name]
                if output.shape is None:
                    raise fail(ErrorCode.INTERNAL, f"TensorRT reported no shape for output `{name}`")
                size = prod(output.shape) * buffers.dtype.itemsize
                buffers.reserve(size, device=False)
                buffers.to_host(size, self._stream.handle, output.pointer)
                fetched[name] = buffers, buffers.view(output.shape)
            self._stream.finish()
        return fetched

    def _copy(self, name: str, buffers: TensorBuffers, view: Array) -> DeviceArray:
        stream, late = self._stream.handle, self._context.late.get(name)
        value = buffers.result(view) if buffers.passes_through_host else view
        memory = DeviceBuffer(self._cuda, value.nbytes)
        if buffers.passes_through_host:
            copy_to_device(self._cuda, memory.pointer, value.ctypes.data, value.nbytes, stream)
            self._stream.finish()  # `value` is freed with this frame
        else:
            source = late.pointer if late is not None else buffers.pointer
            copy_on_device(self._cuda, memory.pointer, source, value.nbytes, stream)
        return DeviceArray(memory.pointer, value.shape, value.dtype, self._cuda.ordinal, owner=memory)
