"""`GpuCalls` and `QuickCall`: what a call on a GPU does besides the engine's own work.

Inputs from the host are staged: copied into page-locked memory, and from there to the GPU. Inputs on the GPU are
borrowed: the engine reads the caller's memory. Outputs are fetched into page-locked memory, or stay on the GPU; after
the wait, the caller gets copies of its own. If a call fails, its work is broken off: waited for, so that its memory may
be used again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ctypes import byref, c_void_p
from math import prod
from typing import Any, NamedTuple

from numpy import copyto, dtype, ndarray

from aegisrt.core.tensor import Array
from aegisrt.devices.cuda.arrays import LEGACY_STREAM, DeviceArray, JoinedArray
from aegisrt.devices.cuda.memory import ResultPool, copy_on_device, copy_to_host
from aegisrt.devices.cuda.staged import StagedTensor
from aegisrt.devices.cuda.stream import CudaEvent, CudaStream

Output = Callable[[], Any]
"""An output of a call that was enqueued: to be called after the wait, for what the caller gets."""


class Copy(NamedTuple):
    """A copy between the GPU and page-locked memory."""

    target: int
    source: int
    size_bytes: int


class GpuCalls:
    """The calls of one instance on its stream; in one thread at a time."""

    def __init__(self, stream: CudaStream, *, alone: bool, on_device: bool, alignment: int = 1) -> None:
        """`alone`: no other instance uses the stream. `on_device`: outputs stay on the GPU.

        `alignment`: of the addresses that the engine accepts, in bytes.
        """
        self.stream = stream
        self.cuda = stream.context
        self.on_device = on_device
        self.alone = alone
        self._alignment = alignment
        self._landing: dict[str, StagedTensor] = {}
        """Page-locked memory of outputs, by name."""
        self._landed: dict[str, Array] = {}
        """That memory in the shape and dtype of the last output."""
        self._results = ResultPool(self.cuda)
        self._done = None if alone else CudaEvent(self.cuda, timing=False)
        """On a shared stream, an event: it does not wait for later work of other instances."""
        self._awaited: CudaEvent | None = None
        """Marks the work of other streams that an input waits for."""

    def answer(self, enqueue: Callable[..., Sequence[Output]], *arguments: Any) -> list[Any]:
        """Return the outputs of a call for the caller; `enqueue(*arguments)` enqueues it, and returns its outputs."""
        stream = self.stream
        try:
            with stream.lock, self.cuda.current():
                outputs = enqueue(*arguments)
                if self._done is None:
                    stream.finish()
                else:
                    self._done.record(stream.handle)
            if self._done is not None:
                self._done.synchronize()
        except BaseException as error:
            stream.break_off(error)
            raise
        return [output() for output in outputs]

    def borrow(self, array: DeviceArray | JoinedArray, staged: StagedTensor) -> int:
        """Return the address of a caller's array on the GPU: its own, or that of `staged`, to which it is copied.

        It is copied if it has no elements, if it is not aligned, or if it is several arrays that are joined here. The
        stream waits for the streams that write it. The context must be current.
        """
        if isinstance(array, DeviceArray):
            self.wait_for(array.stream)
            if array.pointer and array.size and not array.pointer % self._alignment:
                return array.pointer
        staged.reserve(array.nbytes)
        self.gather(array, staged.pointer)
        return staged.pointer

    def gather(self, array: DeviceArray | JoinedArray, target: int) -> None:
        """Enqueue the copies of a caller's arrays, one after the other, to an address on the GPU."""
        for part in array.parts if isinstance(array, JoinedArray) else (array,):
            self.wait_for(part.stream)
            copy_on_device(self.cuda, target, part.pointer, part.nbytes, self.stream.handle)
            target += part.nbytes

    def wait_for(self, stream: int | None) -> None:
        """Let the work that is enqueued from now on wait for all present work of another stream; None: no wait."""
        if stream is not None and stream != self.stream.handle:
            if self._awaited is None:
                self._awaited = CudaEvent(self.cuda, timing=False)
            self.stream.wait_after(self._awaited, stream)

    def output(self, name: str, pointer: int, shape: tuple[int, ...], kind: dtype[Any]) -> Output:
        """Enqueue the copy of an output from an address on the GPU; return the output."""
        return self.leave(pointer, shape, kind) if self.on_device else self.fetch(name, pointer, shape, kind).copy

    def fetch(self, name: str, pointer: int, shape: tuple[int, ...], kind: dtype[Any]) -> Array:
        """Enqueue the copy of an output to page-locked memory; return that, valid from the wait to the next call."""
        view = self._landed.get(name)
        if view is None or view.shape != shape or view.dtype != kind:
            landing = self._landing.get(name)
            if landing is None:
                landing = self._landing[name] = StagedTensor(self.cuda)
            landing.reserve(prod(shape) * kind.itemsize, device=False)
            view = self._landed[name] = landing.view(shape, kind)
        copy_to_host(self.cuda, self._landing[name].address, pointer, view.nbytes, self.stream.handle)
        return view

    def leave(self, pointer: int, shape: tuple[int, ...], kind: dtype[Any]) -> Output:
        """Enqueue the copy of an output to memory of its own on the GPU: the engine writes its memory again."""
        array = self.fresh(shape, kind)
        copy_on_device(self.cuda, array.pointer, pointer, array.nbytes, self.stream.handle)
        return lambda: array

    def fresh(self, shape: tuple[int, ...], kind: dtype[Any]) -> DeviceArray:
        """Return an array on the GPU for an output, in memory of a former result or in new memory.

        Before it is written, the stream waits for the default stream: another library's work may still read the former
        result. The context must be current.
        """
        memory, shown = self._results.take(prod(shape) * kind.itemsize)
        if shown:
            self.wait_for(LEGACY_STREAM)
        return DeviceArray(memory.pointer, shape, kind, self.cuda.ordinal, owner=memory)

    def close(self) -> None:
        """Free the memory and the events; may be called again. Results that the caller holds stay valid."""
        for landing in self._landing.values():
            landing.free()
        self._landing.clear()
        self._landed.clear()
        self._results.close()
        for event in (self._done, self._awaited):
            if event is not None:
                event.close()


