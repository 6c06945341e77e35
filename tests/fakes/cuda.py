"""A stand-in for libcuda and pycuda whose "GPU" is host memory: copies copy, and captured work is replayed.

It refuses what the driver refuses: work without a current context, a handle that was destroyed, an address that was
freed. `calls` holds the names of the driver's functions in the order of their calls.
"""

# ruff: noqa: N802, N815  (the driver names its functions so)
from __future__ import annotations

import ctypes
import itertools
import sys
import threading
import types
from time import perf_counter

import numpy as np
import pytest

INVALID_VALUE, INVALID_CONTEXT, INVALID_HANDLE, ILLEGAL_STATE = 1, 201, 400, 401
ILLEGAL_ADDRESS, CAPTURE_UNSUPPORTED, INVALIDATED = 700, 900, 901
NO_TIMING = 2
LEGACY_STREAM, PER_THREAD_STREAM = 1, 2


class FakeFunction:
    """Takes `argtypes` and `restype` as a ctypes function does."""

    def __init__(self, call):
        self.call = call
        self.argtypes = self.restype = None

    def __call__(self, *arguments):
        if self.argtypes is not None and len(arguments) != len(self.argtypes):
            raise TypeError(f"takes {len(self.argtypes)} arguments, {len(arguments)} given")
        return self.call(
            *(item.value if isinstance(item, ctypes.c_int | ctypes.c_void_p) else item for item in arguments)
        )


