"""`Slot`: one execution context of an engine, with its stream, its memory and its recorded CUDA graphs.

A call stages its inputs, enqueues copies and kernels, and waits: https://docs.nvidia.com/deeplearning/tensorrt/latest/
inference-library/python-api-docs.html#performing-inference. With `cuda_graph` the copies are recorded too, so that a
call is one launch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from aegisrt.backends.tensorrt_buffers import TensorBuffers
from aegisrt.backends.tensorrt_context import Shape, ShapedContext
from aegisrt.backends.tensorrt_engine import Engine
from aegisrt.backends.tensorrt_options import TensorRTOptions
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.tensor import Array, Signature
from aegisrt.devices.base import Device
from aegisrt.devices.cuda_arrays import DeviceArray
from aegisrt.devices.cuda_graph import CudaGraph
from aegisrt.devices.cuda_memory import DeviceBuffer, copy_on_device
from aegisrt.devices.cuda_stream import CudaEvent, open_stream

_Key = tuple[Any, ...]


@dataclass(slots=True, eq=False)
class _Call:
    """What calls of equal shapes share."""

    inputs: tuple[tuple[TensorBuffers, Array], ...]
    """Each with the page-locked memory that it is copied from."""
    shapes: dict[str, Shape]
    """Of the inputs, by the caller's names."""
    outputs: dict[str, tuple[TensorBuffers, Array]]
    """The requested ones whose shape is known beforehand, by the caller's names, with the memory they come to."""
    runs: int = 0
    graph: CudaGraph | None = None


