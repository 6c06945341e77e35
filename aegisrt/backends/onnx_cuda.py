"""`CudaSlot`: one instance of a model on a GPU, with its inputs and outputs bound to our memory.

https://onnxruntime.ai/docs/api/python/api_summary.html#data-on-device
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from aegisrt.backends.onnx_options import ONNXOptions
from aegisrt.backends.onnx_sessions import CudaSessions
from aegisrt.core.tensor import Array, DataType, Signature
from aegisrt.devices.cuda_arrays import DeviceArray
from aegisrt.devices.cuda_memory import DeviceBuffer, copy_on_device
from aegisrt.devices.cuda_staged import StagedTensor
from aegisrt.devices.cuda_stream import CudaEvent

_ELEMENT = {
    DataType.FP32: 1, DataType.UINT8: 2, DataType.INT8: 3, DataType.UINT16: 4, DataType.INT16: 5, DataType.INT32: 6,
    DataType.INT64: 7, DataType.BOOL: 9, DataType.FP16: 10, DataType.FP64: 11, DataType.UINT32: 12,
    DataType.UINT64: 13, DataType.BF16: 16,
}  # fmt: skip
"""`onnx.TensorProto.DataType`."""
_NO_GRAPH = "-1"
_KEPT_SHAPES = 64


def runs_bound(signature: Signature) -> bool:
    """Return whether a model's tensors can be bound by address; strings cannot."""
    return all(spec.dtype in _ELEMENT for spec in (*signature.inputs, *signature.outputs))


@dataclass(slots=True, eq=False)
class _Bound:
    """A binding for one set of shapes."""

    binding: Any
    run_options: Any
    inputs: tuple[tuple[StagedTensor, int], ...]
    """Those on the GPU, with their bytes."""
    shapes: tuple[tuple[int, ...], ...] | None = None
    """Of the outputs, where memory of ours is bound to them."""
    results: tuple[tuple[StagedTensor, tuple[int, ...], np.dtype[Any], int], ...] = ()
    """That memory, each with the output's shape, dtype and bytes."""
    lends: bool = False
    """Inputs are the caller's own memory, which is another one each time, so that nothing can be recorded."""
    used: bool = False
    """Ran with memory of ONNX Runtime's bound to the outputs, which stays bound, whatever the next call's shapes."""


