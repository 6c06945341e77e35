"""Where the time of a call on a GPU goes: `python -m tests.measuring.gpu_profile_onnx MODEL.onnx [...]`.

Prints tables for batches 1 and 8, in microseconds a call, medians of interleaved rounds. `call` is the whole, `run`
what `run_with_iobinding` takes of it. Each row changes one thing of the row that it names, so that differences tell
causes; one that answers wrongly says so. The models of tests/measuring/reading_models.py come last.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np

from aegisrt import CudaStream, ExecutionRequest, ONNXBackend
from aegisrt.backends.onnx import cuda_slot as onnx_cuda
from aegisrt.devices.cuda.context import CudaContext, cuda_context
from aegisrt.devices.cuda.memory import DeviceBuffer, copy_to_device, copy_to_host, staging_pool
from tests.measuring.bare_onnx import Bare, Case, Steps, interleaved, raw_stream, say, waiter
from tests.measuring.gpu import sample
from tests.measuring.reading_models import convolution, dense

OPENING_S = 60


# -- AegisRT -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def switched(**internals):
    """Let what is opened inside have these class attributes of `CudaSlot`."""
    with contextlib.ExitStack() as stack:
        for name, value in internals.items():
            stack.enter_context(mock.patch.object(onnx_cuda.OrtCudaSlot, name, value))
        yield


def ours(path, inputs, *, options=None, out=65536, **internals):
    """AegisRT itself, with internals switched: outputs up to the size `out` go over the bus."""
    request, steps = ExecutionRequest(inputs=inputs), Steps()
    with switched(direct_output_bytes=out, **internals):
        backend = ONNXBackend(options or {}, device="cuda:0")
        backend.load(path).unwrap()
        for _ in range(3):
            backend.execute(request).unwrap()
    (slot,) = backend._loaded.slots
    slot._session.run_with_iobinding = steps.of("run", slot._session.run_with_iobinding)
    slot._wait = steps.of("wait", slot._wait)
    return Case(lambda: backend.execute(request).unwrap(), steps, lambda: backend.unload().unwrap())


STEPS = ("enter", "exit", "copy_to_host", "run", "wait")


def step_by_step(path, inputs, **options):
    """Return the medians of each step of a call through AegisRT, timers included; `other` is what no timer holds."""
    steps = Steps()
    patches = [(CudaContext, ("__enter__", "__exit__")), (onnx_cuda.OrtCudaSlot, ("_wait",))]
    with contextlib.ExitStack() as stack:
        for owner, names in patches:
            for name in names:
                timed = steps.of(name.strip("_"), getattr(owner, name))
                stack.enter_context(
                    mock.patch.object(owner, name, (lambda f: lambda self, *rest: f(self, *rest))(timed))
                )
        stack.enter_context(mock.patch.object(onnx_cuda, "copy_to_host", steps.of("copy_to_host", copy_to_host)))
        backend = ONNXBackend(options, device="cuda:0")
        backend.load(path).unwrap()
        loaded = backend._loaded
        (slot,) = loaded.slots
        slot._session.run_with_iobinding = steps.of("run", slot._session.run_with_iobinding)
        loaded.check = steps.of("check", loaded.check)
        request = ExecutionRequest(inputs=inputs)
        slot_proxy = SimpleNamespace(call=steps.of("slot", slot.call))
        backend._execute = lambda _, values, outputs: slot_proxy.call(values, outputs)
        case = Case(lambda: backend.execute(request).unwrap(), steps, lambda: backend.unload().unwrap())
        (found,) = interleaved({"": case}).values()
        case.close()
    inside = sum(found.get(name, 0) for name in STEPS)
    return {**found, "slot other": found["slot"] - inside, "call other": found["call"] - found["slot"] - found["check"]}


# -- tables --------------------------------------------------------------------------------------------------------


def cases(bare, path, inputs):
    """Yield the rows: a name, and what opens it."""
    free = raw_stream(bare.context, 1, 0)
    graph = {"cuda_graph": True}
    yield "bare run(numpy)", bare.run
    yield "A bare binding", bare.binding
    yield "A, run options with a graph id", lambda: bare.binding(named=True)
    yield "A, graph id, outputs bound", lambda: bare.binding(named=True, bound_outputs=True)
    yield "A, new OrtValues each call", lambda: bare.binding(renewed=True)
    yield "A, our session options", lambda: bare.binding(own_options=True)
    yield "U = A, user stream", lambda: bare.binding(user_compute_stream=free)
    yield "U, run options with a graph id", lambda: bare.binding(named=True, user_compute_stream=free)
    yield "S = U, pinned async copies, outputs bound", lambda: bare.staged(free, sync=True)
    yield "S, no sync in run", lambda: bare.staged(free, sync=False)
    yield "S, outputs direct", lambda: bare.staged(free, sync=True, direct="out")
    yield "S, all direct", lambda: bare.staged(free, sync=True, direct="all")
    yield "S, ORT's own stream", lambda: bare.staged(free, sync=True, own=True)
    yield "S, ORT's own stream, all direct", lambda: bare.staged(free, sync=True, own=True, direct="all")
    yield "aegis", lambda: ours(path, inputs)
    yield "aegis, outputs copied", lambda: ours(path, inputs, out=0)
    yield "aegis, no sync in run", lambda: ours(path, inputs, waits_in_run=False)
    yield "aegis cuda_graph", lambda: ours(path, inputs, options=graph)
    yield "aegis cuda_graph, outputs copied", lambda: ours(path, inputs, options=graph, out=0)


def table(bare, path, inputs):
    opened, started = {}, time.perf_counter()
    for name, make in cases(bare, path, inputs):
        if time.perf_counter() - started > OPENING_S:
            say(f"{name:42} left out: opening the others took {OPENING_S} s")
            continue
        try:
            opened[name] = make()
            check(bare, opened[name].call())
        except Exception as error:  # noqa: BLE001
            opened.pop(name, None)
            say(f"{name:42} not here: {type(error).__name__}: {' '.join(str(error).split())[:150]}")
    found = interleaved(opened)
    base = found["A bare binding"]["call"]
    say(f"{'':42}{'call':>9}{'run':>9}{'wait':>9}{'to A':>7}")
    for name, times in found.items():
        columns = "".join(f"{times[step]:9.1f}" if step in times else " " * 9 for step in ("call", "run", "wait"))
        say(f"{name:42}{columns}{times['call'] / base:7.2f}")
    for case in opened.values():
        case.close()
    opened.clear()
    gc.collect()


def check(bare, answer):
    """Raise AssertionError unless an answer is near that of ONNX Runtime on the CPU."""
    values = list(answer.outputs.values()) if hasattr(answer, "outputs") else answer
    for value, wanted in zip(values, bare.answers(), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=2e-2, atol=2e-2 * np.abs(wanted).max())


def steps_table(path, inputs):
    for title, options in (("aegis, step by step", {}), ("aegis cuda_graph, step by step", {"cuda_graph": True})):
        found = step_by_step(path, inputs, **options)
        say(f"{title}: " + ", ".join(f"{name} {took:.1f}" for name, took in found.items()))


def growth(bare):
    """Say what 3000 calls without a sync in the run do to the host's memory, and to the time of a call."""
    for sync in (True, False):
        case = bare.staged(raw_stream(bare.context, 1, 0), sync=sync)
        parts, before = [], resident_mib()
        for _ in range(6):
            start = time.perf_counter_ns()
            for _ in range(500):
                case.call()
            parts.append((time.perf_counter_ns() - start) / 500 / 1e3)
        grown = resident_mib() - before
        say(f"3000 calls, sync in run {sync}: {grown:+.1f} MiB, us a call {' '.join(f'{part:.0f}' for part in parts)}")
        case.close()


