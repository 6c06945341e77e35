"""`CudaContext`: the primary context of one GPU, on pycuda, which only this file imports.

Engines (ONNX Runtime, TensorRT, TVM, torch) work in the device's primary context; `pycuda.autoinit` would make another
one, in which their handles are invalid. pycuda frees what it allocated only in a thread where the context is pushed,
so everything that allocates or frees does so inside `with context:`.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, nullcontext
from ctypes import byref, c_int, c_void_p
from types import TracebackType
from typing import Any

from aegisrt.core.optional import Requirement, require
from aegisrt.core.result import Error, ErrorCode, ResultError, fail
from aegisrt.devices.cuda.driver import THREAD_LOCAL_CAPTURE, CudaDriver, cuda_driver, driver_error, is_sticky

PYCUDA = Requirement("pycuda.driver", ("pycuda",), "cuda")

_LOST_WORDS = ("illegal", "misaligned", "uncorrectable", "device-side assert")
"""In pycuda's text of an error after which the device is lost; it does not give the number."""
_NOTHING = nullcontext()


class _Thread(threading.local):
    records_apart = False
    """Whether this thread is in the capture mode `thread local`."""


_thread = _Thread()


class CudaContext:
    """The primary context of one device; `with context:` makes it current in this thread, and may be nested.

    It is retained once and kept for the process: other libraries share it. After an error that leaves the device
    unusable, every later use answers that same error. Whether other GPUs go on is the driver's choice: it may count the
    whole process as inconsistent (CUDA_ERROR_ILLEGAL_ADDRESS and its like in
    https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__TYPES.html), and driver 580.159 does.

    A thread that was here once goes on in the capture mode `thread local`. In the default mode, what it does breaks a
    recording of another thread that was begun in that mode, as ONNX Runtime's are, and is refused itself.
    """

    def __init__(self, ordinal: int, driver: CudaDriver, pycuda: Any) -> None:
        self.ordinal = ordinal
        self.driver = driver
        self.pycuda = pycuda
        self.lost: Error | None = None
        try:
            pycuda.init()
            self._context = pycuda.Device(ordinal).retain_primary_context()
        except pycuda.Error as error:
            raise self.translate(error) from error
        self._push, self._pop = self._context.push, pycuda.Context.pop
        with self:
            self._handle = self._current()

    def __enter__(self) -> CudaContext:
        if self.lost is not None:
            raise ResultError(self.lost)
        if not _thread.records_apart:
            self._record_apart()
        self._push()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pop()

    def stays(self) -> bool:
        """Return whether this context is current in this thread without `with`, and the device is not lost.

        Where no context is, that of device 0 is made current for good, as CUDA's runtime does at its first call in a
        thread; another device's is not, since the caller's own work would then go there.
        """
        if self.lost is not None:
            return False
        if not _thread.records_apart:
            self._record_apart()
        current = self._current()
        if current is None and self.ordinal == 0:
            self.check("cuCtxSetCurrent", self.driver.cuCtxSetCurrent(self._handle))
            return True
        return current == self._handle

    def here(self) -> AbstractContextManager[Any]:
        """Return this context, or one that does nothing where it `stays`: quicker, and not enough for pycuda."""
        return _NOTHING if self.stays() else self

    def unless_lost(self) -> AbstractContextManager[Any]:
        """Return this context, or one that does nothing where the device is lost: for what releases things."""
        return _NOTHING if self.lost is not None else self

    def check(self, name: str, code: int) -> None:
        """Return None for success; raise what a driver's result code means, and remember one that is for good."""
        if code:
            text = self.driver.text(code)
            failure = driver_error(name, code, text)
            if is_sticky(code):
                self._lose(failure.error, text)
            raise failure

    def translate(self, error: Exception) -> ResultError:
        """Return the error that stands for one of pycuda's, whose text is `cuMemAlloc failed: out of memory`."""
        text = str(error)
        if isinstance(error, self.pycuda.MemoryError):
            return driver_error(text.partition(" ")[0], 2, "out of memory")
        if isinstance(error, self.pycuda.LaunchError) or any(word in text for word in _LOST_WORDS):
            failure = driver_error(text.partition(" ")[0], 719, text)
            self._lose(failure.error, text)
            return failure
        return fail(ErrorCode.UNAVAILABLE, f"the CUDA driver answered: {text}", "see `aegisrt doctor`", cause=text)

    def memory(self) -> tuple[int, int]:
        """Return the free and the whole memory of the device, in bytes."""
        with self:
            free, total = self.pycuda.mem_get_info()
        return int(free), int(total)

    def _record_apart(self) -> None:
        mode = c_int(THREAD_LOCAL_CAPTURE)
        code = self.driver.cuThreadExchangeStreamCaptureMode(byref(mode))
        self.check("cuThreadExchangeStreamCaptureMode", code)
        _thread.records_apart = True

    def _current(self) -> int | None:
        found = c_void_p()
        self.check("cuCtxGetCurrent", self.driver.cuCtxGetCurrent(byref(found)))
        return found.value

    def _lose(self, error: Error, text: str) -> None:
        message = f"device cuda:{self.ordinal} was lost to an earlier error: {text}"
        self.lost = self.lost or Error(ErrorCode.UNAVAILABLE, message, error.hint, cause=error.cause)


_contexts: dict[int, CudaContext] = {}
_lock = threading.Lock()


def is_lost(ordinal: int) -> bool:
    """Return whether an error has left the device unusable for the rest of this process."""
    context = _contexts.get(ordinal)
    return context is not None and context.lost is not None


def any_lost() -> bool:
    """Return whether an error has left any device of this process unusable."""
    return any(context.lost is not None for context in list(_contexts.values()))


def cuda_context(ordinal: int) -> CudaContext:
    """Return the primary context of a device, the same each time.

    UNAVAILABLE with the driver's message where there is no driver or no device, and with the install command where
    pycuda is missing; NOT_FOUND for an ordinal that no device has.
    """
    with _lock:
        found = _contexts.get(ordinal)
        if found is None:
            driver = cuda_driver()
            if ordinal >= (count := driver.count()):
                message = f"there is no CUDA device {ordinal}: {count} are visible"
                hint = "see `aegisrt devices`; CUDA_VISIBLE_DEVICES applies"
                raise fail(ErrorCode.NOT_FOUND if count else ErrorCode.UNAVAILABLE, message, hint)
            found = _contexts[ordinal] = CudaContext(ordinal, driver, require(PYCUDA))
        return found
