"""`OrtCudaSlot`: one instance of a model on a GPU, with its inputs and outputs bound to memory of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np

from aegisrt.backends.onnx.cuda_binding import Binding, TensorMemory, TensorPlace, owned, size_bytes
from aegisrt.backends.onnx.cuda_binding_cache import BindingCache, Key
from aegisrt.backends.onnx.cuda_sessions import CudaSessions
from aegisrt.backends.onnx.cuda_threads import FewThreads
from aegisrt.backends.onnx.options import ONNXOptions
from aegisrt.backends.onnx.run_errors import CAPTURE, LIBRARY, OTHER_SHAPE
from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.core.tensor import Array, Signature
from aegisrt.devices.cuda.arrays import DeviceArray
from aegisrt.devices.cuda.call import GpuCalls, Output, QuickCall
from aegisrt.devices.cuda.memory import copy_to_device, copy_to_host

_NO_GRAPH, _RECORDINGS_TRIED = "-1", 3


class _OtherShape(Exception):  # noqa: N818  (it is not an error: the call goes on in another way)
    """An output has another shape than the memory that is bound to it."""


class OrtCudaSlot:
    """One instance; serves one call at a time, in any thread.

    Each set of shapes has a binding, made at its first call. With `cuda_graph`, the first `cuda_graph_limit` of them
    are recorded, each in memory of its own, and kept: ONNX Runtime's CUDA provider releases no recording before its
    session ends.
    """

    device_type: ClassVar[str] = "cuda"
    waits_in_run: ClassVar[bool] = True
    """Whether ONNX Runtime waits for the stream at the end of a call that is not replayed. That is its default
    (`disable_synchronize_execution_providers` in its onnxruntime_run_options_config_keys.h). If it does not wait, its
    `DeviceStreamCollection::CleanUp` keeps page-locked buffers of the call's kernels for the session's life.
    """
    direct_output_bytes: ClassVar[int] = 65536
    """Outputs up to this size are written over the bus, because a copy and the wait for it take longer. Inputs are
    always copied: each kernel that reads an input again would read it over the bus again (a dense layer of 4096 took
    3.6 times as long)."""

    def __init__(self, ort: Any, sessions: CudaSessions, signature: Signature, options: ONNXOptions) -> None:
        self._ort = ort
        self._options = options
        self._specs = {spec.name: spec for spec in (*signature.inputs, *signature.outputs)}
        self._has_optional = any(spec.optional for spec in signature.inputs)
        self._metadata = sessions.metadata
        self._graphs = sessions.graph
        self._graph_ids = sessions.graph_ids
        self._few = FewThreads() if self._graphs else None
        self._session, self._stream, alone = sessions.take()
        self._cuda = self._stream.context
        self._on_cpu = _on_cpu(self._session)
        self._bindings = BindingCache(partial(TensorMemory, self._cuda, self.device_type, self._on_cpu))
        self._gpu = GpuCalls(self._stream, alone=alone, on_device=options.outputs == "device")
        self._quick: QuickCall | None = None
        """The whole call of the last binding, if it is prepared."""
        self._known_shapes = True
        """Whether equal input shapes have always had equal output shapes: only then outputs can be bound ahead."""

    def call(self, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Any]:
        """Return the values of `outputs`, in that order."""
        return self._call(inputs, outputs) if self._few is None else self._few.run(self._call, inputs, outputs)

    def _call(self, inputs: dict[str, Array], outputs: tuple[str, ...]) -> Sequence[Any]:
        quick = self._quick
        if quick is not None and quick.outputs == outputs:
            try:
                values = quick(inputs.values())
            except _OtherShape:
                values = None
            except BaseException as error:
                self._quick = None
                self._stream.break_off(error)
                raise
            if values is not None:
                return values
        self._quick = None
        shapes = tuple([value.shape for value in inputs.values()])
        borrowed = (
            () if self._graphs else tuple([name for name, value in inputs.items() if isinstance(value, DeviceArray)])
        )
        key: Key = (shapes, outputs, borrowed)
        if self._has_optional:
            key = (*key, tuple(inputs))
        bound = self._bindings.find(key) or self._bind(key, inputs, outputs)
        answer = self._gpu.answer(self._enqueue, key, bound, inputs, outputs)
        if self._bindings.keeps(key, bound):
            self._quick = bound.quick
        return answer

    def close(self) -> None:
        """Drop the session, then its memory; `CudaSessions` closes the stream."""
        if self._few is not None:
            self._few.close()
        self._quick = None
        self._bindings.clear()
        with self._cuda.unless_lost():
            self._session = None
        self._bindings.free()
        self._gpu.close()

    def _bind(self, key: Key, inputs: Mapping[str, Any], outputs: tuple[str, ...]) -> Binding:
        elsewhere = {name for name in key[2] if name not in self._on_cpu and inputs[name].size}
        staged = [(self._specs[name], value.shape) for name, value in inputs.items() if name not in elsewhere]
        memory = self._memory_for_graph() if not key[2] else self._bindings.shared
        try:
            with self._stream.lock:
                self._bindings.reserve(memory, staged)
            bound = Binding(self._session.io_binding(), self._run_options(_NO_GRAPH), memory, self._stream)
            for spec, shape in staged:
                bound.bind_input(spec, shape, memory.place(spec, shape))
            bound.bind_unallocated(outputs)
        except BaseException:
            self._bindings.drop(key, memory)
            raise
        self._bindings.keep(key, bound)
        return bound

    def _bind_known(
        self, bound: Binding, outputs: tuple[str, ...], shapes: list[tuple[int, ...]], *, is_staged: bool
    ) -> None:
        """Bind the outputs to memory of ours, now that their shapes are known, and record the next calls.

        `is_staged`: whether each input is in memory of ours too.
        """
        limit = 0 if self._gpu.on_device else self.direct_output_bytes
        specs = [self._specs[name] for name in outputs]
        pairs = list(zip(specs, shapes, strict=True))
        try:
            if self._bindings.reserve(bound.memory, pairs, limit):
                return
        except ResultError as error:
            if error.error.code is ErrorCode.RESOURCE_EXHAUSTED:
                return  # ONNX Runtime had room for the outputs, and this call is answered; the next one does the same
            raise
        places = [bound.memory.place(spec, shape, direct=size_bytes(spec, shape) <= limit) for spec, shape in pairs]
        bound.bind_outputs(specs, places)
        is_recorded = bound.memory is not self._bindings.shared
        if is_recorded:
            bound.run_options = self._run_options(str(next(self._graph_ids)))
        if is_staged and self._gpu.alone and not self._gpu.on_device and not self._has_optional:
            bound.quick = QuickCall(
                self._stream,
                outputs,
                inputs=[place.host for place in bound.places.values()],
                launch=partial(self._run, bound),
                results=[place.host for place in places],
                uploads=bound.uploads,
                downloads=bound.downloads,
                waits=self.waits_in_run and not is_recorded and not bound.downloads,
            )

    def _enqueue(self, key: Key, bound: Binding, inputs: Mapping[str, Any], outputs: tuple[str, ...]) -> list[Output]:
        self._stage(bound, inputs)
        if bound.results is not None:
            try:
                self._run(bound)
            except _OtherShape:
                pass
            else:
                return self._known_outputs(bound.results, outputs)
        if bound.used:
            bound.bind_unallocated(outputs)
        bound.used = True
        try:
            self._session.run_with_iobinding(bound.io, bound.run_options)
        except Exception:
            self._stream.raise_if_lost()
            self._bindings.drop(key, bound.memory)
            raise
        values = bound.io.get_outputs()
        shapes = [tuple(value.shape()) for value in values]
        answer = self._ort_outputs(values, shapes, outputs)
        if self._known_shapes and not self._on_cpu.intersection(outputs) and self._bindings.keeps(key, bound):
            self._bind_known(bound, outputs, shapes, is_staged=not key[2])
        return answer

    def _stage(self, bound: Binding, inputs: Mapping[str, Any]) -> None:
        """Bring the inputs to where the binding has them; bind those that are borrowed."""
        handle = self._stream.open_handle()
        for name, value in inputs.items():
            place = bound.places.get(name)
            if place is None:
                self._gpu.wait_for(value.stream)
                bound.bind_borrowed(self._specs[name], value.shape, value.pointer)
            elif isinstance(value, np.ndarray) or name in self._on_cpu or not place.host.nbytes:
                place.host[...] = value if isinstance(value, np.ndarray) else value.numpy()
                if place.is_copied:
                    copy_to_device(self._cuda, place.pointer, place.address, place.host.nbytes, handle)
            else:
                self._gpu.gather(value, place.pointer)

    def _known_outputs(self, places: list[TensorPlace], outputs: tuple[str, ...]) -> list[Output]:
        """Return outputs that are bound to memory of ours; enqueue their copies."""
        if self._gpu.on_device:
            pairs = zip(outputs, places, strict=True)
            return [self._gpu.leave(place.pointer, place.host.shape, self._dtype(name)) for name, place in pairs]
        for place in places:
            if place.is_copied:
                copy_to_host(self._cuda, place.address, place.pointer, place.host.nbytes, self._stream.handle)
        return [place.host.copy for place in places]

    def _ort_outputs(self, values: list[Any], shapes: list[tuple[int, ...]], outputs: tuple[str, ...]) -> list[Output]:
        """Return outputs in memory that ONNX Runtime allocated; enqueue their copies."""
        stays = self._gpu.on_device and not self._on_cpu.intersection(outputs)
        made: list[Output] = []
        for name, value, shape in zip(outputs, values, shapes, strict=True):
            if name in self._on_cpu:
                made.append(partial(owned, value))
            elif stays:
                made.append(self._gpu.leave(value.data_ptr(), shape, self._dtype(name)))
            else:
                made.append(self._gpu.fetch(name, value.data_ptr(), shape, self._dtype(name)).copy)
        return made

    def _dtype(self, name: str) -> np.dtype[Any]:
        return self._specs[name].dtype.numpy

    def _memory_for_graph(self) -> TensorMemory:
        """Return memory of its own, which never moves, for a binding that is to be recorded; else the shared memory."""
        limit, bindings = self._options.cuda_graph_limit, self._bindings
        if not self._graphs or not self._known_shapes:
            return bindings.shared
        if len(bindings.own) == limit:
            reason = f"on for the first {limit} sets of shapes, off for others: cuda_graph_limit is {limit}"
            self._metadata["cuda_graph"] = reason
            return bindings.shared
        return bindings.add_own()

    def _run_options(self, graph: str) -> Any:
        """Return the options of a call; they always name a graph.

        `run_with_iobinding` looks for that entry in each call; if it is missing, ONNX Runtime throws and catches an
        exception there, which takes up to 100 us.
        """
        run_options = self._ort.RunOptions()
        if graph != _NO_GRAPH or not self.waits_in_run:
            run_options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        run_options.add_run_config_entry("gpu_graph_id", graph)
        return run_options

    def _run(self, bound: Binding) -> None:
        """Run into memory of ours; if this run was to be recorded and the recording was broken, run once more.

        Raise `_OtherShape` if an output has another shape than in earlier calls: it is not bound ahead any more.

        ONNX Runtime records in CUDA's capture mode `global`: an allocation by any other thread in that mode, which is
        the default, breaks the recording. ONNX Runtime then leaves the recording open, and every later call would fail;
        or it ends the recording itself, and reports only that cuDNN or cuBLAS failed.
        """
        try:
            self._session.run_with_iobinding(bound.io, bound.run_options)
        except Exception as error:
            if OTHER_SHAPE.search(str(error)):
                self._known_shapes, bound.results, bound.quick = False, None, None
                bound.run_options = self._run_options(_NO_GRAPH)
                self._note_no_recording("the shape of an output changes although the input shapes stay the same")
                raise _OtherShape from error
            broken = CAPTURE if bound.memory is self._bindings.shared else LIBRARY
            if not (self._stream.drop_recording() or broken.search(str(error))):
                self._stream.raise_if_lost()
                raise
            self._run_again(bound)

    def _run_again(self, bound: Binding) -> None:
        """Run without a recording, after one was broken; stop recording if that happened too often."""
        plain = self._run_options(_NO_GRAPH)
        bound.broken += 1
        if bound.broken == _RECORDINGS_TRIED:
            bound.run_options = plain
            self._note_no_recording(f"other threads' work on the GPU broke the recording {bound.broken} times")
        try:
            self._session.run_with_iobinding(bound.io, plain)
        except Exception:
            self._stream.raise_if_lost()
            raise

    def _note_no_recording(self, reason: str) -> None:
        """Put the reason why a binding runs without a recording into the metadata."""
        if self._graphs:
            self._metadata["cuda_graph"] = f"off: {reason}"


def _on_cpu(session: Any) -> frozenset[str]:
    """Return the inputs and outputs that nodes on the CPU use; bound on the CPU, they are not copied twice."""
    if not hasattr(session, "get_input_memory_infos"):
        return frozenset()
    pairs = [
        *zip(session.get_inputs(), session.get_input_memory_infos(), strict=True),
        *zip(session.get_outputs(), session.get_output_memory_infos(), strict=True),
    ]
    return frozenset(argument.name for argument, memory in pairs if memory.name.lower().startswith("cpu"))
