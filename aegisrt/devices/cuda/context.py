"""`CudaContext`: the primary context of one GPU, on pycuda, which only this file imports.

Engines (ONNX Runtime, TensorRT, TVM, torch) work in the device's primary context; `pycuda.autoinit` would create
another one, in which their handles are invalid. pycuda frees memory only in a thread where the context is pushed, so
all code that allocates or frees runs inside `with context:`.
"""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager, nullcontext
from ctypes import byref, c_int, c_void_p
from types import TracebackType
from typing import Any

from aegisrt.core.optional import Requirement, require
from aegisrt.core.result import Error, ErrorCode, ResultError, fail
from aegisrt.devices.cuda.driver import (
    FORKED_HINT,
    THREAD_LOCAL_CAPTURE,
    CudaDriver,
    cuda_driver,
    driver_error,
    is_sticky,
)
from aegisrt.devices.immortal import immortalize

PYCUDA = Requirement("pycuda.driver", ("pycuda",), "cuda")

_LOST_TEXTS = ("illegal", "misaligned", "uncorrectable", "device-side assert")
"""Parts of pycuda's message for an error after which the device is lost; the message has no error number."""
_NOTHING = nullcontext()


class _Thread(threading.local):
    captures_locally = False
    """Whether this thread is in the capture mode `thread local`."""

    def __init__(self) -> None:
        self.current = c_void_p()
        """The context that was current when `CudaContext.make_current` looked last."""
        self.current_address = byref(self.current)


_thread = _Thread()


