"""Where the time of a call on a GPU goes: `python -m tests.gpu.profile_onnx MODEL.onnx [...]`.

Prints tables, in microseconds a call at batch 1, medians of interleaved rounds. `call` is the whole, `run` what
`run_with_iobinding` takes of it. Each row changes one thing of the row that it names, so that differences tell causes.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from unittest import mock

import numpy as np

from aegisrt import CudaStream, ExecutionRequest, ONNXBackend
from aegisrt.backends import onnx_cuda
from aegisrt.backends.onnx_options import ONNXOptions, session_options
from aegisrt.devices import cuda_stream
from aegisrt.devices.base import Device
from aegisrt.devices.cuda import CudaContext, cuda_context
from aegisrt.devices.cuda_memory import DeviceBuffer, PinnedBuffer, copy_to_device, copy_to_host, staging_pool
from aegisrt.devices.cuda_staged import StagedTensor
from tests.gpu.measure import sample

ROUNDS, CALLS, WARMUP = 9, 20, 15
OPENING_S = 25
BLOCKING_SYNC, NO_TIMING = 1, 2


def say(text=""):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class Steps:
    """Nanoseconds by name."""

    def __init__(self):
        self.ns = defaultdict(int)

    def of(self, name, function):
        """Return `function`, timed under `name`."""

        def timed(*arguments, **named):
            start = time.perf_counter_ns()
            try:
                return function(*arguments, **named)
            finally:
                self.ns[name] += time.perf_counter_ns() - start

        return timed


class Case:
    """One way to call a model: `call`, and the steps that it times."""

    def __init__(self, call, steps, close=None):
        self.call, self.steps, self.close = call, steps, close or (lambda: None)


def interleaved(cases):
    """Return the medians of the whole call and of each step, measured in turns, so that drift hits all alike."""
    found = {name: defaultdict(list) for name in cases}
    for case in cases.values():
        for _ in range(WARMUP):
            case.call()
    for _ in range(ROUNDS):
        for name, case in cases.items():
            case.call()
            case.steps.ns.clear()
            start = time.perf_counter_ns()
            for _ in range(CALLS):
                case.call()
            found[name]["call"].append((time.perf_counter_ns() - start) / CALLS / 1e3)
            for step, took in case.steps.ns.items():
                found[name][step].append(took / CALLS / 1e3)
    return {name: {step: median(values) for step, values in steps.items()} for name, steps in found.items()}


# -- streams and waiting -------------------------------------------------------------------------------------------


def raw_stream(context, flags, priority):
    """Return a stream's handle, made by the driver."""
    made = ctypes.c_void_p()
    with context:
        context.check("create", context.driver.cuStreamCreateWithPriority(ctypes.byref(made), flags, priority))
    return made.value


def waiter(context, stream, how):
    """Return what waits for a stream: `stream`, `spin` (an event) or `block` (an event that sleeps)."""
    if how == "stream":
        return lambda: context.check("wait", context.driver.cuStreamSynchronize(stream))
    event = ctypes.c_void_p()
    flags = NO_TIMING | (BLOCKING_SYNC if how == "block" else 0)
    with context:
        context.check("event", context.driver.cuEventCreate(ctypes.byref(event), flags))

    def wait():
        context.check("record", context.driver.cuEventRecord(event.value, stream))
        context.check("wait", context.driver.cuEventSynchronize(event.value))

    return wait


# -- bare ONNX Runtime ---------------------------------------------------------------------------------------------


class Pageable(PinnedBuffer):
    """Ordinary memory, to compare."""

    def __init__(self, size_bytes):
        self._array = np.empty(size_bytes, np.uint8)
        self.address = self._array.ctypes.data


