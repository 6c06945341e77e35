"""The NVIDIA driver, by ctypes: what discovery needs, and what pycuda lacks.

pycuda has no stream priorities, records and copies on its own streams only, and has no graph capture; so streams,
events, copies and graphs are created here, with the handles that every engine accepts. No package is needed to import
this file, or to get its error if the machine has no GPU. Signatures: https://docs.nvidia.com/cuda/cuda-driver-api/.
"""

from __future__ import annotations

import ctypes
import re
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_uint64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.system_error import is_exhausted, system_error

LIBRARY = "libcuda.so.1"
_handle = POINTER(c_void_p)
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDriverGetVersion": (POINTER(c_int),),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceTotalMem_v2": (POINTER(c_size_t), c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuPointerGetAttribute": (POINTER(c_int), c_int, c_uint64),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
    "cuGetErrorString": (c_int, POINTER(c_char_p)),
    "cuCtxGetCurrent": (_handle,),
    "cuCtxSetCurrent": (c_void_p,),
    "cuThreadExchangeStreamCaptureMode": (POINTER(c_int),),
    "cuCtxGetStreamPriorityRange": (POINTER(c_int), POINTER(c_int)),
    "cuStreamCreateWithPriority": (_handle, c_uint, c_int),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamQuery": (c_void_p,),
    "cuStreamWaitEvent": (c_void_p, c_void_p, c_uint),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, _handle),
    "cuStreamIsCapturing": (c_void_p, POINTER(c_int)),
    "cuEventCreate": (_handle, c_uint),
    "cuEventRecord": (c_void_p, c_void_p),
    "cuEventSynchronize": (c_void_p,),
    "cuEventQuery": (c_void_p,),
    "cuEventElapsedTime": (POINTER(c_float), c_void_p, c_void_p),
    "cuEventDestroy_v2": (c_void_p,),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuMemcpyDtoDAsync_v2": (c_uint64, c_uint64, c_size_t, c_void_p),
    "cuGraphInstantiateWithFlags": (_handle, c_void_p, c_uint64),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphDestroy": (c_void_p,),
}
_NEVER_WAITS = frozenset({"cuCtxGetCurrent"})
"""Functions that are called with the GIL held. To release it lets other threads run, which takes longer than the call
itself; but a function that may wait, for a lock of the driver or for the GPU, must not hold it."""
THREAD_LOCAL_CAPTURE = 1
"""`CU_STREAM_CAPTURE_MODE_THREAD_LOCAL`: other threads do not disturb what a thread records."""
_POINTER_IS_MANAGED, _POINTER_ORDINAL = 8, 9
_NO_DRIVER = "install the NVIDIA driver, or run the container with `--gpus all`"
FORKED_HINT = "fork before CUDA is used, or start the process with the method `spawn`"
"""CUDA does not work in a child of a process that has used it
(https://docs.nvidia.com/cuda/cuda-c-programming-guide/#initialization; `cuInit` answers 3 there)."""
_HINTS = {
    3: FORKED_HINT,
    100: "no GPU is visible: see `nvidia-smi`, CUDA_VISIBLE_DEVICES, and the container's `--gpus`",
    802: "the machine's fabric manager is not running: systemctl start nvidia-fabricmanager",
    803: "the driver's kernel module and libcuda differ: reboot, or install both from one release",
    804: "the driver is older than the compatibility libraries on LD_LIBRARY_PATH: remove them, or update the driver",
}
_CAPTURING = range(900, 909)
"""`CUDA_ERROR_STREAM_CAPTURE_...`: what a recording forbids: to its thread, or in the mode `global` to others too."""
CAPTURE_HINT = "try again when the recording has ended; the attempt may have broken it"
_NOT_HERE = frozenset({3, 34, 36, 46, 100, 802, 803, 804, 999})
_STICKY = frozenset({214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 809, 911})
"""Errors after which the process cannot use the device any more: ECC, illegal address, assertion, launch failure."""