class Slot:
    """Serves one call at a time, in any thread."""

    def __init__(self, engine: Engine, device: Device, stream: Any, options: TensorRTOptions) -> None:
        self._engine = engine
        self._cuda = engine.context
        self._options = options
        self._graphs = options.cuda_graph
        self._calls: OrderedDict[_Key, _Call] = OrderedDict()
        self._current: _Call | None = None
        """The call whose shapes the execution context was told last."""
        public = {spec.name: spec.dtype for spec in (*engine.signature.inputs, *engine.signature.outputs)}
        self._tensors = {
            item.public: TensorBuffers(self._cuda, item, public.get(item.public, item.dtype)) for item in engine.tensors
        }
        self._holds_sizes = any(item.on_host for item in engine.tensors)
        self._stream, self._owns_stream = open_stream(stream, device)
        self._done = None if self._owns_stream else CudaEvent(self._cuda, timing=False)
        try:
            self._context = ShapedContext(engine)
        except BaseException:
            self._close_stream()
            raise
        if self._graphs and self._holds_sizes:
            self._without_graphs("an input or output holds sizes, which TensorRT reads on the host")

    def call(self, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Any]:
        """Return the values of `outputs`, in that order."""
        key = self._key(inputs, outputs)
        call = self._calls.get(key)
        if call is None:
            call = self._prepare(key, inputs, outputs)
        elif self._graphs:
            self._calls.move_to_end(key)
        lent = self._stage(call, inputs)
        with self._stream.lock, self._cuda:
            self._enqueue(call, lent)
            if self._done is None:
                self._stream.finish()
        if self._done is not None:
            self._done.synchronize()
        call.runs += 1
        return self._results(call, outputs)

    def close(self) -> None:
        """Destroy graphs and execution context, in this order, and give back memory and stream."""
        self._forget()
        self._current = None
        self._context.close()
        for buffers in self._tensors.values():
            buffers.free()
        self._close_stream()

    def _close_stream(self) -> None:
        if self._done is not None:
            self._done.close()
        if self._owns_stream:
            self._stream.close()

    def _stage(self, call: _Call, inputs: dict[str, Array]) -> dict[str, DeviceArray]:
        """Copy inputs to where the GPU can fetch them; return those that lie on it already, by the engine's names."""
        lent: dict[str, DeviceArray] = {}
        for (buffers, view), value in zip(call.inputs, inputs.values(), strict=True):
            if not isinstance(value, DeviceArray):
                buffers.fill(view, value)
            elif buffers.tensor.on_host or buffers.dtype != value.dtype:
                buffers.fill(view, value.numpy())
            else:
                lent[buffers.tensor.name] = value
        return lent

    # -- preparing a call --------------------------------------------------------------------------------------

    def _key(self, inputs: dict[str, Array], outputs: tuple[str, ...]) -> _Key:
        shapes = tuple([value.shape for value in inputs.values()])
        if not self._holds_sizes:
            return (shapes, outputs)
        held = (value for name, value in inputs.items() if self._tensors[name].tensor.on_host)
        sizes = tuple(np.asarray(value).tobytes() for value in held)
        return (shapes, outputs, *sizes)

    def _prepare(self, key: _Key, inputs: dict[str, Array], outputs: tuple[str, ...]) -> _Call:
        """Return a new call for these shapes, with memory and addresses; forget the oldest where there are many."""
        shapes = {name: value.shape for name, value in inputs.items()}
        refuse_disagreement(self._engine.signature, shapes)
        self._current = None
        with self._stream.lock, self._cuda:
            self._select_profile(shapes)
            self._reserve_inputs(inputs)
            self._context.set_shapes(shapes)
            known = self._reserve_outputs(outputs)
        staged = tuple((self._tensors[name], self._tensors[name].view(shape)) for name, shape in shapes.items())
        call = _Call(staged, shapes, {name: (buffers, buffers.view(shape)) for name, (buffers, shape) in known.items()})
        self._current = call
        self._calls[key] = call
        while len(self._calls) > max(self._options.cuda_graph_limit, 1):
            _, oldest = self._calls.popitem(last=False)
            if oldest.graph is not None:
                oldest.graph.close()
        return call

    def _select_profile(self, shapes: dict[str, Shape]) -> None:
        if self._context.select_profile(shapes, self._stream.handle):
            self._forget_graphs()

    def _reserve_inputs(self, inputs: dict[str, Array]) -> None:
        for name, value in inputs.items():
            buffers = self._tensors[name]
            self._reserve(buffers, value.size * buffers.dtype.itemsize)
            if buffers.tensor.on_host:
                buffers.fill(buffers.view(value.shape), np.asarray(value))

    def _reserve_outputs(self, wanted: tuple[str, ...]) -> dict[str, tuple[TensorBuffers, Shape]]:
        """Return the wanted outputs whose shape is known; all others need memory too."""
        known = {}
        for name, buffers in self._tensors.items():
            if buffers.tensor.is_input:
                continue
            shape = self._context.shape(buffers.tensor.name)
            if shape is None:
                if self._context.allocate_late(name) and self._graphs:
                    self._without_graphs(f"the shape of output `{name}` is known only after each call")
                continue
            self._reserve(buffers, prod(shape) * buffers.dtype.itemsize)
            if name in wanted:
                known[name] = buffers, shape
        return known

    def _reserve(self, buffers: TensorBuffers, size_bytes: int) -> None:
        if buffers.reserve(size_bytes):
            self._forget()
            self._context.point(buffers.tensor.name, buffers.pointer)

    # -- running it --------------------------------------------------------------------------------------------

    def _enqueue(self, call: _Call, lent: dict[str, DeviceArray]) -> None:
        handle = self._stream.handle
        if self._current is not call:
            self._select_profile(call.shapes)
            self._context.set_shapes(call.shapes)
            self._current = call
        if self._graphs and call.runs and call.graph is None and not lent:
            self._record(call)
        if call.graph is not None and not lent:
            call.graph.launch(handle)
        else:
            self._enqueue_plainly(call, handle, lent)
        if self._done is not None:
            self._done.record(handle)

    def _enqueue_plainly(self, call: _Call, handle: int, lent: dict[str, DeviceArray]) -> None:
        for buffers, view in call.inputs:
            name = buffers.tensor.name
            array = lent.get(name)
            if array is None:
                self._context.point(name, buffers.pointer)
                buffers.to_device(view.nbytes, handle)
            else:
                self._stream.wait_for_stream(array.stream)
                self._context.point(name, array.pointer or buffers.pointer)
        refused = self._context.execute(handle)
        if refused is not None:
            self._raise_if_lost()
            raise self._context.refused(refused)
        for buffers, view in call.outputs.values():
            buffers.to_host(view.nbytes, handle)

    def _raise_if_lost(self) -> None:
        """Raise the device's own error where that is why TensorRT refused; waiting fails in a recording too."""
        try:
            self._stream.finish()
        except ResultError:
            if self._cuda.lost is not None:
                raise

    def _record(self, call: _Call) -> None:
        """Record a call that ran once before, as TensorRT asks for; or say in the metadata why it cannot be."""
        try:
            call.graph = CudaGraph.capture(self._stream, lambda handle: self._enqueue_plainly(call, handle, {}))
            self._engine.metadata["cuda_graph"] = "on"
        except ResultError as failure:
            self._without_graphs(failure.error.message)

    def _results(self, call: _Call, outputs: tuple[str, ...]) -> list[Any]:
        found = call.outputs
        if len(found) < len(outputs):
            found = {**found, **self._fetch([name for name in outputs if name not in found])}
        if self._options.outputs == "device":
            return self._on_device({name: found[name] for name in outputs})
        return [found[name][0].result(found[name][1]) for name in outputs]

    def _fetch(self, names: list[str]) -> dict[str, tuple[TensorBuffers, Array]]:
        """Bring outputs whose shapes the engine has just found out."""
        found = {}
        with self._stream.lock, self._cuda:
            for name in names:
                output, buffers = self._context.late[name], self._tensors[name]
                if output.shape is None:
                    raise fail(ErrorCode.INTERNAL, f"TensorRT told no shape of output `{name}`")
                size = prod(output.shape) * buffers.dtype.itemsize
                buffers.reserve(size, device=False)
                buffers.to_host(size, self._stream.handle, output.pointer)
                found[name] = buffers, buffers.view(output.shape)
            self._stream.finish()
        return found

    def _on_device(self, found: dict[str, tuple[TensorBuffers, Array]]) -> list[Any]:
        """Return copies on the GPU, each in memory of its own: the next call overwrites the engine's."""
        made = []
        with self._stream.lock, self._cuda:
            for name, (buffers, view) in found.items():
                memory = DeviceBuffer(self._cuda, view.nbytes)
                late = self._context.late.get(name)
                source = late.pointer if late is not None else buffers.pointer
                copy_on_device(self._cuda, memory.pointer, source, view.nbytes, self._stream.handle)
                made.append(DeviceArray(memory.pointer, view.shape, view.dtype, self._cuda.ordinal, owner=memory))
            self._stream.finish()
        return made

    # -- what can go wrong -------------------------------------------------------------------------------------

    def _without_graphs(self, reason: str) -> None:
        self._graphs = False
        self._engine.metadata["cuda_graph"] = f"off: {reason}"

    def _forget(self) -> None:
        """Drop what knows addresses that are no longer right."""
        self._forget_graphs()
        self._calls.clear()

    def _forget_graphs(self) -> None:
        """Close recordings; each call is recorded anew when it comes again."""
        for call in self._calls.values():
            if call.graph is not None:
                call.graph.close()
                call.graph = None


def refuse_disagreement(signature: Signature, shapes: dict[str, Shape]) -> None:
    """Raise INVALID_ARGUMENT for dimensions of one name and two sizes, which an engine may read past the end of."""
    seen: dict[str, tuple[str, int]] = {}
    for spec in signature.inputs:
        for dim, size in zip(spec.shape or (), shapes[spec.name], strict=False):
            if isinstance(dim, str):
                name, other = seen.setdefault(dim, (spec.name, size))
                if size != other:
                    message = f"dimension `{dim}` is {other} in input `{name}`, and {size} in input `{spec.name}`"
                    raise fail(ErrorCode.INVALID_ARGUMENT, message)
