"""`TVMCudaSlot`: one instance of a library compiled for a GPU, on a stream, with page-locked memory to copy through.

TVM launches on the stream that the calling thread sets (https://tvm.apache.org/ffi/concepts/tensor.html#stream-handling).
All VMs of a device share one pool of memory. It ignores streams, and so hands out memory that another call's kernels
still use (`PooledAllocator` in https://github.com/apache/tvm/tree/main/src/runtime/memory). Therefore only one call's
kernels are enqueued on a device at a time, and those of the next call on another stream wait for them on the GPU. The
copies of several calls, and their waits on the host, overlap.
"""

from __future__ import annotations

import ctypes
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aegisrt.backends.tvm.run.library import Functions, Shapes, TVMLibrary, TVMSlot, is_vm, output_shapes
from aegisrt.backends.tvm.run.views import view
from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.tensor import Array
from aegisrt.devices.base import Device
from aegisrt.devices.cuda.arrays import DeviceArray, JoinedArray
from aegisrt.devices.cuda.call import GpuCalls, Output, staged_apart
from aegisrt.devices.cuda.context import CudaContext, any_lost, cuda_context
from aegisrt.devices.cuda.staged import StagedTensor
from aegisrt.devices.cuda.stream import CudaStream, open_stream

_ALIGNMENT = 64
"""`kAllocAlignment` of TVM's device_api.h: the alignment that generated code relies on."""
_KEPT_SHAPES = 64
_running: defaultdict[int, threading.RLock] = defaultdict(threading.RLock)
"""By device, a lock that is held while the kernels of a call are enqueued."""
_latest: dict[int, CudaStream] = {}
"""By device, the stream with the kernels that were enqueued last; guarded by the device's lock."""
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


class _Prepared(NamedTuple):
    """What calls of equal shapes share, each in the order of the inputs."""

    fills: list[Callable[[Array], None]]
    """Copies an input into page-locked memory."""
    uploads: list[Callable[[], None]]
    """Enqueues the copy to the GPU."""
    tensors: list[Any]
    """TVM's tensors over the memory on the GPU."""
    dtypes: dict[str, np.dtype[Any]]
    """Of outputs, as TVM returns them."""


