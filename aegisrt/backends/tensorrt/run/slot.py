"""`TensorRTSlot`: one instance of an engine: its execution context, stream, memory and recorded CUDA graphs.

A call stages its inputs, enqueues copies and kernels, and waits: https://docs.nvidia.com/deeplearning/tensorrt/latest/
inference-library/python-api-docs.html#performing-inference. With `cuda_graph` the copies are recorded too, so that a
call is one launch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from math import prod
from typing import Any

import numpy as np

from aegisrt.backends.tensorrt.engine import LoadedEngine
from aegisrt.backends.tensorrt.options import TensorRTOptions
from aegisrt.backends.tensorrt.run.buffers import TensorBuffers
from aegisrt.backends.tensorrt.run.call import Lent, PreparedCall
from aegisrt.backends.tensorrt.run.context import Shape, ShapedContext
from aegisrt.backends.tensorrt.run.recording import Recording
from aegisrt.backends.tensorrt.run.scratch import scratch_bytes
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.tensor import Array, Signature
from aegisrt.devices.base import Device
from aegisrt.devices.cuda.arrays import DeviceArray
from aegisrt.devices.cuda.memory import DeviceBuffer, copy_on_device, copy_to_device
from aegisrt.devices.cuda.stream import CudaEvent, open_stream

_Key = tuple[Any, ...]


class TensorRTSlot:
    """Serves one call at a time, in any thread."""

    def __init__(self, engine: LoadedEngine, device: Device, stream: Any, options: TensorRTOptions) -> None:
        self._engine = engine
        self._cuda = engine.context
        self._options = options
        self._graphs = options.cuda_graph
        self._calls: OrderedDict[_Key, PreparedCall] = OrderedDict()
        self._newest: PreparedCall | None = None
        """The one used last, which is at the end of `_calls`."""
        self._current: PreparedCall | None = None
        """The call whose shapes the execution context was told last."""
        self._scratch: DeviceBuffer | None = None
        """What recordings work in, one at a time."""
        public = {spec.name: spec.dtype for spec in (*engine.signature.inputs, *engine.signature.outputs)}
        self._tensors = {
            item.public: TensorBuffers(self._cuda, item, public.get(item.public, item.dtype)) for item in engine.tensors
        }
        self._replays = options.outputs == "host"
        """Whether recordings may serve whole calls: the results are theirs to copy, and nobody else uses the stream."""
        self._holds_sizes = any(item.on_host for item in engine.tensors)
        self._stream, self._owns_stream = open_stream(stream, device)
        self._done = None if self._owns_stream else CudaEvent(self._cuda, timing=False)
        self._replays &= self._owns_stream
        try:
            self._context = ShapedContext(engine)
        except BaseException:
            self._close_stream()
            raise
        try:
            with self._stream.lock, self._cuda:
                self._context.claim_profile(self._stream.handle)
        except BaseException:
            self.close()
            raise
        if self._graphs and self._holds_sizes:
            self._without_graphs("an input or output holds sizes, which TensorRT reads on the host")

    def call(self, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Any]:
        """Return the values of `outputs`, in that order."""
        try:
            key = self._key(inputs, outputs)
            call = self._calls.get(key)
            if call is None:
                call = self._prepare(key, inputs, outputs)
            elif call is not self._newest:
                self._calls.move_to_end(key)
            self._newest = call
            recording = call.recording
            if recording is not None and recording.replays and self._replays:
                values = recording.replay(inputs.values())
                if values is not None:
                    return values
            lent = call.stage(inputs)
            stream = self._stream
            with stream.lock, self._cuda.current():
                if recording is not None and not lent:
                    recording.launch(stream.handle)
                else:
                    self._run(call, lent)
                if self._done is None:
                    stream.finish()
                else:
                    self._done.record(stream.handle)
            if self._done is not None:
                self._done.synchronize()
            return self._results(call, outputs)
        except BaseException as error:
            self._break_off(error)
            raise

    def bytes_held(self) -> int:
        """Return the memory on the GPU that this instance holds beside the engine's weights."""
        buffers = sum(item.device_bytes for item in self._tensors.values())
        late = sum(item.size_bytes for item in self._context.late.values())
        recordings = 0 if self._scratch is None else self._scratch.size_bytes
        return scratch_bytes(self._engine.engine) + buffers + late + recordings

    def close(self) -> None:
        """Destroy recordings and execution context, in this order, and give back memory and stream."""
        with ExitStack() as rest:  # each of them, in the reverse order, even where another one fails
            rest.callback(self._close_stream)
            for buffers in self._tensors.values():
                rest.callback(buffers.free)
            if self._scratch is not None:
                rest.callback(self._scratch.free)
            rest.callback(self._context.close)
            rest.callback(self._forget)

    def _close_stream(self) -> None:
        try:
            if self._done is not None:
                self._done.close()
        finally:
            if self._owns_stream:
                self._stream.close()

    # -- preparing a call --------------------------------------------------------------------------------------

    def _key(self, inputs: dict[str, Array], outputs: tuple[str, ...]) -> _Key:
        shapes = tuple([value.shape for value in inputs.values()])
        if not self._holds_sizes:
            return (shapes, outputs)
        held = (value for name, value in inputs.items() if self._tensors[name].tensor.on_host)
        sizes = tuple(np.asarray(value).tobytes() for value in held)
        return (shapes, outputs, *sizes)

    def _prepare(self, key: _Key, inputs: dict[str, Array], outputs: tuple[str, ...]) -> PreparedCall:
        """Return a new call for these shapes, with memory and addresses; forget the oldest where there are many."""
        shapes = {name: value.shape for name, value in inputs.items()}
        refuse_disagreement(self._engine.signature, shapes)
        self._current = None
        with self._stream.lock, self._cuda:
            self._context.select_profile(shapes, self._stream.handle)
            self._reserve_inputs(inputs)
            self._context.set_shapes(shapes)
            known = self._reserve_outputs()
        staged = tuple((self._tensors[name], self._tensors[name].view(shape)) for name, shape in shapes.items())
        asked = {
            name: (self._tensors[name], self._tensors[name].view(known[name])) for name in outputs if name in known
        }
        unasked = tuple(self._tensors[name] for name in known if name not in asked)
        call = self._calls[key] = self._current = PreparedCall(staged, shapes, asked, unasked)
        while len(self._calls) > max(self._options.cuda_graph_limit, 1):
            _, oldest = self._calls.popitem(last=False)
            if oldest.recording is not None:
                oldest.recording.close()
        return call

    def _reserve_inputs(self, inputs: dict[str, Array]) -> None:
        for name, value in inputs.items():
            buffers = self._tensors[name]
            self._reserve(buffers, value.size * buffers.dtype.itemsize)
            if buffers.tensor.on_host:
                buffers.fill(buffers.view(value.shape), np.asarray(value))

    def _reserve_outputs(self) -> dict[str, Shape]:
        """Return the shapes of the outputs that have one before the call, by name; the others get an allocator."""
        known = {}
        for name, buffers in self._tensors.items():
            if buffers.tensor.is_input:
                continue
            shape = None if name in self._context.late else self._context.shape(buffers.tensor.name)
            if shape is None:
                if self._context.allocate_late(name):
                    self._forget()
                    if self._graphs:
                        self._without_graphs(f"the shape of output `{name}` is known only after each call")
                continue
            self._reserve(buffers, prod(shape) * buffers.dtype.itemsize)
            known[name] = shape
        return known

    def _reserve(self, buffers: TensorBuffers, size_bytes: int) -> None:
        try:
            moved = buffers.reserve(size_bytes)
        except BaseException:
            self._forget()  # it may have moved all the same
            raise
        if moved:
            self._forget()
        self._context.point(buffers.tensor.name, buffers.pointer)

    # -- running it --------------------------------------------------------------------------------------------

    def _run(self, call: PreparedCall, lent: Lent) -> None:
        """Enqueue a call that is not recorded yet, and record it where it comes for the second time."""
        call.runs += 1
        if self._graphs and call.runs > 1 and not lent and self._record(call):
            return
        if self._current is not call:
            self._current = None
            self._context.select_profile(call.shapes, self._stream.handle)
            call.point(self._context)
            self._context.set_shapes(call.shapes)
            self._current = call
        call.enqueue(self._context, self._stream, lent)

    def _record(self, call: PreparedCall) -> bool:
        """Return whether the call is done and recorded; else the metadata says why it cannot be."""
        try:
            if self._scratch is None:
                self._scratch = DeviceBuffer(self._cuda, scratch_bytes(self._engine.engine))
            call.recording = Recording(self._engine, self._stream, self._scratch, call)
        except ResultError as failure:
            if self._cuda.lost is not None:
                raise
            self._without_graphs(failure.error.message)
            return False
        self._engine.metadata["cuda_graph"] = "on"
        return True

    def _results(self, call: PreparedCall, outputs: tuple[str, ...]) -> list[Any]:
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
        made, stream = [], self._stream.handle
        with self._stream.lock, self._cuda:
            for name, (buffers, view) in found.items():
                late = self._context.late.get(name)
                value = buffers.result(view) if buffers.passes_through_host else view
                memory = DeviceBuffer(self._cuda, value.nbytes)
                if buffers.passes_through_host:
                    copy_to_device(self._cuda, memory.pointer, value.ctypes.data, value.nbytes, stream)
                    self._stream.finish()
                else:
                    source = late.pointer if late is not None else buffers.pointer
                    copy_on_device(self._cuda, memory.pointer, source, value.nbytes, stream)
                made.append(DeviceArray(memory.pointer, value.shape, value.dtype, self._cuda.ordinal, owner=memory))
            self._stream.finish()
        return made

    # -- what can go wrong -------------------------------------------------------------------------------------

    def _without_graphs(self, reason: str) -> None:
        self._graphs = False
        self._engine.metadata["cuda_graph"] = f"off: {reason}"

    def _forget(self) -> None:
        """Drop what knows addresses that are no longer right."""
        with ExitStack() as recordings:  # each of them, even where another one fails
            for call in self._calls.values():
                if call.recording is not None:
                    recordings.callback(call.recording.close)
            self._calls.clear()
            self._newest = self._current = None

    def _break_off(self, error: BaseException) -> None:
        """Let the next call tell the context all anew, and wait for what this one has put on the stream."""
        self._current = None
        self._context.forget()
        self._stream.break_off(error)


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
