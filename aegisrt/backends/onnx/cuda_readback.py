"""`Readback`: returns the outputs of a run, on the host or on the GPU, in memory that the caller owns."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from aegisrt.backends.onnx.cuda_binding import Binding, TensorMemory, owned, size_bytes
from aegisrt.core.tensor import Array, TensorSpec
from aegisrt.devices.cuda.arrays import DeviceArray
from aegisrt.devices.cuda.memory import DeviceBuffer, copy_on_device, copy_to_host
from aegisrt.devices.cuda.stream import CudaEvent, CudaStream


class Readback:
    """Reads the outputs of one instance; each call waits for the stream. Not thread-safe: one thread at a time."""

    def __init__(
        self,
        stream: CudaStream,
        specs: dict[str, TensorSpec],
        landing: TensorMemory,
        *,
        alone: bool,
        on_device: bool,
    ) -> None:
        """`alone`: no other instance uses the stream; `on_device`: results stay on the GPU."""
        self._stream = stream
        self._cuda = stream.context
        self._specs = specs
        self._landing = landing
        """Page-locked memory for outputs that ONNX Runtime allocated."""
        self._on_device = on_device
        self._done = None if alone else CudaEvent(self._cuda, timing=False)

    def own_results(self, bound: Binding, results: list[Array], outputs: tuple[str, ...]) -> list[Any]:
        """Return copies of outputs that are bound to memory of ours."""
        if self._on_device:
            return self._copies_on_device(bound.sources, [host.shape for host in results], outputs)
        for download in bound.downloads:
            copy_to_host(self._cuda, *download, self._stream.handle)
        if bound.downloads or not bound.waits:
            self._wait()
        return [host.copy() for host in results]

    def ort_results(self, values: list[Any], shapes: list[tuple[int, ...]], outputs: tuple[str, ...]) -> list[Any]:
        """Return copies of outputs in memory that ONNX Runtime allocated."""
        on_cpu = self._landing.on_cpu
        if self._on_device and not on_cpu.intersection(outputs):
            return self._copies_on_device([value.data_ptr() for value in values], shapes, outputs)
        hosts: dict[str, Array] = {}
        for name, shape, value in zip(outputs, shapes, values, strict=True):
            if name not in on_cpu:
                spec, size = self._specs[name], size_bytes(self._specs[name], shape)
                self._landing.reserve(name, size, direct=True)
                place = self._landing.place(spec, shape, direct=True)
                if size:
                    copy_to_host(self._cuda, place.address, value.data_ptr(), size, self._stream.handle)
                hosts[name] = place.host
        self._wait()
        return [
            hosts[name].copy() if name in hosts else owned(value) for name, value in zip(outputs, values, strict=True)
        ]

    def free(self) -> None:
        """Free the memory and the event; may be called again."""
        self._landing.free()
        if self._done is not None:
            self._done.close()

    def _copies_on_device(
        self, sources: list[int], shapes: list[tuple[int, ...]], outputs: tuple[str, ...]
    ) -> list[Any]:
        copies = []
        for name, shape, source in zip(outputs, shapes, sources, strict=True):
            dtype: np.dtype[Any] = self._specs[name].dtype.numpy
            memory = DeviceBuffer(self._cuda, prod(shape) * dtype.itemsize)
            copy_on_device(self._cuda, memory.pointer, source, prod(shape) * dtype.itemsize, self._stream.handle)
            copies.append(DeviceArray(memory.pointer, shape, dtype, self._cuda.ordinal, owner=memory))
        self._wait()
        return copies

    def _wait(self) -> None:
        """Wait for this instance's work alone: on a shared stream, an event does not wait for later work of others."""
        if self._done is None:
            self._stream.finish()
        else:
            self._done.record(self._stream.handle)
            self._done.synchronize()
