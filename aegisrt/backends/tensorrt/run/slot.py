"""`TensorRTSlot`: one instance of an engine: its execution context, stream, memory and recorded CUDA graphs.

A call stages its inputs, enqueues copies and kernels, and waits: https://docs.nvidia.com/deeplearning/tensorrt/latest/
inference-library/python-api-docs.html#performing-inference. With `cuda_graph` the copies are recorded too, so that a
call is one launch.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from math import prod
from typing import Any

import numpy as np

from aegisrt.backends.tensorrt.engine import LoadedEngine
from aegisrt.backends.tensorrt.options import TensorRTOptions
from aegisrt.backends.tensorrt.run.agreement import refuse_disagreement
from aegisrt.backends.tensorrt.run.buffers import TensorBuffers
from aegisrt.backends.tensorrt.run.call import ALIGNMENT, Borrowed, PreparedCall
from aegisrt.backends.tensorrt.run.context import Shape, ShapedContext
from aegisrt.backends.tensorrt.run.prepared_calls import CallKey, PreparedCalls
from aegisrt.backends.tensorrt.run.recording import Recording
from aegisrt.backends.tensorrt.run.scratch import scratch_bytes
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.tensor import Array, shape_text
from aegisrt.devices.base import Device
from aegisrt.devices.cuda.arrays import DeviceArray
from aegisrt.devices.cuda.call import GpuCalls, Output, QuickCall
from aegisrt.devices.cuda.memory import DeviceBuffer, copy_to_device
from aegisrt.devices.cuda.stream import open_stream


class TensorRTSlot:
    """Runs one call at a time, in any thread."""

    def __init__(self, loaded: LoadedEngine, device: Device, stream: Any, options: TensorRTOptions) -> None:
        self._loaded = loaded
        self._cuda = loaded.context
        self._graphs = options.cuda_graph
        self._calls = PreparedCalls(options.cuda_graph_limit)
        self._current: PreparedCall | None = None
        """The call whose shapes are set in the execution context."""
        self._scratch: DeviceBuffer | None = None
        """Scratch memory of the recordings, which run one at a time."""
        self._inputs: dict[str, TensorBuffers] = {}
        self._outputs: dict[str, TensorBuffers] = {}
        """By the caller's names: one name may be both an input and an output."""
        for item in loaded.tensors:
            side = self._inputs if item.is_input else self._outputs
            side[item.public] = TensorBuffers(self._cuda, item, loaded.public_dtype(item))
        self._holds_sizes = any(item.on_host for item in loaded.tensors)
        self._quick: QuickCall | None = None
        """The last recording, if it can run whole calls."""
        self._stream, self._owns_stream = open_stream(stream, device)
        self._on_device = options.outputs == "device"
        self._gpu = GpuCalls(self._stream, alone=self._owns_stream, on_device=self._on_device, alignment=ALIGNMENT)
        try:
            self._context = ShapedContext(loaded)
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
            self._disable_graphs("an input or output holds sizes, which TensorRT reads on the host")

    def call(self, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Any]:
        """Return the values of `outputs`, in that order."""
        try:
            quick = self._quick
            if quick is not None and quick.outputs == outputs:
                values = quick(inputs.values())
                if values is not None:
                    return values
            return self._call(inputs, outputs)
        except BaseException as error:
            self._current = None
            self._context.forget()  # the next call sets its whole state
            self._stream.break_off(error)
            raise

    def _call(self, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Any]:
        key = self._key(inputs, outputs)
        call = self._calls.get(key)
        if call is None:
            call = self._prepare(key, inputs, outputs)
        borrowed = call.stage(inputs)
        recording = self._calls.recordings.get(call)
        self._quick = None if recording is None else recording.quick
        return self._gpu.answer(self._enqueue, call, recording, borrowed, outputs)

    def bytes_held(self) -> int:
        """Return the GPU memory that this instance holds in addition to the engine's weights."""
        buffers = sum(item.device_bytes for item in self._all_buffers())
        late = sum(item.size_bytes for item in self._context.late.values())
        recordings = 0 if self._scratch is None else self._scratch.size_bytes
        return scratch_bytes(self._loaded.icuda_engine) + buffers + late + recordings

    def close(self) -> None:
        """Destroy recordings and execution context, in this order, and free memory and stream."""
        with ExitStack() as rest:  # each of them, in the reverse order, even if another one fails
            rest.callback(self._close_stream)
            for buffers in self._all_buffers():
                rest.callback(buffers.free)
            if self._scratch is not None:
                rest.callback(self._scratch.free)
            rest.callback(self._context.close)
            rest.callback(self._forget)

    def _all_buffers(self) -> tuple[TensorBuffers, ...]:
        return (*self._inputs.values(), *self._outputs.values())

    def _close_stream(self) -> None:
        try:
            self._gpu.close()
        finally:
            if self._owns_stream:
                self._stream.close()

    def _key(self, inputs: dict[str, Array], outputs: tuple[str, ...]) -> CallKey:
        shapes = tuple([value.shape for value in inputs.values()])
        if not self._holds_sizes:
            return (shapes, outputs)
        on_host = (value for name, value in inputs.items() if self._inputs[name].tensor.on_host)
        sizes = tuple(np.asarray(value).tobytes() for value in on_host)
        return (shapes, outputs, *sizes)

    def _prepare(self, key: CallKey, inputs: dict[str, Array], outputs: tuple[str, ...]) -> PreparedCall:
        """Return a new call for these shapes, with memory and addresses."""
        shapes = {name: value.shape for name, value in inputs.items()}
        refuse_disagreement(self._loaded.signature, shapes)
        self._current = None
        with self._stream.lock, self._cuda:
            self._context.select_profile(shapes, self._stream.handle)
            self._reserve_inputs(inputs)
            self._context.set_shapes(shapes)
            known = self._reserve_outputs()
        staged = tuple((self._inputs[name], self._inputs[name].view(shape)) for name, shape in shapes.items())
        requested = {
            name: (self._outputs[name], self._outputs[name].view(known[name])) for name in outputs if name in known
        }
        unrequested = tuple(self._outputs[name] for name in known if name not in requested)
        fetched = [each for each in requested.values() if not self._on_device or each[0].passes_through_host]
        call = PreparedCall(outputs, staged, shapes, requested, fetched, unrequested)
        self._quick = None
        self._calls.add(key, call)
        self._current = call
        return call

    def _reserve_inputs(self, inputs: dict[str, Array]) -> None:
        for name, value in inputs.items():
            buffers = self._inputs[name]
            self._reserve(buffers, value.size * buffers.dtype.itemsize)
            if buffers.tensor.on_host:
                buffers.fill(buffers.view(value.shape), np.asarray(value))

    def _reserve_outputs(self) -> dict[str, Shape]:
        """Return the shapes of the outputs that have one before the call, by name; the others get an allocator."""
        known = {}
        for name, buffers in self._outputs.items():
            shape = None if name in self._context.late else self._context.shape(buffers.tensor.name)
            if shape is None:
                if self._context.allocate_late(name):
                    self._forget()
                    if self._graphs:
                        self._disable_graphs(f"the shape of output `{name}` is known only after each call")
                continue
            self._reserve(buffers, prod(shape) * buffers.dtype.itemsize)
            known[name] = shape
        return known

    def _reserve(self, buffers: TensorBuffers, size_bytes: int) -> None:
        try:
            moved = buffers.reserve(size_bytes)
        except BaseException:
            self._forget()  # the memory may have moved all the same
            raise
        if moved:
            self._forget()
        self._context.set_address(buffers.tensor.name, buffers.pointer)

    def _enqueue(
        self, call: PreparedCall, recording: Recording | None, borrowed: Borrowed, outputs: tuple[str, ...]
    ) -> list[Output]:
        """Enqueue a staged call, by its recording if that can run it; return its outputs."""
        if recording is not None and not borrowed:
            recording.launch(self._stream.handle)
        else:
            self._run(call, borrowed)
        return [self._output(call, name) for name in outputs]

    def _run(self, call: PreparedCall, borrowed: Borrowed) -> None:
        """Enqueue a call without its recording; at its second run, record it."""
        call.runs += 1
        if self._graphs and call.runs > 1 and not borrowed and self._record(call):
            return
        if self._current is not call:
            self._current = None
            self._context.select_profile(call.shapes, self._stream.handle)
            call.set_addresses(self._context)
            self._context.set_shapes(call.shapes)
            self._current = call
        call.enqueue(self._context, self._stream, self._gpu, borrowed)

    def _output(self, call: PreparedCall, name: str) -> Output:
        """Return an output; enqueue the copy that the call itself does not have."""
        buffers, known = self._outputs[name], call.outputs.get(name)
        if known is not None:
            if not self._on_device:
                return partial(buffers.result, known[1])
            if buffers.passes_through_host:
                return partial(self._returned, buffers, known[1])
            return self._gpu.leave(buffers.pointer, known[1].shape, buffers.dtype)
        return lambda: self._gpu.answer(self._enqueue_late, name)[0]

    def _enqueue_late(self, name: str) -> list[Output]:
        """Return an output whose shape the call has reported; enqueue its copy. The stream is done with the call."""
        late, buffers = self._context.late[name], self._outputs[name]
        if late.shape is None:
            raise fail(ErrorCode.INTERNAL, f"TensorRT reported no shape for output `{name}`")
        size = prod(late.shape) * buffers.dtype.itemsize
        if min(late.shape, default=0) < 0 or size > late.size_bytes:
            message = f"TensorRT reported the shape {shape_text(late.shape)} for output `{name}`"
            raise fail(ErrorCode.INTERNAL, f"{message}, and allocated {late.size_bytes} bytes for it, not {size}")
        if self._on_device and not buffers.passes_through_host:
            return [self._gpu.leave(late.pointer, late.shape, buffers.dtype)]
        view = self._gpu.fetch(name, late.pointer, late.shape, buffers.dtype)
        return [partial(self._returned if self._on_device else TensorBuffers.result, buffers, view)]

    def _returned(self, buffers: TensorBuffers, view: Array) -> DeviceArray:
        """Return a result on the GPU that exists on the host alone, because it is computed or converted there."""
        value = buffers.result(view)
        with self._stream.lock, self._cuda:
            array = self._gpu.fresh(value.shape, value.dtype)
            copy_to_device(self._cuda, array.pointer, value.ctypes.data, value.nbytes, self._stream.handle)
            self._stream.finish()  # `value` is freed with this frame
        return array

    def _record(self, call: PreparedCall) -> bool:
        """Run and record the call; if it cannot be recorded, return False and write the reason to the metadata."""
        try:
            if self._scratch is None:
                self._scratch = DeviceBuffer(self._cuda, scratch_bytes(self._loaded.icuda_engine))
            self._calls.recordings[call] = Recording(self._loaded, self._gpu, self._scratch, call)
        except ResultError as failure:
            if self._cuda.lost is not None:
                raise
            self._disable_graphs(failure.error.message)
            return False
        self._loaded.metadata["cuda_graph"] = "on"
        return True

    def _disable_graphs(self, reason: str) -> None:
        self._graphs = False
        self._loaded.metadata["cuda_graph"] = f"off: {reason}"

    def _forget(self) -> None:
        """Drop all prepared calls: they contain addresses that are no longer valid."""
        self._current = self._quick = None
        self._calls.clear()