class Bare:
    """Opens sessions as an application would, for one model."""

    def __init__(self, ort, path, inputs):
        self.ort, self.path, self.inputs = ort, path, inputs
        self.context = cuda_context(0)
        self.shapes = {}

    def session(self, *, own_options=False, **settings):
        """Return a session; `own_options`: with the session options that AegisRT sets."""
        options = None
        if own_options:
            device = Device.parse("cuda:0")
            options = session_options(self.ort, ONNXOptions(), device, self.path, cpu_is_named=True)
        settings = {key: str(value) for key, value in settings.items()}
        providers = [("CUDAExecutionProvider", settings) if settings else "CUDAExecutionProvider"]
        return self.ort.InferenceSession(str(self.path), options, providers=[*providers, "CPUExecutionProvider"])

    def run(self):
        session = self.session()
        return Case(lambda: session.run(None, self.inputs), Steps())

    def options(self, *, sync, named=True):
        """Return run options; `named`: with a graph id, for which `run_with_iobinding` throws where it is missing."""
        made = self.ort.RunOptions()
        if named:
            made.add_run_config_entry("gpu_graph_id", "-1")
        if not sync:
            made.add_run_config_entry("disable_synchronize_execution_providers", "1")
        return made

    def binding(self, *, bound_outputs=False, pushed=False, sync=True, own_options=False, named=None, **settings):
        """IOBinding with pageable copies by ONNX Runtime: `update_inplace` and `copy_outputs_to_cpu`."""
        session, steps = self.session(own_options=own_options, **settings), Steps()
        plain = sync and named is None
        binding, options = session.io_binding(), None if plain else self.options(sync=sync, named=named is not False)
        values = {name: self.value(array) for name, array in self.inputs.items()}
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        self.bind_outputs(session, binding, bound_outputs)
        handle = settings.get("user_compute_stream")
        run = steps.of("run", session.run_with_iobinding)
        wait = waiter(self.context, handle, "stream") if not sync else None

        def call():
            for name, array in self.inputs.items():
                values[name].update_inplace(array)
            run(binding, options)
            if wait is not None:
                wait()
            return binding.copy_outputs_to_cpu()

        def call_pushed():
            with self.context:
                return call()

        return Case(call_pushed if pushed or wait else call, steps, values.clear)

    def staged(self, handle, *, sync, wait="stream", pinned=True, push=True, own=False):
        """IOBinding with page-locked (or pageable) copies on the stream, and one wait: what AegisRT does, bare.

        `own`: ONNX Runtime has a stream of its own, so that the copies are waited for before it runs.
        """
        session, steps = self.session(**({} if own else {"user_compute_stream": handle})), Steps()
        binding, options, context = session.io_binding(), self.options(sync=sync), self.context
        values = {name: self.value(array) for name, array in self.inputs.items()}
        outputs = self.bind_outputs(session, binding, True)
        for name, value in values.items():
            binding.bind_ortvalue_input(name, value)
        arrays = {**self.inputs, **{name: self.answer(name) for name in outputs}}
        pool = staging_pool(context)
        held = {name: pool.take(array.nbytes) if pinned else Pageable(array.nbytes) for name, array in arrays.items()}
        run, waits = steps.of("run", session.run_with_iobinding), steps.of("wait", waiter(context, handle, wait))
        pointers = {
            name: (value.data_ptr(), held[name].address, arrays[name].nbytes)
            for name, value in (values | outputs).items()
        }

        def call():
            for name, array in self.inputs.items():
                ctypes.memmove(pointers[name][1], array.ctypes.data, array.nbytes)
                target, source, size = pointers[name]
                copy_to_device(context, target, source, size, handle)
            if own:
                waits()
            run(binding, options)
            for name in outputs:
                source, target, size = pointers[name]
                copy_to_host(context, target, source, size, handle)
            waits()
            return [held[name].read(arrays[name].shape, arrays[name].dtype) for name in outputs]

        def call_pushed():
            with context:
                return call()

        def close():
            for buffer in held.values() if pinned else ():
                pool.give_back(buffer)

        return Case(call_pushed if push else call, steps, close)

    def value(self, array):
        return self.ort.OrtValue.ortvalue_from_numpy(array, "cuda", 0)

    def bind_outputs(self, session, binding, known):
        made = {}
        for output in session.get_outputs():
            if known:
                made[output.name] = self.value(self.answer(output.name))
                binding.bind_ortvalue_output(output.name, made[output.name])
            else:
                binding.bind_output(output.name, "cuda", 0)
        return made

    def answer(self, name):
        if not self.shapes:
            session = self.ort.InferenceSession(str(self.path), providers=["CPUExecutionProvider"])
            names = [output.name for output in session.get_outputs()]
            self.shapes = dict(zip(names, session.run(None, self.inputs), strict=True))
        return self.shapes[name]