def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def small_things():
    """Say what the parts cost without a model: the context, an empty wait, copies of 8 KiB."""
    context, size = cuda_context(0), 8192
    with CudaStream("cuda:0") as stream, context:
        pinned, memory = staging_pool(context).take(size), DeviceBuffer(context, size)
        device, host, handle = memory.pointer, pinned.address, stream.handle
        spin, block = waiter(context, handle, "spin"), waiter(context, handle, "block")

        def pushed():
            with context:
                pass

        def copies(wait):
            copy_to_device(context, device, host, size, handle)
            copy_to_host(context, host, device, size, handle)
            wait()

        calls = {
            "push and pop": pushed,
            "stream wait, empty": stream.finish,
            "event record and wait, empty": spin,
            "copy in": lambda: copy_to_device(context, device, host, size, handle),
            "copy in, out, stream wait": lambda: copies(stream.finish),
            "copy in, out, event spin": lambda: copies(spin),
            "copy in, out, event block": lambda: copies(block),
        }
        found = interleaved({name: Case(call, Steps()) for name, call in calls.items()})
        stream.finish()
        staging_pool(context).release(pinned)
        memory.free()
    say("without a model: " + ", ".join(f"{name} {times['call']:.1f}" for name, times in found.items()))


def main():
    import onnxruntime as ort

    ort.set_default_logger_severity(3)
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    say(f"onnxruntime {ort.__version__}, driver {cuda_context(0).driver.version()}")
    small_things()
    with tempfile.TemporaryDirectory() as folder:
        made = [make(Path(folder)) for make in (dense, convolution)]
        for path in (*map(Path, sys.argv[1:]), *made):
            profiled(ort, path)


def profiled(ort, path):
    """Print the tables of one model."""
    for batch in (1, 8):
        started, inputs = time.perf_counter(), sample(path, batch)
        bare = Bare(ort, path, inputs)
        say(f"\n{path.name}, batch {batch}, {', '.join(f'{name} {value.shape}' for name, value in inputs.items())}")
        table(bare, path, inputs)
        steps_table(path, inputs)
        say(f"({time.perf_counter() - started:.0f} s)")
    growth(Bare(ort, path, sample(path, 1)))


if __name__ == "__main__":
    main()