class QuickCall:
    """A whole call whose steps are all prepared: from inputs on the host to outputs on the host, at fixed addresses.

    Most calls take this path, so it has as few steps as a loop around the engine alone. No other instance may use the
    stream. In one thread at a time.
    """

    __slots__ = (
        "_address", "_cuda", "_current", "_downloads", "_get_current", "_handle", "_inputs", "_launch", "_results",
        "_stream", "_uploads", "_wait", "outputs",
    )  # fmt: skip

    def __init__(
        self,
        stream: CudaStream,
        outputs: tuple[str, ...],
        *,
        inputs: Iterable[Array],
        launch: Callable[[], int | None],
        results: Iterable[Array],
        uploads: Iterable[Copy] = (),
        downloads: Iterable[Copy] = (),
        waits: bool = False,
    ) -> None:
        """`inputs` and `results` are the page-locked memory of the tensors.

        `launch` enqueues the engine's work, and returns the driver's code or None; with `waits` it waits for the
        stream too, and nothing is copied afterwards.
        """
        self.outputs = outputs
        """The names that the caller requests, the same object in each call."""
        self._stream, self._cuda = stream, stream.context
        driver, self._handle = stream.context.driver, c_void_p(stream.handle)
        self._get_current, self._current = driver.cuCtxGetCurrent, c_void_p()
        self._address = byref(self._current)
        self._inputs = [(view, view.shape) for view in inputs]
        self._uploads = [(driver.cuMemcpyHtoDAsync_v2, "cuMemcpyHtoDAsync", (*copy, self._handle)) for copy in uploads]
        self._downloads = [
            (driver.cuMemcpyDtoHAsync_v2, "cuMemcpyDtoHAsync", (*copy, self._handle)) for copy in downloads
        ]
        self._launch = launch
        self._results = list(results)
        self._wait = None if waits else driver.cuStreamSynchronize

    def __call__(self, inputs: Iterable[Any]) -> list[Array] | None:
        """Return the outputs; None if a call like this one is not prepared, or the context is not current.

        If the engine or the driver fails, the caller must break off.
        """
        for (view, shape), value in zip(self._inputs, inputs):  # noqa: B905  (`strict` takes longer)
            if type(value) is not ndarray or value.shape != shape:
                return None
            copyto(view, value)
        cuda = self._cuda
        if (
            not cuda.thread.captures_locally
            or self._get_current(self._address)
            or self._current.value != cuda.handle
            or cuda.lost is not None
        ):
            return None
        for copy, name, arguments in self._uploads:
            if code := copy(*arguments):
                cuda.check(name, code)
        if code := self._launch():
            cuda.check("cuGraphLaunch", code)
        for copy, name, arguments in self._downloads:
            if code := copy(*arguments):
                cuda.check(name, code)
        if self._wait is not None and (code := self._wait(self._handle)):
            cuda.check("cuStreamSynchronize", code)
        return [view.copy() for view in self._results]


def staged_apart(values: Iterable[Any], stages: Iterable[Callable[[Array], object]]) -> list[Any]:
    """Stage the inputs that are on the host; return the others in their places, and None for those."""
    borrowed: list[Any] = []
    for value, stage in zip(values, stages, strict=True):
        if isinstance(value, ndarray):
            stage(value)
            borrowed.append(None)
        else:
            borrowed.append(value)
    return borrowed