class FakeCuda:
    """One machine's GPUs."""

    def __init__(self, count=1, memory_bytes=1 << 30, priorities=(0, -5), capability=(9, 0)):
        self.count = count
        self.memory_bytes = memory_bytes
        self.priorities = priorities
        self.capability = capability
        self.calls = []
        self.fail = {}
        """Result code by function name, answered once each."""
        self.allocations = {}
        self.elsewhere = {}
        """Ordinal of the GPU by the address of an allocation, where it is not the first one."""
        self.managed = set()
        self.pinned = {}
        self.destroyed = []
        """Addresses that pycuda's destructors had to free: on a lost device each prints a warning."""
        self.streams = {}
        self.contexts = {}
        """Handle of the context of each stream and event: kernels need that one, and a record that both have the same,
        copies and waits need any (seen on two H200)."""
        self.untimed = set()
        self.finished = []
        """Streams that were waited for."""
        self.events = {}
        self.graphs = {}
        self.executables = {}
        self.captures = {}
        self.captured_by = {}
        """The thread that began each capture: it may not allocate meanwhile."""
        self.enqueued, self.waited = {}, {}
        """How much was put on each stream, and how much of that was waited for."""
        self.marks = {}
        """Stream and what was put on it before, by the event that was recorded there."""
        self.watch = lambda name, work: work()
        """Does each call of the driver, of pycuda and of an engine, or what a test does in its place."""
        self.another_library_records = False
        """Whether another thread has a capture of mode `global`: threads of that mode, the default, may not wait."""
        self.stacks = threading.local()
        self._handles = itertools.count(1008, 8)

    def __getattr__(self, name):
        if not name.startswith("cu"):
            raise AttributeError(name)
        handler = getattr(type(self), f"_{name}", None)
        if handler is None:
            raise AttributeError(name)

        def call(*arguments):
            if name not in ("cuGetErrorName", "cuGetErrorString"):
                self.calls.append(name)
                if name in self.fail:
                    return self.fail.pop(name)
                return self.watch(name, lambda: handler(self, *arguments) or 0)
            return handler(self, *arguments) or 0

        function = FakeFunction(call)
        setattr(self, name, function)
        return function

    def _cuInit(self, flags):
        return 0

    def _cuDriverGetVersion(self, out):
        out._obj.value = 13000

    def _cuDeviceGetCount(self, out):
        out._obj.value = self.count

    def _cuDeviceGet(self, out, ordinal):
        if ordinal >= self.count:
            return 101
        out._obj.value = ordinal
        return 0

    def _cuDeviceGetName(self, text, size, device):
        text.value = b"NVIDIA Fake"

    def _cuDeviceTotalMem_v2(self, out, device):
        out._obj.value = self.memory_bytes

    def _cuDeviceGetAttribute(self, out, attribute, device):
        known = {1: 1024, 8: 49152, 10: 32, 75: self.capability[0], 76: self.capability[1]}
        out._obj.value = known.get(attribute, 0)

    def _cuPointerGetAttribute(self, out, attribute, address):
        if not self.stack or not self.holds(address):
            return INVALID_CONTEXT if not self.stack else INVALID_VALUE
        out._obj.value = {8: address in self.managed, 9: self.elsewhere.get(address, 0)}[attribute]
        return 0

    def _cuGetErrorName(self, code, out):
        names = {2: b"CUDA_ERROR_OUT_OF_MEMORY", 100: b"CUDA_ERROR_NO_DEVICE", 700: b"CUDA_ERROR_ILLEGAL_ADDRESS"}
        out._obj.value = names.get(code, b"CUDA_ERROR_X")

    def _cuGetErrorString(self, code, out):
        words = {2: b"out of memory", 100: b"no CUDA-capable device is detected"}
        out._obj.value = words.get(code, b"an illegal memory access was encountered")

    def _cuCtxGetCurrent(self, out):
        out._obj.value = self.stack[-1] if self.stack else None

    def _cuCtxSetCurrent(self, handle):
        self.stack[-1:] = [handle]

    def _cuThreadExchangeStreamCaptureMode(self, mode):
        self.stacks.capture_mode, mode._obj.value = mode._obj.value, getattr(self.stacks, "capture_mode", 0)

    def _cuCtxGetStreamPriorityRange(self, least, greatest):
        least._obj.value, greatest._obj.value = self.priorities
        return self._needs_context()

    def _cuStreamCreateWithPriority(self, out, flags, priority):
        out._obj.value = self._new()
        self.streams[out._obj.value] = priority
        self.contexts[out._obj.value] = self.stack[-1] if self.stack else None
        return self._needs_context()

    def _cuStreamDestroy_v2(self, stream):
        self.contexts.pop(stream, None)
        self.enqueued.pop(stream, None)
        self.waited.pop(stream, None)
        return 0 if self.streams.pop(stream, None) is not None else INVALID_HANDLE

    def _cuStreamSynchronize(self, stream):
        self.finished.append(stream)
        self.waited[stream] = self.enqueued.get(stream, 0)
        if stream in self.captures:
            self.captures[stream] = None
            return CAPTURE_UNSUPPORTED
        if self.another_library_records and not getattr(self.stacks, "capture_mode", 0):
            return CAPTURE_UNSUPPORTED
        of_the_runtime = stream in (LEGACY_STREAM, PER_THREAD_STREAM)
        return self._needs_context() if of_the_runtime else self._known(stream, self.streams)

    _cuStreamQuery = _cuStreamSynchronize

    def _cuStreamWaitEvent(self, stream, event, flags):
        return self._known(stream, self.streams) or self._known(event, self.events)

    def _cuStreamBeginCapture_v2(self, stream, mode):
        self.captures[stream] = []
        self.captured_by[stream] = threading.get_ident()
        return self._known(stream, self.streams)

    def _cuStreamEndCapture(self, stream, out):
        if stream not in self.captures:
            return ILLEGAL_STATE
        work = self.captures.pop(stream)
        if work is None:
            return INVALIDATED
        out._obj.value = self._new()
        self.graphs[out._obj.value] = work
        return 0

    def _cuStreamIsCapturing(self, stream, out):
        out._obj.value = 2 if stream in self.captures else 0

    def _cuEventCreate(self, out, flags):
        out._obj.value = self._new()
        self.events[out._obj.value] = 0.0
        self.contexts[out._obj.value] = self.stack[-1] if self.stack else None
        if flags & NO_TIMING:
            self.untimed.add(out._obj.value)
        return self._needs_context()

    def _cuEventRecord(self, event, stream):
        if event not in self.events or not self.stack:
            return INVALID_HANDLE if self.stack else INVALID_CONTEXT
        if self.contexts[event] != (self.stack[-1] if stream == LEGACY_STREAM else self.contexts.get(stream)):
            return INVALID_HANDLE
        self.events[event] = perf_counter()
        self.marks[event] = stream, self.enqueued.get(stream, 0)
        return 0

    def _cuEventSynchronize(self, event):
        stream, mark = self.marks.get(event, (0, 0))
        self.waited[stream] = max(self.waited.get(stream, 0), mark)
        return self._known(event, self.events)

    _cuEventQuery = _cuEventSynchronize

    def _cuEventElapsedTime(self, out, start, end):
        if not {start, end} <= self.events.keys() - self.untimed:
            return INVALID_HANDLE
        out._obj.value = (self.events[end] - self.events[start]) * 1e3
        return 0

    def _cuEventDestroy_v2(self, event):
        self.contexts.pop(event, None)
        self.marks.pop(event, None)
        return 0 if self.events.pop(event, None) is not None else INVALID_HANDLE

    def _cuMemcpyHtoDAsync_v2(self, target, source, size, stream):
        return self._copy(target, source, size, stream, device=[target])

    def _cuMemcpyDtoHAsync_v2(self, target, source, size, stream):
        return self._copy(target, source, size, stream, device=[source])

    def _cuMemcpyDtoDAsync_v2(self, target, source, size, stream):
        return self._copy(target, source, size, stream, device=[target, source])

    def _cuGraphInstantiateWithFlags(self, out, graph, flags):
        out._obj.value = self._new()
        self.executables[out._obj.value] = self.graphs[graph]
        return 0

    def _cuGraphLaunch(self, executable, stream):
        if executable not in self.executables:
            return INVALID_HANDLE
        self.enqueued[stream] = self.enqueued.get(stream, 0) + 1
        for work in self.executables[executable]:
            work()
        return self._needs_context()

    def _cuGraphExecDestroy(self, executable):
        return 0 if self.executables.pop(executable, None) is not None else INVALID_HANDLE

    def _cuGraphDestroy(self, graph):
        return 0 if self.graphs.pop(graph, None) is not None else INVALID_HANDLE

    def enqueue(self, stream, work, *, kernel=True):
        """Do work that an engine enqueues on a stream, or record it if the stream is being captured."""
        if stream not in self.streams or (kernel and self.stack and self.contexts[stream] != self.stack[-1]):
            return INVALID_HANDLE
        if stream in self.captures:
            if self.captures[stream] is None:
                return INVALIDATED
            self.captures[stream].append(work)
        else:
            self.enqueued[stream] = self.enqueued.get(stream, 0) + 1
            work()
        return self._needs_context()

    @property
    def stack(self):
        """Return the handles of this thread's contexts; the last one is current."""
        if not hasattr(self.stacks, "handles"):
            self.stacks.handles = []
        return self.stacks.handles

    def holds(self, address, size=1):
        """Return whether these bytes lie in one allocation that was not freed."""
        return any(start <= address and address + size <= start + size_held for start, size_held in self._sizes())

    def _sizes(self):
        """Return address and size of each allocation; the garbage collector may free some at any time."""
        held = self.allocations.copy()
        return [(start, len(memory)) for start, memory in held.items()]

    @property
    def in_flight(self):
        """Return the streams with work that no caller has waited for."""
        return [stream for stream, count in self.enqueued.items() if count > self.waited.get(stream, 0)]

    @property
    def used_bytes(self):
        return sum(size for _, size in self._sizes())

    def _copy(self, target, source, size, stream, device):
        if not all(self.holds(address, size) for address in device):
            return ILLEGAL_ADDRESS
        return self.enqueue(stream, lambda: ctypes.memmove(target, source, size), kernel=False)

    def _known(self, handle, handles):
        return self._needs_context() if handle in handles else INVALID_HANDLE

    def _needs_context(self):
        return 0 if self.stack else INVALID_CONTEXT

    def _new(self):
        return next(self._handles)

    def pycuda(self):
        """Return a module like `pycuda.driver`."""
        cuda, module = self, types.ModuleType("pycuda.driver")

        class Error(Exception):
            pass

        class Context:
            def __init__(self, ordinal):
                self.ordinal = ordinal

            def push(self):
                cuda.stack.append(context_handle(self.ordinal))

            @staticmethod
            def pop():
                cuda.stack.pop()

        class Device:
            def __init__(self, ordinal):
                self.ordinal = ordinal

            def retain_primary_context(self):
                cuda.calls.append("retain_primary_context")
                return Context(self.ordinal)

        class DeviceAllocation:
            def __init__(self, size):
                self.memory = np.zeros(size + 512, np.uint8)
                self.address = -(-self.memory.ctypes.data // 256) * 256
                start = self.address - self.memory.ctypes.data
                cuda.allocations[self.address] = self.memory[start : start + size]

            def __int__(self):
                return self.address

            def free(self):
                check()
                cuda.watch("DeviceAllocation.free", self._free)

            def _free(self):
                del cuda.allocations[self.address]

            def __del__(self):
                cuda.destroyed += [self.address] * (self.address in cuda.allocations)

        class HostAllocation:
            def __init__(self, size):
                self.memory = np.zeros(size, np.uint8)
                self.__array_interface__ = self.memory.__array_interface__
                self.address = self.memory.ctypes.data
                cuda.pinned[self.address] = size

            def free(self):
                check()
                cuda.watch("HostAllocation.free", self._free)

            def _free(self):
                del cuda.pinned[self.address]

            def __del__(self):
                cuda.destroyed += [self.address] * (cuda.pinned.pop(self.address, None) is not None)

        def check():
            if not cuda.stack:
                raise module.LogicError("context::pop failed: invalid device context")

        def mem_alloc(size):
            check()
            if any(cuda.captured_by[stream] == threading.get_ident() for stream in cuda.captures):
                raise module.LogicError("cuMemAlloc failed: operation not permitted when stream is capturing")
            if "mem_alloc" in cuda.fail:
                kind, _, text = cuda.fail.pop("mem_alloc").partition(": ")
                raise getattr(module, kind)(f"cuMemAlloc failed: {text or 'it was told to'}")
            if cuda.used_bytes + size > cuda.memory_bytes:
                raise module.MemoryError("cuMemAlloc failed: out of memory")
            return cuda.watch("mem_alloc", lambda: DeviceAllocation(size))

        def pagelocked_empty(shape, dtype, order="C", mem_flags=0):
            check()
            if "pagelocked_empty" in cuda.fail:
                raise getattr(module, cuda.fail.pop("pagelocked_empty"))("cuMemHostAlloc failed: it was told to")
            return cuda.watch("pagelocked_empty", lambda: np.asarray(HostAllocation(shape)))

        module.Error = Error
        for name in ("MemoryError", "LogicError", "LaunchError", "RuntimeError"):
            setattr(module, name, type(name, (Error,), {}))
        module.init = lambda: None
        module.Device, module.Context = Device, Context
        module.mem_alloc, module.pagelocked_empty = mem_alloc, pagelocked_empty
        module.memcpy_dtoh = lambda target, source: ctypes.memmove(target.ctypes.data, source, target.nbytes)
        module.memcpy_htod = lambda target, source: ctypes.memmove(target, source.ctypes.data, source.nbytes)
        module.mem_get_info = lambda: (check() or cuda.memory_bytes - cuda.used_bytes, cuda.memory_bytes)
        module.host_alloc_flags = types.SimpleNamespace(PORTABLE=1)
        return module


def context_handle(ordinal):
    """Return the handle of a device's primary context."""
    return 0x7000 + ordinal


def pycuda_modules(fake):
    """Return the package and the module that stand for pycuda, by the names that are imported."""
    package, module = types.ModuleType("pycuda"), fake.pycuda()
    package.driver = module
    return {"pycuda": package, "pycuda.driver": module}


@pytest.fixture
def fake_cuda(monkeypatch):
    """A machine with one fake GPU, for one test."""
    from aegisrt.devices.cuda import context as cuda
    from aegisrt.devices.cuda import driver as cuda_driver
    from aegisrt.devices.cuda import memory as cuda_memory

    fake = FakeCuda()
    monkeypatch.setattr(cuda_driver, "_load", lambda: fake)
    for name, module in pycuda_modules(fake).items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(cuda, "_contexts", {})
    monkeypatch.setattr(cuda, "_thread", cuda._Thread())
    monkeypatch.setattr(cuda_memory, "_pools", {})
    cuda_driver.cuda_driver.cache_clear()
    yield fake
    cuda_driver.cuda_driver.cache_clear()
