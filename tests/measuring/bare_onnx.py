"""Bare ONNX Runtime on a GPU, called in the ways that gpu_profile_onnx.py and gpu.py compare with."""

from __future__ import annotations

import ctypes
import sys
import time
from collections import defaultdict
from statistics import median

from aegisrt.backends.onnx.options import ONNXOptions, session_options
from aegisrt.devices.base import Device
from aegisrt.devices.cuda.context import cuda_context
from aegisrt.devices.cuda.memory import copy_to_device, copy_to_host, staging_pool

ROUNDS, CALLS, WARMUP = 9, 20, 15
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


def interleaved(cases, rounds=ROUNDS, calls=CALLS):
    """Return the medians of the whole call and of each step, measured in turns, so that drift hits all alike."""
    found = {name: defaultdict(list) for name in cases}
    for case in cases.values():
        for _ in range(WARMUP):
            case.call()
    for _ in range(rounds):
        for name, case in cases.items():
            case.call()
            case.steps.ns.clear()
            start = time.perf_counter_ns()
            for _ in range(calls):
                case.call()
            found[name]["call"].append((time.perf_counter_ns() - start) / calls / 1e3)
            for step, took in case.steps.ns.items():
                found[name][step].append(took / calls / 1e3)
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


class Bare:
    """Opens sessions as an application would, for one model."""

    def __init__(self, ort, path, inputs):
        self.ort, self.path, self.inputs = ort, path, inputs
        self.context = cuda_context(0)
        self.known = {}

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

    def binding(self, *, bound_outputs=False, renewed=False, sync=True, own_options=False, named=None, **settings):
        """IOBinding with pageable copies by ONNX Runtime: `update_inplace` and `copy_outputs_to_cpu`.

        `renewed`: with new OrtValues at each call instead, `ortvalue_from_numpy`.
        """
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
                if renewed:
                    binding.bind_ortvalue_input(name, self.value(array))
                else:
                    values[name].update_inplace(array)
            run(binding, options)
            if wait is not None:
                wait()
            return binding.copy_outputs_to_cpu()

        def call_pushed():
            with self.context:
                return call()

        return Case(call_pushed if wait else call, steps, values.clear)

    def staged(self, handle, *, sync, wait="stream", direct="", own=False):
        """IOBinding with page-locked copies on the stream, and one wait: what AegisRT does, bare.

        `own`: ONNX Runtime has a stream of its own, so that copies are waited for before it runs. `direct`: outputs, or
        `all`, are bound to page-locked memory, which the GPU reaches over the bus, so that nothing is copied.
        """
        session, steps = self.session(**({} if own else {"user_compute_stream": handle})), Steps()
        binding, options, context = session.io_binding(), self.options(sync=sync), self.context
        names = [output.name for output in session.get_outputs()]
        arrays = {**self.inputs, **{name: self.answer(name) for name in names}}
        pool = staging_pool(context)
        held = {name: pool.take(array.nbytes) for name, array in arrays.items()}
        values, copies_in, copies_out = {}, [], []
        for name, array in arrays.items():
            pointer, pinned = held[name].address, direct == "all" or (direct == "out" and name in names)
            if not pinned:
                values[name] = self.value(array)
                pointer = values[name].data_ptr()
                copies = copies_out if name in names else copies_in
                ends = (held[name].address, pointer) if name in names else (pointer, held[name].address)
                copies.append((*ends, array.nbytes))
            bind = binding.bind_output if name in names else binding.bind_input
            bind(name, "cuda", 0, array.dtype.type, array.shape, pointer)
        run, waits = steps.of("run", session.run_with_iobinding), steps.of("wait", waiter(context, handle, wait))
        views = {name: held[name].view(array.shape, array.dtype) for name, array in arrays.items()}

        def call():
            with context:
                for name, array in self.inputs.items():
                    views[name][...] = array
                for copy in copies_in:
                    copy_to_device(context, *copy, handle)
                if own and copies_in:
                    waits()
                run(binding, options)
                for copy in copies_out:
                    copy_to_host(context, *copy, handle)
                if copies_out or not sync:
                    waits()
                return [views[name].copy() for name in names]

        def close():
            values.clear()
            for buffer in held.values():
                pool.release(buffer)

        return Case(call, steps, close)

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

    def answers(self):
        """Return the outputs in the model's order, computed on the CPU."""
        if not self.known:
            session = self.ort.InferenceSession(str(self.path), providers=["CPUExecutionProvider"])
            names = [output.name for output in session.get_outputs()]
            self.known = dict(zip(names, session.run(None, self.inputs), strict=True))
        return list(self.known.values())

    def answer(self, name):
        self.answers()
        return self.known[name]