# -- AegisRT -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def switched(*, waits_in_run=True, flags=1, rank=None):
    """Let what is opened inside have these internals: see `CudaSlot.waits_in_run`, stream flags and priority."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(onnx_cuda.CudaSlot, "waits_in_run", waits_in_run))
        stack.enter_context(mock.patch.object(cuda_stream, "_NON_BLOCKING", flags))
        if rank is not None:
            stack.enter_context(mock.patch.object(cuda_stream, "stream_priority", return_value=rank))
        yield


def ours(path, inputs, *, wait=None, options=None, **switches):
    """AegisRT itself, with internals switched."""
    request, steps = ExecutionRequest(inputs=inputs), Steps()
    with switched(**switches):
        backend = ONNXBackend(options or {}, device="cuda:0")
        backend.load(path).unwrap()
        for _ in range(3):
            backend.execute(request).unwrap()
    (slot,) = backend._loaded.slots
    if wait is not None:
        slot._wait = waiter(slot._cuda, slot._stream.handle, wait)
    slot._session.run_with_iobinding = steps.of("run", slot._session.run_with_iobinding)
    slot._wait = steps.of("wait", slot._wait)
    return Case(lambda: backend.execute(request).unwrap(), steps, lambda: backend.unload().unwrap())


def step_by_step(path, inputs, **options):
    """Return the medians of each step of a call through AegisRT, timers included; `other` is what no timer holds."""
    steps = Steps()
    patches = [
        (StagedTensor, ("write", "read", "to_device", "to_host")),
        (CudaContext, ("__enter__", "__exit__")),
        (onnx_cuda.CudaSlot, ("_wait",)),
    ]
    with contextlib.ExitStack() as stack:
        for owner, names in patches:
            for name in names:
                timed = steps.of(name.strip("_"), getattr(owner, name))
                stack.enter_context(
                    mock.patch.object(owner, name, (lambda f: lambda self, *rest: f(self, *rest))(timed))
                )
        backend = ONNXBackend(options, device="cuda:0")
        backend.load(path).unwrap()
        loaded = backend._loaded
        (slot,) = loaded.slots
        slot._session.run_with_iobinding = steps.of("run", slot._session.run_with_iobinding)
        loaded.check = steps.of("check", loaded.check)
        request = ExecutionRequest(inputs=inputs)
        slot_call = steps.of("slot", slot.call)
        slot_proxy = SimpleNamespace(call=slot_call)
        backend._execute = lambda _, values, outputs: slot_proxy.call(values, outputs)
        case = Case(lambda: backend.execute(request).unwrap(), steps, lambda: backend.unload().unwrap())
        (found,) = interleaved({"": case}).values()
        case.close()
    inside = sum(
        found.get(name, 0) for name in ("write", "read", "to_device", "to_host", "enter", "exit", "run", "wait")
    )
    return {**found, "slot other": found["slot"] - inside, "call other": found["call"] - found["slot"] - found["check"]}


# -- tables --------------------------------------------------------------------------------------------------------


def cases(bare, path, inputs):
    """Yield the rows: a name, and what opens it."""
    context = bare.context
    free, high, middle, blocking = (raw_stream(context, *made) for made in ((1, 0), (1, -5), (1, -3), (0, 0)))
    yield "bare run(numpy)", bare.run
    yield "A bare binding", bare.binding
    yield "A, run options without a graph id", lambda: bare.binding(named=False)
    yield "A, run options with a graph id", lambda: bare.binding(named=True)
    yield "A, outputs bound", lambda: bare.binding(bound_outputs=True)
    yield "A, our session options", lambda: bare.binding(own_options=True)
    yield "A, context pushed", lambda: bare.binding(pushed=True)
    yield "A, use_ep_level_unified_stream", lambda: bare.binding(use_ep_level_unified_stream=1)
    yield "U = A, user stream", lambda: bare.binding(user_compute_stream=free)
    yield "U, priority -3", lambda: bare.binding(user_compute_stream=middle)
    yield "U, priority -5", lambda: bare.binding(user_compute_stream=high)
    yield "U, blocking stream", lambda: bare.binding(user_compute_stream=blocking)
    yield "U, no sync in run", lambda: bare.binding(user_compute_stream=free, sync=False)
    yield "U, outputs bound", lambda: bare.binding(user_compute_stream=free, bound_outputs=True)
    yield "S = U, pinned async copies, sync in run", lambda: bare.staged(free, sync=True)
    yield "S, no sync in run", lambda: bare.staged(free, sync=False)
    yield "S, no sync in run, event spin", lambda: bare.staged(free, sync=False, wait="spin")
    yield "S, no sync in run, event block", lambda: bare.staged(free, sync=False, wait="block")
    yield "S, pageable copies", lambda: bare.staged(free, sync=True, pinned=False)
    yield "S, context not pushed", lambda: bare.staged(free, sync=True, push=False)
    yield "S, ORT's own stream", lambda: bare.staged(free, sync=True, own=True)
    yield "aegis", lambda: ours(path, inputs)
    yield "aegis, no sync in run", lambda: ours(path, inputs, waits_in_run=False)
    yield "aegis, no sync in run, priority -3", lambda: ours(path, inputs, waits_in_run=False, rank=-3)
    yield "aegis, blocking stream", lambda: ours(path, inputs, flags=0)
    yield "aegis, event block", lambda: ours(path, inputs, wait="block")
    yield "aegis cuda_graph", lambda: ours(path, inputs, options={"cuda_graph": True})


def table(bare, path, inputs):
    opened, started = {}, time.perf_counter()
    for name, make in cases(bare, path, inputs):
        if time.perf_counter() - started > OPENING_S:
            say(f"{name:42} left out: opening the others took {OPENING_S} s")
            continue
        try:
            opened[name] = make()
            opened[name].call()
        except Exception as error:  # noqa: BLE001
            opened.pop(name, None)
            say(f"{name:42} not here: {type(error).__name__}: {str(error)[:150]}")
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
        staging_pool(context).give_back(pinned)
        memory.free()
    say("without a model: " + ", ".join(f"{name} {times['call']:.1f}" for name, times in found.items()))


def main():
    import onnxruntime as ort

    ort.set_default_logger_severity(3)
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    say(f"onnxruntime {ort.__version__}, driver {cuda_context(0).driver.version()}")
    small_things()
    for argument in sys.argv[1:]:
        path, started = Path(argument), time.perf_counter()
        inputs = sample(path, 1)
        bare = Bare(ort, path, inputs)
        say(f"\n{path.name}, batch 1, {', '.join(f'{name} {value.shape}' for name, value in inputs.items())}")
        table(bare, path, inputs)
        steps_table(path, inputs)
        growth(bare)
        say(f"({time.perf_counter() - started:.0f} s)")


if __name__ == "__main__":
    main()
