"""`CudaStream` and `CudaEvent`: an ordered queue of work on one GPU, and marks in it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from ctypes import byref, c_float, c_int, c_void_p
from types import TracebackType
from typing import Any, Literal, TypeVar

from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.devices.base import Device
from aegisrt.devices.cuda.context import CudaContext, cuda_context
from aegisrt.devices.options import StreamOptions
from aegisrt.devices.shared_stream import SharedStream

T = TypeVar("T")
Priority = Literal["low", "normal", "high"]
_NON_BLOCKING, _NO_TIMING = 1, 2
_NOT_READY = 600


class CudaEvent:
    """A mark in a stream: done when all work before it is."""

    def __init__(self, context: CudaContext, *, timing: bool = True) -> None:
        self._context = context
        self.handle = 0
        made = c_void_p()
        with context:
            context.check("cuEventCreate", context.driver.cuEventCreate(byref(made), 0 if timing else _NO_TIMING))
        self.handle = made.value or 0

    def record(self, stream: int) -> None:
        """Put it at the end of the stream with this handle; a mark that was set before is moved."""
        with self._context as context:
            context.check("cuEventRecord", context.driver.cuEventRecord(self.handle, stream))

    def synchronize(self) -> None:
        """Wait until the work before it is done; other Python threads run meanwhile."""
        with self._context as context:
            context.check("cuEventSynchronize", context.driver.cuEventSynchronize(self.handle))

    def is_done(self) -> bool:
        """Return whether the work before it is done, without waiting."""
        with self._context as context:
            return _is_done(context, "cuEventQuery", context.driver.cuEventQuery(self.handle))

    def milliseconds_since(self, earlier: CudaEvent) -> float:
        """Return the time on the GPU between two events that are done."""
        passed = c_float()
        with self._context as context:
            code = context.driver.cuEventElapsedTime(byref(passed), earlier.handle, self.handle)
            context.check("cuEventElapsedTime", code)
        return passed.value

    def close(self) -> None:
        """Destroy it; may be called again."""
        handle, self.handle = self.handle, 0
        if handle and self._context.lost is None:
            with self._context as context:
                context.check("cuEventDestroy", context.driver.cuEventDestroy_v2(handle))

    def __del__(self) -> None:
        _quietly(self.close)


class CudaStream:
    """An ordered queue of work on one GPU, in its primary context, so that every engine accepts its handle.

    Work runs in the order of `enqueue`, one caller at a time; two streams run in parallel. Thread-safe. Close it, or
    use it in a `with`; unload every model that runs on it first.
    """

    def __init__(self, device: Device | str | None = None, *, priority: Priority = "normal") -> None:
        """Open it. It raises `ResultError`.

        UNAVAILABLE: if there is no driver, no GPU or no pycuda.
        NOT_FOUND: if the machine has no GPU of this number.
        INVALID_ARGUMENT: if the device is not a GPU.
        """
        self.device = device if isinstance(device, Device) else Device.parse(device or "cuda")
        self.priority = priority
        self.handle = 0
        """The `CUstream`, as an int; 0 when closed."""
        self.lock = threading.RLock()
        """Held while several pieces of work must follow each other."""
        if self.device.kind != "cuda":
            message = f"a CudaStream runs on a CUDA device, not on `{self.device.name}`"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, "name one, such as `cuda:0`; see `aegisrt devices`")
        self.context = cuda_context(self.device.ordinal)
        self.handle = self._open()

    def enqueue(self, work: Callable[[int], T]) -> T:
        """Return the value of `work(handle)`, called with the device's context current; the GPU does the work later."""
        with self.lock, self.context:
            return work(self.open_handle())

    def synchronize(self) -> None:
        """Wait until all work in it is done; other Python threads run meanwhile."""
        with self.context:
            self.finish()

    def finish(self) -> None:
        """Wait like `synchronize`; the device's context must be current already."""
        code = self.context.driver.cuStreamSynchronize(self.open_handle())
        if code:
            self.context.check("cuStreamSynchronize", code)

    def drop_recording(self) -> bool:
        """End and drop a recording that an engine left open in this thread; return whether there was one."""
        status, graph = c_int(), c_void_p()
        with self.context as context:
            context.check("cuStreamIsCapturing", context.driver.cuStreamIsCapturing(self.open_handle(), byref(status)))
            if not status.value:
                return False
            context.driver.cuStreamEndCapture(self.open_handle(), byref(graph))
            if graph.value:
                context.driver.cuGraphDestroy(graph.value)
        return True

    def raise_if_lost(self) -> None:
        """Wait for its work; if the device is lost, raise that error, because the engine's own may not show the loss.

        Waiting also fails during a recording; that is not raised.
        """
        try:
            self.synchronize()
        except ResultError:
            if self.context.lost is not None:
                raise

    def break_off(self, error: BaseException) -> None:
        """Wait for the work of a call that `error` ends: that call's memory may be reused afterwards.

        If waiting shows that the device is lost, it raises that error, unless `error` is an interrupt.
        """
        if self.context.lost is None:
            try:
                self.raise_if_lost()
            except ResultError:
                if isinstance(error, Exception):
                    raise

    def is_done(self) -> bool:
        """Return whether all work in it is done, without waiting."""
        with self.context as context:
            return _is_done(context, "cuStreamQuery", context.driver.cuStreamQuery(self.open_handle()))

    def record_event(self) -> CudaEvent:
        """Return a new event at the end of the work that is in it now."""
        event = CudaEvent(self.context)
        with self.lock:
            event.record(self.open_handle())
        return event

    def wait_for(self, event: CudaEvent) -> None:
        """Make the work that is enqueued from now on wait for an event of any stream; returns at once."""
        with self.lock, self.context as context:
            context.check("cuStreamWaitEvent", context.driver.cuStreamWaitEvent(self.open_handle(), event.handle, 0))

    def wait_for_stream(self, other: int | None) -> None:
        """Make the work that is enqueued from now on wait for all present work of another stream; None: no wait."""
        if other is not None and other != self.handle:
            event = CudaEvent(self.context, timing=False)
            with self.lock, self.context:
                self.wait_after(event, other)
            event.close()

    def wait_after(self, event: CudaEvent, other: int) -> None:
        """Wait as `wait_for_stream` does, by an event of the caller's; the device's context must be current already."""
        context, driver = self.context, self.context.driver
        if code := driver.cuEventRecord(event.handle, other):
            context.check("cuEventRecord", code)
        if code := driver.cuStreamWaitEvent(self.open_handle(), event.handle, 0):
            context.check("cuStreamWaitEvent", code)

    def close(self) -> None:
        """Wait for its work and destroy it; may be called again."""
        with self.lock:
            handle, self.handle = self.handle, 0
        if handle and self.context.lost is None:
            with self.context as context:
                try:
                    context.driver.cuStreamSynchronize(handle)
                finally:
                    context.check("cuStreamDestroy", context.driver.cuStreamDestroy_v2(handle))

    def __enter__(self) -> CudaStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "handle", 0):
            _quietly(self.close)

    def __repr__(self) -> str:
        return f"CudaStream({self.device.name}, priority={self.priority}, handle={self.handle:#x})"

    def _open(self) -> int:
        least, greatest, made = c_int(), c_int(), c_void_p()
        with self.context as context:
            code = context.driver.cuCtxGetStreamPriorityRange(byref(least), byref(greatest))
            context.check("cuCtxGetStreamPriorityRange", code)
            rank = stream_priority(self.priority, least.value, greatest.value)
            code = context.driver.cuStreamCreateWithPriority(byref(made), _NON_BLOCKING, rank)
            context.check("cuStreamCreateWithPriority", code)
        return made.value or 0

    def open_handle(self) -> int:
        """Return `handle`.

        FAILED_PRECONDITION: if the stream is closed.
        """
        if not self.handle:
            raise fail(ErrorCode.FAILED_PRECONDITION, "the stream is closed", "open another")
        return self.handle