class TVMCudaSlot(TVMSlot):
    """One instance on a GPU. Holds the weights on the GPU, as each VM does."""

    def __init__(self, library: TVMLibrary, device: Device, declared: Any, *, outputs: str) -> None:
        if not is_vm(library.module):
            message = f"{library.path} holds plain operators, which run only on a CPU"
            raise fail(ErrorCode.UNIMPLEMENTED, message, "compile the model with `aegisrt build`")
        import tvm_ffi

        self._signature = library.signature
        self._inputs = [(spec.name, spec.dtype.numpy) for spec in library.signature.inputs]
        self._outputs = {spec.name: (at, spec.dtype.numpy) for at, spec in enumerate(library.signature.outputs)}
        self._device = tvm_device(device.ordinal)
        self._location = int(self._device.dlpack_device_type()), int(self._device.index)
        self._ordinal = device.ordinal
        self._staged: dict[str, StagedTensor] = {}
        self._prepared: dict[Shapes, _Prepared] = {}
        self._returned: Sequence[Any] = ()
        """The results of the call that runs: TVM would use their memory again."""
        self._functions: Functions | None = None
        self._stream, self._owns_stream = open_stream(declared, device)
        self._cuda = self._stream.context
        self._calls = GpuCalls(
            self._stream, alone=self._owns_stream, on_device=outputs == "device", alignment=_ALIGNMENT
        )
        self._on_stream = tvm_ffi.use_raw_stream(self._device, self._stream.handle)
        try:
            with _running[self._ordinal], self._cuda.current(), self._on_stream:
                self._functions = Functions(library, self._device)
                self._stream.finish()
        except BaseException:
            _clear_error()
            self.close()
            raise

    def call(self, inputs: dict[str, Array], wanted: tuple[str, ...]) -> Sequence[Any]:
        """Return the wanted outputs: arrays on the host, or on the GPU with the option `outputs: device`."""
        functions = self._functions
        assert functions is not None, "the slot is closed"
        shapes = tuple([value.shape for value in inputs.values()])
        function = functions.pick(inputs, shapes)
        for shape in shapes:
            if 0 in shape:
                return self._without_elements(inputs, wanted)
        try:
            return self._calls.answer(self._enqueue, function, inputs, shapes, wanted)
        except BaseException:
            _clear_error()
            raise
        finally:
            self._returned = ()

    def close(self) -> None:
        """Release the VM and the memory that TVM keeps for its next call."""
        with suppress(ResultError):
            self._stream.synchronize()  # fails if another library's kernel has lost the device
        if self._cuda.lost is not None:
            _lost.append(self._functions)
        else:
            with _running[self._ordinal], self._cuda.current(), self._on_stream:
                if _latest.get(self._ordinal) is self._stream:
                    del _latest[self._ordinal]
                self._prepared.clear()
                self._functions = None
                for staged in self._staged.values():
                    staged.free()
        self._functions = None
        self._staged.clear()
        self._calls.close()
        if self._owns_stream:
            self._stream.close()

    def _enqueue(
        self, function: Callable[..., Any], inputs: dict[str, Array], shapes: Shapes, wanted: tuple[str, ...]
    ) -> list[Output]:
        prepared = self._prepared.get(shapes) or self._prepare(shapes)
        borrowed = staged_apart(inputs.values(), prepared.fills)
        arguments = list(prepared.tensors)
        for at, array in enumerate(borrowed):
            if array is None:
                prepared.uploads[at]()
            else:
                arguments[at] = self._borrowed(self._inputs[at][0], array)
        with _running[self._ordinal], self._on_stream:
            self._follow()
            answer = function(*arguments)
        assert self._functions is not None
        self._returned = returned = [answer] if self._functions.single else list(answer)
        return [self._output(prepared, name, returned[self._outputs[name][0]]) for name in wanted]

    def _follow(self) -> None:
        """Let this call's kernels run after those of the call before, on whichever stream that was."""
        latest = _latest.get(self._ordinal)
        if latest is not self._stream:
            if latest is not None and latest.handle:
                self._calls.wait_for(latest.handle)
            _latest[self._ordinal] = self._stream

    def _prepare(self, shapes: Shapes) -> _Prepared:
        """Return what calls of these shapes share."""
        if len(self._prepared) == _KEPT_SHAPES:
            self._prepared.clear()
        prepared, handle = _Prepared([], [], [], {}), self._stream.handle
        for (name, dtype), shape in zip(self._inputs, shapes, strict=True):
            size = prod(shape) * dtype.itemsize
            staged = self._stage(name, size)
            prepared.fills.append(partial(np.copyto, staged.view(shape, dtype)))
            prepared.uploads.append(partial(staged.to_device, size, handle))
            prepared.tensors.append(view(staged.pointer, shape, dtype, self._location))
        self._prepared[shapes] = prepared
        return prepared

    def _stage(self, name: str, size_bytes: int) -> StagedTensor:
        staged = self._staged.get(name)
        if staged is None:
            staged = self._staged[name] = StagedTensor(self._cuda)
        if staged.reserve(size_bytes):
            self._prepared.clear()
        return staged

    def _borrowed(self, name: str, array: DeviceArray | JoinedArray) -> Any:
        """Return a TVM tensor over the caller's memory on the GPU, or over a copy where TVM needs one."""
        pointer = self._calls.borrow(array, self._staged[name])
        return view(pointer, array.shape, array.dtype, self._location)

    def _output(self, prepared: _Prepared, name: str, value: Any) -> Output:
        """Return an output that TVM returned; enqueue its copy if it is on the GPU."""
        dtype = self._outputs[name][1]
        if not hasattr(value, "data_ptr"):
            return self._on_host(name, partial(np.asarray, value, dtype))
        if value.device != self._device:
            return self._on_host(name, partial(_host_copy, value, dtype))
        actual = prepared.dtypes.get(name)
        if actual is None:
            text = str(value.dtype)  # once for each shape: it takes 2 us
            actual = prepared.dtypes[name] = dtype if text == dtype.name else np.dtype(text)
        if actual is dtype:
            return self._calls.output(name, value.data_ptr(), value.shape, dtype)
        host = self._calls.fetch(name, value.data_ptr(), value.shape, actual)
        return self._on_host(name, partial(host.astype, dtype))

    def _on_host(self, name: str, output: Output) -> Output:
        if self._calls.on_device:
            message = f"output `{name}` is computed on the host, and `outputs: device` needs it on the GPU"
            raise fail(ErrorCode.UNIMPLEMENTED, message, "leave it out of the request's `outputs`")
        return output

    def _without_elements(self, inputs: dict[str, Array], wanted: tuple[str, ...]) -> list[Any]:
        """Return empty outputs for an input without elements, because a GPU cannot start an empty kernel.

        UNIMPLEMENTED: if an output may have elements, as a sum over nothing has: TVM's kernels do not write them.
        """
        shapes = output_shapes(self._signature, inputs)
        for name in wanted:
            if 0 not in shapes.get(name, ()):
                message = (
                    f"an input has no elements and output `{name}` may have some, which TVM's kernels do not write"
                )
                raise fail(ErrorCode.UNIMPLEMENTED, message, "run such a call on device `cpu`, or on `backend: onnx`")
        if not self._calls.on_device:
            return [np.empty(shapes[name], self._outputs[name][1]) for name in wanted]
        with self._cuda.current():
            return [self._calls.fresh(shapes[name], self._outputs[name][1]) for name in wanted]


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


def _host_copy(value: Any, dtype: np.dtype[Any]) -> Array:
    return np.array(np.from_dlpack(value), dtype)