class CudaSlot:
    """One instance; serves one call at a time, in any thread."""

    device_type = "cuda"
    waits_in_run: ClassVar[bool] = True
    """Whether ONNX Runtime waits for the stream at the end of a call that is not replayed. Where it does not, its
    `DeviceStreamCollection::CleanUp` keeps the page-locked buffers of the call's kernels for the session's life."""

    def __init__(self, ort: Any, sessions: CudaSessions, signature: Signature, options: ONNXOptions) -> None:
        self._ort = ort
        self._options = options
        self._specs = {spec.name: spec for spec in (*signature.inputs, *signature.outputs)}
        self._metadata = sessions.metadata
        self._graphs = sessions.graph
        self._session, self._stream, alone = sessions.take()
        self._cuda = self._stream.context
        self._done = None if alone else CudaEvent(self._cuda, timing=False)
        self._staged: dict[str, StagedTensor] = {}
        self._host: dict[str, Array] = {}
        self._on_cpu = _on_cpu(self._session)
        self._bound: OrderedDict[tuple[Any, ...], _Bound] = OrderedDict()
        self._known_shapes = True
        self._recorded = 0

    def call(self, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Any]:
        """Return the values of `outputs`, in that order."""
        values: Mapping[str, Any] = inputs
        lent = {name: value for name, value in values.items() if isinstance(value, DeviceArray)}
        key = (tuple([value.shape for value in inputs.values()]), outputs, *lent)
        bound = self._bound.get(key) or self._bind(key, inputs, outputs)
        for name, value in inputs.items():
            if name in self._on_cpu:
                np.copyto(self._host[name].reshape(value.shape), np.asarray(value))
            elif name not in lent:
                self._staged[name].write(value)
        with self._stream.lock, self._cuda:
            for name, array in lent.items():
                self._lend(bound, name, array)
            return self._run(key, bound, outputs)

    def close(self) -> None:
        """Drop the session, then its memory; the stream is `CudaSessions`' to close."""
        self._bound.clear()
        with self._cuda.unless_lost():
            self._session = None
        for staged in self._staged.values():
            staged.free()
        self._staged.clear()
        if self._done is not None:
            self._done.close()

    def _lend(self, bound: _Bound, name: str, array: DeviceArray) -> None:
        """Bind an input where it lies on the GPU, for this call; what writes it comes first."""
        if name not in self._on_cpu and array.size:
            self._stream.wait_for_stream(array.stream)
            element = _ELEMENT[self._specs[name].dtype]
            bound.binding.bind_input(name, self.device_type, array.ordinal, element, array.shape, array.pointer)

    # -- binding -----------------------------------------------------------------------------------------------

    def _bind(self, key: tuple[Any, ...], inputs: dict[str, Array], outputs: tuple[str, ...]) -> _Bound:
        sizes = {name: 0 if isinstance(value, DeviceArray) else value.nbytes for name, value in inputs.items()}
        with self._stream.lock:
            moved = [self._reserve(name, sizes[name], inputs[name]) for name in inputs]
        if any(moved):
            self._forget()
        binding = self._session.io_binding()
        for name, value in inputs.items():
            kind, pointer = ("cpu", self._host[name].ctypes.data) if name in self._on_cpu else (None, None)
            where = kind or self.device_type, 0 if kind else self._stream.device.ordinal
            address = pointer if kind else self._staged[name].pointer
            binding.bind_input(name, *where, _ELEMENT[self._specs[name].dtype], value.shape, address)
        self._bind_unallocated(binding, outputs)
        here = [
            name for name, value in inputs.items() if name not in self._on_cpu and not isinstance(value, DeviceArray)
        ]
        staged = tuple((self._staged[name], sizes[name]) for name in here)
        bound = _Bound(
            binding,
            self._run_options(_NO_GRAPH),
            staged,
            lends=any(isinstance(value, DeviceArray) for value in inputs.values()),
        )
        self._bound[key] = bound
        if len(self._bound) > _KEPT_SHAPES:
            self._bound.popitem(last=False)
        return bound

    def _bind_unallocated(self, binding: Any, outputs: tuple[str, ...]) -> None:
        for name in outputs:
            on_cpu = name in self._on_cpu
            binding.bind_output(
                name, "cpu" if on_cpu else self.device_type, 0 if on_cpu else self._stream.device.ordinal
            )

    def _bind_known(self, bound: _Bound, outputs: tuple[str, ...], shapes: tuple[tuple[int, ...], ...]) -> None:
        """Bind memory of ours to the outputs, now that their shapes are known: fewer allocations, fixed addresses."""
        sizes = [prod(shape) * self._dtype(name).itemsize for name, shape in zip(outputs, shapes, strict=True)]
        moved = [self._reserve(name, size) for name, size in zip(outputs, sizes, strict=True)]
        if any(moved):
            self._forget()
            return
        ordinal = self._stream.device.ordinal
        for name, shape in zip(outputs, shapes, strict=True):
            element = _ELEMENT[self._specs[name].dtype]
            pointer = self._staged[name].pointer
            bound.binding.bind_output(name, self.device_type, ordinal, element, shape, pointer)
        bound.shapes = shapes
        bound.results = tuple(
            (self._staged[name], shape, self._dtype(name), size)
            for name, shape, size in zip(outputs, shapes, sizes, strict=True)
        )
        if self._graphs and not bound.lends and self._recorded < self._options.cuda_graph_limit:
            self._recorded += 1
            bound.run_options = self._run_options(str(self._recorded))

    def _reserve(self, name: str, size: int, value: Array | None = None) -> bool:
        if value is not None and name in self._on_cpu:
            held = self._host.get(name)
            if held is not None and held.nbytes == value.nbytes:
                return False
            self._host[name] = np.empty(value.shape, value.dtype)
            return held is not None
        staged = self._staged.get(name)
        known = staged is not None
        if staged is None:
            staged = self._staged[name] = StagedTensor(self._cuda)
        return staged.reserve(size) and known

    def _forget(self) -> None:
        """Drop all bindings: they hold addresses that are no longer right."""
        self._bound.clear()

    def _run_options(self, graph: str) -> Any:
        """Return the options of a call; they always name a graph, as `run_with_iobinding` asks for that each time.

        Where the entry is missing, ONNX Runtime throws inside that call and catches it, for up to 100 us.
        """
        made = self._ort.RunOptions()
        if graph != _NO_GRAPH or not self.waits_in_run:
            made.add_run_config_entry("disable_synchronize_execution_providers", "1")
        made.add_run_config_entry("gpu_graph_id", graph)
        return made

    # -- running -----------------------------------------------------------------------------------------------

    def _run(self, key: tuple[Any, ...], bound: _Bound, outputs: tuple[str, ...]) -> Sequence[Any]:
        handle = self._stream.handle
        for staged, size in bound.inputs:
            staged.to_device(size, handle)
        try:
            if bound.shapes is None:
                self._run_unallocated(bound, outputs)
            else:
                self._session.run_with_iobinding(bound.binding, bound.run_options)
        except Exception as error:
            if bound.shapes is None or not _is_other_shape(error):
                raise
            self._known_shapes, bound.shapes, bound.used = False, None, True
            bound.run_options = self._run_options(_NO_GRAPH)
            self._without_graphs("the shape of an output changes while the inputs' stay")
            self._run_unallocated(bound, outputs)
        if bound.shapes is not None:
            return self._own_results(bound, bound.shapes, outputs, handle)
        values = bound.binding.get_outputs()
        shapes = tuple(tuple(value.shape()) for value in values)
        results = self._their_results(values, shapes, outputs, handle)
        if self._known_shapes and not self._on_cpu.intersection(outputs) and self._bound.get(key) is bound:
            self._bind_known(bound, outputs, shapes)
        return results

    def _run_unallocated(self, bound: _Bound, outputs: tuple[str, ...]) -> None:
        if bound.used:
            bound.binding.clear_binding_outputs()
            self._bind_unallocated(bound.binding, outputs)
        bound.used = True
        self._session.run_with_iobinding(bound.binding, bound.run_options)

    def _own_results(
        self, bound: _Bound, shapes: tuple[tuple[int, ...], ...], outputs: tuple[str, ...], handle: int
    ) -> list[Any]:
        if self._options.outputs == "device":
            sources = [self._staged[name].pointer for name in outputs]
            return self._on_device(sources, shapes, outputs, handle)
        for staged, _, _, size in bound.results:
            staged.to_host(size, handle)
        self._wait()
        return [staged.read(shape, dtype) for staged, shape, dtype, _ in bound.results]

    def _their_results(
        self, values: list[Any], shapes: tuple[tuple[int, ...], ...], outputs: tuple[str, ...], handle: int
    ) -> list[Any]:
        """Return copies of outputs in memory that ONNX Runtime allocated."""
        if self._options.outputs == "device" and not self._on_cpu.intersection(outputs):
            return self._on_device([value.data_ptr() for value in values], shapes, outputs, handle)
        for name, shape, value in zip(outputs, shapes, values, strict=True):
            if name not in self._on_cpu:
                staged = self._staged.setdefault(name, StagedTensor(self._cuda))
                size = prod(shape) * self._dtype(name).itemsize
                staged.reserve(size, device=False)
                staged.to_host(size, handle, value.data_ptr() if size else None)
        self._wait()
        return [
            np.array(value.numpy()) if name in self._on_cpu else self._staged[name].read(shape, self._dtype(name))
            for name, shape, value in zip(outputs, shapes, values, strict=True)
        ]

    def _on_device(
        self, sources: list[int], shapes: tuple[tuple[int, ...], ...], outputs: tuple[str, ...], handle: int
    ) -> list[Any]:
        made = []
        for name, shape, source in zip(outputs, shapes, sources, strict=True):
            dtype = self._dtype(name)
            memory = DeviceBuffer(self._cuda, prod(shape) * dtype.itemsize)
            copy_on_device(self._cuda, memory.pointer, source, prod(shape) * dtype.itemsize, handle)
            made.append(DeviceArray(memory.pointer, shape, dtype, self._cuda.ordinal, owner=memory))
        self._wait()
        return made

    def _wait(self) -> None:
        if self._done is None:
            self._stream.finish()
        else:
            self._done.record(self._stream.handle)
            self._done.synchronize()

    def _dtype(self, name: str) -> np.dtype[Any]:
        return self._specs[name].dtype.numpy

    def _without_graphs(self, reason: str) -> None:
        if self._graphs:
            self._metadata["cuda_graph"] = f"off: {reason}"


def _on_cpu(session: Any) -> frozenset[str]:
    """Return the inputs and outputs that nodes on the CPU read or write: bound there, they are not copied twice."""
    if not hasattr(session, "get_input_memory_infos"):
        return frozenset()
    pairs = [
        *zip(session.get_inputs(), session.get_input_memory_infos(), strict=True),
        *zip(session.get_outputs(), session.get_output_memory_infos(), strict=True),
    ]
    return frozenset(argument.name for argument, memory in pairs if memory.name.lower().startswith("cpu"))


def _is_other_shape(error: Exception) -> bool:
    text = str(error)
    return "pre-allocated output" in text or "re-use buffer" in text or "Expected shape from model" in text
