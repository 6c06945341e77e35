"""`BareLoop`: the tightest loop around an engine in Python; and how it is compared with AegisRT in the same run."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

import numpy as np

from aegisrt import CudaStream, ExecutionRequest
from aegisrt.devices.cuda.arrays import LEGACY_STREAM, DeviceArray
from aegisrt.devices.cuda.context import cuda_context
from aegisrt.devices.cuda.memory import DeviceBuffer, PinnedBuffer


@dataclass(frozen=True)
class Effort:
    """How much is measured."""

    rounds: int = 25
    calls: int = 60
    """Of each function in a round."""
    warmup: int = 20
    seconds: float = 0.4
    """Of each measurement of a throughput."""
    turns: int = 5


SHORT = Effort(rounds=2, calls=2, warmup=3, seconds=0.02, turns=1)
"""Shows that everything works, and measures nothing."""


class Tensor:
    """Memory of one tensor on the GPU, and page-locked memory beside it."""

    def __init__(self, context, shape, dtype):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.memory, self.pinned = DeviceBuffer(context, size), PinnedBuffer(context, max(size, 512))
        self.view = self.pinned.view(tuple(shape), np.dtype(dtype))
        self.pointer, self.address, self.size = self.memory.pointer, self.pinned.address, size


class BareLoop:
    """Copies inputs in, launches, copies outputs out, waits, copies them for the caller; nothing is checked.

    `launch` does what the engine does; `recorded`: the copies are part of it. The thread that calls must have made the
    context current.
    """

    def __init__(self, stream, inputs, outputs, launch, *, recorded=False, direct=()):
        """`inputs` are pairs of the caller's array and its `Tensor`; outputs in `direct` are written by the GPU."""
        driver, handle = stream.context.driver, stream.handle
        self.stream = stream
        self._held = [tensor for _, tensor in inputs], list(outputs)
        self._pairs = [(tensor.view, array) for array, tensor in inputs]
        self._to_device = [] if recorded else [(t.pointer, t.address, t.size, handle) for _, t in inputs]
        self._to_host = [] if recorded else [(t.address, t.pointer, t.size, handle) for t in outputs if t not in direct]
        self._results = [tensor.view for tensor in outputs]
        self._launch, self._handle = launch, handle
        self._copy_in, self._copy_out = driver.cuMemcpyHtoDAsync_v2, driver.cuMemcpyDtoHAsync_v2
        self._wait = driver.cuStreamSynchronize

    def __call__(self):
        for view, array in self._pairs:
            np.copyto(view, array)
        for copy in self._to_device:
            self._copy_in(*copy)
        self._launch()
        for copy in self._to_host:
            self._copy_out(*copy)
        self._wait(self._handle)
        return [view.copy() for view in self._results]


def open_stream():
    """Return a stream as AegisRT opens one for an instance."""
    return CudaStream("cuda:0")


def make_current():
    """Make the GPU's context current in this thread for good, as an application does once."""
    assert cuda_context(0).make_current()


def on_gpu(array):
    """Return a copy of an array on the GPU."""
    context = cuda_context(0)
    memory = DeviceBuffer(context, array.nbytes)
    with context:
        context.pycuda.memcpy_htod(memory.pointer, array)
        context.check("cuStreamSynchronize", context.driver.cuStreamSynchronize(LEGACY_STREAM))
    return DeviceArray(memory.pointer, array.shape, array.dtype, owner=memory)


def executing(backend, inputs):
    """Return a function that runs one request."""
    execute, request = backend.execute, ExecutionRequest(inputs=inputs)
    return lambda: execute(request).unwrap()


def in_turns(calls, effort):
    """Return the times of each function in microseconds a call, one for each round; rounds alternate."""
    taken = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(effort.warmup):
            call()
    for _ in range(effort.rounds):
        for name, call in calls.items():
            call()
            start = time.perf_counter_ns()
            for _ in range(effort.calls):
                call()
            taken[name].append((time.perf_counter_ns() - start) / effort.calls / 1e3)
    return taken


def compared(taken, name, bare):
    """Return the median difference to a bare loop in microseconds, and the median ratio; both of the same rounds."""
    pairs = list(zip(taken[name], taken[bare], strict=True))
    return median(one - other for one, other in pairs), median(one / other for one, other in pairs)


class Workers:
    """Threads that live as long as the measurement: ONNX Runtime records anew in each thread."""

    def __init__(self, count, effort):
        self._effort = effort
        self._pools = [ThreadPoolExecutor(1) for _ in range(count)]

    def throughput(self, calls):
        """Return calls a second of these functions, each in a thread of its own."""
        ready = threading.Barrier(len(calls))
        work = [pool.submit(self._work, call, ready) for pool, call in zip(self._pools, calls, strict=False)]
        return sum(each.result() for each in work)

    def _work(self, call, ready):
        make_current()
        for _ in range(self._effort.warmup):
            call()
        ready.wait()
        count, start = 0, time.perf_counter()
        end = start + self._effort.seconds
        while time.perf_counter() < end:
            call()
            count += 1
        return count / (time.perf_counter() - start)

    def close(self):
        for pool in self._pools:
            pool.shutdown()


def gains(bare, ours, effort):
    """Return what two instances answer over one: of the bare loops, and of AegisRT, each a list of two functions."""
    found, workers = {"bare": [], "aegis": []}, Workers(2, effort)
    for _ in range(effort.turns):
        for name, calls in (("bare", bare), ("aegis", ours)):
            alone = workers.throughput(calls[:1])
            found[name].append(workers.throughput(calls) / alone)
    workers.close()
    return {name: median(values) for name, values in found.items()}