class CudaContext:
    """The primary context of one device; `with context:` makes it current in this thread, and may be nested.

    It is retained once and kept for the process: other libraries share it. After an error that leaves the device
    unusable, every later use raises that same error. The driver decides whether other GPUs still work: it may regard
    the whole process as inconsistent (CUDA_ERROR_ILLEGAL_ADDRESS and similar ones in
    https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html), and driver 580.159 does.

    A thread that used a context once stays in the capture mode `thread local`. In the default mode, an allocation would
    break a recording that another thread began in that mode, as ONNX Runtime does, and would be refused itself.
    """

    def __init__(self, ordinal: int, driver: CudaDriver, pycuda: Any) -> None:
        self.ordinal = ordinal
        self.driver = driver
        self.pycuda = pycuda
        self.lost: Error | None = None
        self.thread = _thread
        """What is known of the thread that asks."""
        try:
            pycuda.init()
            self._context = pycuda.Device(ordinal).retain_primary_context()
        except pycuda.Error as error:
            raise self.translate(error) from error
        self._push, self._pop = self._context.push, pycuda.Context.pop
        self._get_current = driver.cuCtxGetCurrent
        with self:
            self.handle = self._current() or 0
            """The `CUcontext`."""

    def __enter__(self) -> CudaContext:
        if self.lost is not None:
            raise ResultError(self.lost)
        if not self.thread.captures_locally:
            self._capture_locally()
        self._push()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pop()

    def free(self, allocation: Any) -> None:
        """Free memory that pycuda allocated; keep it for good if the device is lost.

        pycuda's destructor would try to free it then, and print a warning.
        """
        if self.lost is not None:
            immortalize(allocation)
            return
        with self:
            allocation.free()

    def make_current(self) -> bool:
        """Return whether this context is now current in this thread without `with`, and the device is not lost.

        If the thread has no context, that of device 0 is made current and stays so, as CUDA's runtime does at its first
        call in a thread. Another device's is not made current, because the caller's own work would then run there.
        """
        thread = self.thread
        if self.lost is not None:
            return False
        if not thread.captures_locally:
            self._capture_locally()
        code = self._get_current(thread.current_address)
        if code:
            self.check("cuCtxGetCurrent", code)
        current = thread.current.value
        if current is None and self.ordinal == 0:
            self.check("cuCtxSetCurrent", self.driver.cuCtxSetCurrent(self.handle))
            return True
        return current == self.handle

    def current(self) -> AbstractContextManager[Any]:
        """Return this context, or one that does nothing if `make_current`: faster, but not enough for pycuda."""
        return _NOTHING if self.make_current() else self

    def unless_lost(self) -> AbstractContextManager[Any]:
        """Return this context, or one that does nothing if the device is lost: for code that releases resources."""
        return _NOTHING if self.lost is not None else self

    def check(self, name: str, code: int) -> None:
        """Return for success; raise the error of any other code, and keep one that leaves the device unusable."""
        if code:
            text = self.driver.text(code)
            failure = driver_error(name, code, text)
            if is_sticky(code):
                self._lose(failure.error, text)
            raise failure

    def translate(self, error: Exception) -> ResultError:
        """Return the error for an exception of pycuda, with a text like `cuMemAlloc failed: out of memory`."""
        text = str(error)
        if isinstance(error, self.pycuda.MemoryError):
            return driver_error(text.partition(" ")[0], 2, "out of memory")
        if isinstance(error, self.pycuda.LaunchError) or any(part in text for part in _LOST_TEXTS):
            failure = driver_error(text.partition(" ")[0], 719, text)
            self._lose(failure.error, text)
            return failure
        if "stream is capturing" in text:
            return driver_error(text.partition(" ")[0], 900, text)
        return fail(ErrorCode.UNAVAILABLE, f"the CUDA driver reported: {text}", "see `aegisrt doctor`", cause=text)

    def memory(self) -> tuple[int, int]:
        """Return the free and the total memory of the device, in bytes."""
        with self:
            free, total = self.pycuda.mem_get_info()
        return int(free), int(total)

    def _capture_locally(self) -> None:
        mode = c_int(THREAD_LOCAL_CAPTURE)
        code = self.driver.cuThreadExchangeStreamCaptureMode(byref(mode))
        self.check("cuThreadExchangeStreamCaptureMode", code)
        self.thread.captures_locally = True

    def _current(self) -> int | None:
        handle = c_void_p()
        self.check("cuCtxGetCurrent", self.driver.cuCtxGetCurrent(byref(handle)))
        return handle.value

    def _lose(self, error: Error, text: str) -> None:
        message = f"device cuda:{self.ordinal} cannot be used after an earlier error: {text}"
        if self.lost is None:
            self.lost = Error(ErrorCode.UNAVAILABLE, message, error.hint, cause=error.cause)
            immortalize(self)  # with pycuda's context, which would print a warning when it is released

    def _become_copy(self) -> None:
        """Answer FAILED_PRECONDITION from now on: CUDA does not work in a child of a process that has used it."""
        message = f"the parent of this forked process used cuda:{self.ordinal}, so this process cannot use it"
        self.lost = Error(ErrorCode.FAILED_PRECONDITION, message, FORKED_HINT)
        immortalize(self)


_contexts: dict[int, CudaContext] = {}
_lock = threading.Lock()


def _after_fork() -> None:
    for context in _contexts.values():
        context._become_copy()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def is_lost(ordinal: int) -> bool:
    """Return whether an error has left the device unusable for the rest of this process."""
    context = _contexts.get(ordinal)
    return context is not None and context.lost is not None


def any_lost() -> bool:
    """Return whether an error has left any device of this process unusable."""
    return any(context.lost is not None for context in list(_contexts.values()))


def cuda_context(ordinal: int) -> CudaContext:
    """Return the primary context of a device, the same each time.

    UNAVAILABLE: with the driver's message if there is no driver or no device, with the install command if pycuda is
    missing.
    NOT_FOUND: if no device has this ordinal.
    """
    with _lock:
        context = _contexts.get(ordinal)
        if context is None:
            driver = cuda_driver()
            if ordinal >= (count := driver.count()):
                message = f"there is no CUDA device {ordinal}: {count} are visible"
                hint = "see `aegisrt devices`; CUDA_VISIBLE_DEVICES applies"
                raise fail(ErrorCode.NOT_FOUND if count else ErrorCode.UNAVAILABLE, message, hint)
            context = _contexts[ordinal] = CudaContext(ordinal, driver, require(PYCUDA))
        return context
