"""`TVMCudaSlot`: one instance of a library compiled for a GPU, on a stream, with page-locked memory to copy through.

TVM launches on the stream that the calling thread sets (https://tvm.apache.org/ffi/concepts/tensor.html#stream-handling).
All VMs of a device share one pool of memory. It ignores streams, and so hands out memory that another call's kernels
still use (`PooledAllocator` in https://github.com/apache/tvm/tree/main/src/runtime/memory). Therefore only one call's
kernels run on a device at a time.
"""

from __future__ import annotations

import ctypes
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from aegisrt.backends.tvm.run.library import Functions, TVMLibrary, TVMSlot, is_vm, output_shapes
from aegisrt.backends.tvm.run.views import view
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.tensor import Array, TensorSpec
from aegisrt.devices.base import Device
from aegisrt.devices.cuda.arrays import DeviceArray
from aegisrt.devices.cuda.context import CudaContext, any_lost, cuda_context
from aegisrt.devices.cuda.memory import DeviceBuffer, copy_on_device
from aegisrt.devices.cuda.staged import StagedTensor
from aegisrt.devices.cuda.stream import open_stream

_ALIGNMENT = 64
"""`kAllocAlignment` of TVM's device_api.h: the alignment that generated code relies on."""
_running: defaultdict[int, threading.RLock] = defaultdict(threading.RLock)
"""By device, a lock that is held while the kernels of a call run."""
_lost: list[Any] = []
"""Objects that live on a lost device, kept for good: TVM ends the process if a GPU refuses to free memory."""


def check_cuda(device: Device) -> CudaContext:
    """Return the device's context.

    UNAVAILABLE: if there is no GPU or no driver, or TVM cannot use them.
    """
    context = cuda_context(device.ordinal)
    import tvm  # noqa: F401  (registers its functions)
    import tvm_ffi

    if tvm_ffi.get_global_func("runtime.GetCudaDeviceCount", allow_missing=True) is None:
        hint = "put the folder of libcudart.so.13 on LD_LIBRARY_PATH; see `aegisrt doctor`"
        message = f"TVM's CUDA runtime does not load: {_why_not()}"
        raise fail(ErrorCode.UNAVAILABLE, message, hint)
    return context


def _why_not() -> str:
    try:
        _runtime()
    except OSError as error:
        return str(error)
    return "this build of TVM registers none"


def _runtime() -> ctypes.CDLL:
    """Return TVM's CUDA runtime; NVIDIA's functions looked up in it are those of the libcudart that TVM calls."""
    import tvm

    return ctypes.CDLL(str(Path(tvm.__file__).parent / "lib" / "libtvm_runtime_cuda.so"))


def _clear_error() -> None:
    """Clear libcudart's last error: TVM leaves it set, and torch would raise it as its own."""
    with suppress(OSError, AttributeError):
        _runtime().cudaGetLastError()


def tvm_device(ordinal: int) -> Any:
    """Return TVM's device object of a GPU."""
    import tvm

    return tvm.cuda(ordinal)