class CudaDriver:
    """`libcuda`, initialized. Thread-safe; one for a process."""

    def __init__(self, library: Any = None) -> None:
        """Load and initialize it.

        UNAVAILABLE: with the loader's or the driver's own text, if that fails or the driver is too old.
        """
        self._library = _load() if library is None else library
        holding = ctypes.PyDLL(LIBRARY) if isinstance(self._library, ctypes.CDLL) else self._library
        for name, arguments in _SIGNATURES.items():
            function = getattr(holding if name in _NEVER_WAITS else self._library, name, None)
            if function is None:
                message = f"the NVIDIA driver has no `{name}`: it is older than CUDA 11.4"
                raise fail(ErrorCode.UNAVAILABLE, message, "update the driver")
            function.argtypes, function.restype = arguments, c_int
            setattr(self, name, function)
        self.check("cuInit", self._library.cuInit(0))

    def __getattr__(self, name: str) -> Any:
        """Return a function of the driver; only for type checkers, as each is an attribute of its own."""
        raise AttributeError(name)

    def check(self, name: str, code: int) -> None:
        """Return for success; raise the error of any other code, with the driver's own text."""
        if code:
            raise driver_error(name, code, self.text(code))

    def version(self) -> str:
        """Return the newest CUDA version that the driver supports, such as `13.0`."""
        number = c_int()
        self.check("cuDriverGetVersion", self.cuDriverGetVersion(byref(number)))
        return f"{number.value // 1000}.{number.value % 1000 // 10}"

    def count(self) -> int:
        """Return how many devices are visible."""
        number = c_int()
        self.check("cuDeviceGetCount", self.cuDeviceGetCount(byref(number)))
        return number.value

    def name(self, ordinal: int) -> str:
        """Return the device's product name."""
        text = ctypes.create_string_buffer(256)
        self.check("cuDeviceGetName", self.cuDeviceGetName(text, len(text), self._device(ordinal)))
        return text.value.decode(errors="replace")

    def memory_bytes(self, ordinal: int) -> int:
        """Return the device's total memory."""
        size = c_size_t()
        self.check("cuDeviceTotalMem", self.cuDeviceTotalMem_v2(byref(size), self._device(ordinal)))
        return size.value

    def compute_capability(self, ordinal: int) -> tuple[int, int]:
        """Return the device's compute capability, such as `(9, 0)`."""
        return self.attribute(ordinal, 75), self.attribute(ordinal, 76)

    def attribute(self, ordinal: int, attribute: int) -> int:
        """Return a `CUdevice_attribute`."""
        value = c_int()
        code = self.cuDeviceGetAttribute(byref(value), attribute, self._device(ordinal))
        self.check("cuDeviceGetAttribute", code)
        return value.value

    def other_gpu(self, address: int, ordinal: int) -> int | None:
        """Return the GPU that holds this memory if it is not `ordinal`; else None; None for managed memory."""
        owner, managed = c_int(), c_int()
        if self.cuPointerGetAttribute(byref(owner), _POINTER_ORDINAL, address) or owner.value == ordinal:
            return None
        self.cuPointerGetAttribute(byref(managed), _POINTER_IS_MANAGED, address)
        return None if managed.value else owner.value

    def _device(self, ordinal: int) -> c_int:
        device = c_int()
        code = self.cuDeviceGet(byref(device), ordinal)
        if code == 101:
            message = f"there is no CUDA device {ordinal}: {self.count()} are visible"
            raise fail(ErrorCode.NOT_FOUND, message, "see `aegisrt devices`; CUDA_VISIBLE_DEVICES applies")
        self.check("cuDeviceGet", code)
        return device

    def text(self, code: int) -> str:
        """Return the name and the description of a result code."""
        name, text = c_char_p(), c_char_p()
        self._library.cuGetErrorName(code, byref(name))
        self._library.cuGetErrorString(code, byref(text))
        parts = [part.value.decode(errors="replace") for part in (name, text) if part.value]
        return ": ".join(parts) or f"error {code}"


@cache
def cuda_driver() -> CudaDriver:
    """Return the process's driver.

    UNAVAILABLE: with the reason, if there is none.
    """
    return CudaDriver()


def driver_error(name: str, code: int, text: str) -> ResultError:
    """Return the error for a driver's result code."""
    message, cause = f"the CUDA driver reported {text}", f"{name}: {text} ({code})"
    if code == 2:
        hint = "use a smaller batch, fewer instances, or unload another model"
        return fail(ErrorCode.RESOURCE_EXHAUSTED, f"out of memory on the GPU ({name})", hint, cause=cause)
    if code in _CAPTURING:
        return fail(ErrorCode.UNAVAILABLE, f"the application records a CUDA graph: {text}", CAPTURE_HINT, cause=cause)
    if code in _NOT_HERE:
        return fail(ErrorCode.UNAVAILABLE, message, _HINTS.get(code, _NO_DRIVER), cause=cause)
    if is_sticky(code):
        hint = "restart the process, or let `isolation: process` do so; find the kernel with `compute-sanitizer`"
        return fail(ErrorCode.UNAVAILABLE, message, hint, cause=cause)
    return fail(ErrorCode.INTERNAL, f"{message} ({name})", cause=cause)


def is_sticky(code: int) -> bool:
    """Return whether a result code leaves the device unusable for the rest of the process."""
    return code in _STICKY


def installed_driver() -> str | None:
    """Return the version of the installed kernel module, such as `580.95.05`, or None."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"\b(\d+\.\d+(?:\.\d+)?)\b", text)
    return match[1] if match else None


def _load() -> Any:
    try:
        return ctypes.CDLL(LIBRARY)
    except OSError as error:
        if is_exhausted(error):
            raise system_error(error, "the NVIDIA driver cannot be loaded") from error
        message = f"there is no NVIDIA driver: {error}"
        raise fail(ErrorCode.UNAVAILABLE, message, _NO_DRIVER, cause=str(error)) from error