def stream_priority(priority: Priority, least: int, greatest: int) -> int:
    """Return CUDA's number for a priority: lower numbers run first, and a stream without one has 0.

    On present GPUs 0 is also the lowest priority, so `low` and `normal` are the same there.

    https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__STREAM.html
    """
    return {"low": least, "normal": min(max(0, greatest), least), "high": greatest}[priority]


def open_stream(declared: StreamOptions | SharedStream | CudaStream | None, device: Device) -> tuple[CudaStream, bool]:
    """Return the stream that an instance works on, and whether the instance has to close it.

    A `CudaStream` is used as it is, and a `SharedStream` has one on each GPU. Otherwise the instance gets a stream of
    its own, as declared.

    INVALID_ARGUMENT: if a `CudaStream` is on another GPU.
    """
    if isinstance(declared, SharedStream):
        return declared.opened(device.ordinal, lambda: CudaStream(device, priority=declared.options.priority)), False
    if isinstance(declared, CudaStream):
        if declared.device.ordinal != device.ordinal:
            message = f"the stream is on GPU {declared.device.ordinal}, the model on GPU {device.ordinal}"
            raise fail(ErrorCode.INVALID_ARGUMENT, message, f'open it there: `CudaStream("cuda:{device.ordinal}")`')
        return declared, False
    return CudaStream(device, priority=declared.priority if declared else "normal"), True


def _is_done(context: CudaContext, name: str, code: int) -> bool:
    if code != _NOT_READY:
        context.check(name, code)
    return code != _NOT_READY


def _quietly(close: Callable[[], Any]) -> None:
    """Close an object that its owner forgot; the garbage collector has no caller to report an error to."""
    try:
        close()
    except (ResultError, TypeError, AttributeError):
        return