class TVMCudaSlot(TVMSlot):
    """One instance on a GPU. Holds the weights on the GPU, as each VM does."""

    def __init__(self, library: TVMLibrary, device: Device, declared: Any, *, outputs: str) -> None:
        if not is_vm(library.module):
            message = f"{library.path} holds plain operators, which run only on a CPU"
            raise fail(ErrorCode.UNIMPLEMENTED, message, "compile the model with `aegisrt build`")
        self._signature = library.signature
        self._dtypes = {spec.name: spec.dtype.numpy for spec in (*library.signature.inputs, *library.signature.outputs)}
        self._names = [spec.name for spec in library.signature.outputs]
        self._to_device = outputs == "device"
        self._device = tvm_device(device.ordinal)
        self._location = int(self._device.dlpack_device_type()), int(self._device.index)
        self._ordinal = device.ordinal
        self._staged: dict[str, StagedTensor] = {}
        self._results: dict[str, StagedTensor] = {}
        self._views: dict[tuple[str, tuple[int, ...]], Any] = {}
        self._functions: Functions | None = None
        self._stream, self._owns_stream = open_stream(declared, device)
        self._cuda = self._stream.context
        try:
            with self._on_gpu():
                self._functions = Functions(library, self._device)
                self._stream.finish()
        except BaseException:
            self.close()
            raise

    def call(self, inputs: dict[str, Array], wanted: tuple[str, ...]) -> Sequence[Any]:
        """Return the wanted outputs: arrays on the host, or on the GPU with the option `outputs: device`."""
        assert self._functions is not None, "the slot is closed"
        function = self._functions.pick(inputs)
        empty = self._without_elements(inputs, wanted)
        if empty is not None:
            return empty
        with self._stream.lock:
            for name, value in inputs.items():
                if not isinstance(value, DeviceArray):
                    self._stage(name, value.nbytes).write(value)
            with self._on_gpu():
                arguments = [self._argument(spec, inputs[spec.name]) for spec in self._signature.inputs]
                try:
                    answer = function(*arguments)
                    returned = [answer] if self._functions.single else list(answer)
                    return self._own(dict(zip(self._names, returned, strict=True)), wanted)
                except BaseException as error:
                    self._stream.break_off(error)
                    raise

    def close(self) -> None:
        """Release the VM and the memory that TVM keeps for its next call."""
        with suppress(ResultError):
            self._stream.synchronize()  # fails if another library's kernel has lost the device
        if self._cuda.lost is not None:
            _lost.append(self._functions)
        else:
            with self._on_gpu():
                self._views.clear()
                self._functions = None
                for staged in (*self._staged.values(), *self._results.values()):
                    staged.free()
        self._functions = None
        self._staged.clear()
        self._results.clear()
        if self._owns_stream:
            self._stream.close()

    @contextmanager
    def _on_gpu(self) -> Iterator[None]:
        """Hold the device, make its context current, and set this instance's stream for TVM."""
        import tvm_ffi

        with _running[self._ordinal], self._cuda.current(), tvm_ffi.use_raw_stream(self._device, self._stream.handle):
            try:
                yield
            except BaseException:
                _clear_error()
                raise

    def _stage(self, name: str, size_bytes: int) -> StagedTensor:
        staged = self._staged.get(name)
        if staged is None:
            staged = self._staged[name] = StagedTensor(self._cuda)
        if staged.reserve(size_bytes):
            self._views = {key: kept for key, kept in self._views.items() if key[0] != name}
        return staged

    def _argument(self, spec: TensorSpec, value: Any) -> Any:
        """Return a TVM tensor of an input: over the caller's memory on this GPU, or over staging memory with a copy."""
        if not isinstance(value, DeviceArray):
            self._staged[spec.name].to_device(value.nbytes, self._stream.handle)
            return self._over_staged(spec.name, value.shape)
        self._stream.wait_for_stream(value.stream)
        if value.size and value.ordinal == self._ordinal and value.pointer % _ALIGNMENT == 0:
            return view(value.pointer, value.shape, value.dtype, self._location)
        staged = self._stage(spec.name, value.nbytes)
        copy_on_device(self._cuda, staged.pointer, value.pointer, value.nbytes, self._stream.handle)
        return self._over_staged(spec.name, value.shape)

    def _over_staged(self, name: str, shape: tuple[int, ...]) -> Any:
        tensor = self._views.get((name, shape))
        if tensor is None:
            tensor = view(self._staged[name].pointer, shape, self._dtypes[name], self._location)
            self._views[name, shape] = tensor
        return tensor

    def _without_elements(self, inputs: dict[str, Array], wanted: tuple[str, ...]) -> list[Any] | None:
        """Return empty outputs if an input has no elements, because a GPU cannot start an empty kernel; else None.

        UNIMPLEMENTED: if an output may have elements, as a sum over nothing has: TVM's kernels do not write them.
        """
        if all(value.size for value in inputs.values()):
            return None
        shapes = output_shapes(self._signature, inputs)
        for name in wanted:
            if 0 not in shapes.get(name, ()):
                message = (
                    f"an input has no elements and output `{name}` may have some, which TVM's kernels do not write"
                )
                raise fail(ErrorCode.UNIMPLEMENTED, message, "run such a call on device `cpu`, or on `backend: onnx`")
        if self._to_device:
            return [self._fresh(name, shapes[name]) for name in wanted]
        return [np.empty(shapes[name], self._dtypes[name]) for name in wanted]

    def _own(self, returned: dict[str, Any], wanted: tuple[str, ...]) -> list[Any]:
        """Return copies that the caller owns: TVM reuses its memory for the next call."""
        if self._to_device:
            copies = [self._left_on_device(name, returned[name]) for name in wanted]
            self._stream.finish()
            return copies
        for name in wanted:
            value = returned[name]
            if self._on_this_kind(value):
                size = _bytes(value)
                staged = self._results.setdefault(name, StagedTensor(self._cuda))
                staged.reserve(size, device=False)
                staged.to_host(size, self._stream.handle, value.data_ptr() if size else None)
        self._stream.finish()
        return [self._on_host(name, returned[name]) for name in wanted]

    def _on_host(self, name: str, value: Any) -> Array:
        dtype = self._dtypes[name]
        if not hasattr(value, "data_ptr"):
            return np.asarray(value, dtype)
        if not self._on_this_kind(value):
            return np.array(np.from_dlpack(value), dtype)
        actual = dtype if str(value.dtype) == dtype.name else np.dtype(str(value.dtype))
        return self._results[name].read(tuple(value.shape), actual).astype(dtype, copy=False)

    def _left_on_device(self, name: str, value: Any) -> DeviceArray:
        dtype = self._dtypes[name]
        if not self._on_this_kind(value) or str(value.dtype) != dtype.name:
            message = f"output `{name}` is computed on the host, and `outputs: device` needs it on the GPU"
            raise fail(ErrorCode.UNIMPLEMENTED, message, "leave it out of the request's `outputs`")
        copy = self._fresh(name, tuple(value.shape))
        copy_on_device(self._cuda, copy.pointer, value.data_ptr(), copy.nbytes, self._stream.handle)
        return copy

    def _on_this_kind(self, value: Any) -> bool:
        return hasattr(value, "data_ptr") and value.device.dlpack_device_type() == self._location[0]

    def _fresh(self, name: str, shape: tuple[int, ...]) -> DeviceArray:
        memory = DeviceBuffer(self._cuda, prod(shape) * self._dtypes[name].itemsize)
        return DeviceArray(memory.pointer, shape, self._dtypes[name], self._ordinal, owner=memory)


def release(library: TVMLibrary, device: Device) -> None:
    """Release the code, and the memory that TVM's pools keep on all GPUs; the slots are closed."""
    context = cuda_context(device.ordinal)
    if any_lost():
        _lost.append(library.module)
        library.module = None
        return
    import tvm_ffi

    with _running[device.ordinal], context:
        library.module = None
        tvm_ffi.get_global_func("vm.builtin.memory_manager.clear")()


def _bytes(value: Any) -> int:
    return int(prod(value.shape) * ((value.dtype.bits * value.dtype.lanes + 7) // 8))
