"""Medians on a GPU, each as a ratio to a bare loop in the same run: `python -m tests.gpu.measure MODEL.onnx [...]`.

Prints one JSON line a model: bare `session.run`, bare IOBinding with the same copies, and AegisRT without and with
`cuda_graph`, in microseconds; and the throughput of two instances on two streams against one.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from statistics import median

import numpy as np

from aegisrt import ExecutionRequest, ONNXBackend
from aegisrt.backends.onnx_file import read_onnx

ROUNDS, CALLS, WARMUP = 15, 40, 20


def sample(path, batch):
    """Return inputs of ones, `batch` for each dynamic dimension."""
    made = {}
    for spec in read_onnx(path).signature.inputs:
        shape = [dim if isinstance(dim, int) else batch for dim in spec.shape or ()]
        made[spec.name] = np.ones(shape, spec.dtype.numpy)
    return made


def interleaved(calls):
    """Return the median time of each call in microseconds, measured in turns, so that drift hits all alike."""
    times = {name: [] for name in calls}
    for call in calls.values():
        for _ in range(WARMUP):
            call()
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = time.perf_counter_ns()
            for _ in range(CALLS):
                call()
            times[name].append((time.perf_counter_ns() - start) / CALLS / 1e3)
    return {name: median(found) for name, found in times.items()}


def bare_run(ort, path, inputs):
    session = ort.InferenceSession(str(path), providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
    return lambda: session.run(None, inputs)


def bare_binding(ort, path, inputs):
    """Return an IOBinding loop with the same copies: host to device before, device to host after."""
    session = ort.InferenceSession(str(path), providers=["CUDAExecutionProvider", "CPUExecutionProvider"])
    binding = session.io_binding()
    values = {name: ort.OrtValue.ortvalue_from_numpy(value, "cuda", 0) for name, value in inputs.items()}
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name, "cuda", 0)

    def call():
        for name, value in inputs.items():
            values[name].update_inplace(value)
        session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()

    return call


def aegis(path, inputs, **options):
    backend = ONNXBackend(options, device="cuda:0")
    backend.load(path).unwrap()
    request = ExecutionRequest(inputs=inputs)
    return lambda: backend.execute(request).unwrap(), backend


def throughput(path, inputs, instances, seconds=2.0):
    """Return calls a second of as many threads as instances."""
    backend = ONNXBackend(device="cuda:0", instances=instances)
    backend.load(path).unwrap()
    request, counts, go = ExecutionRequest(inputs=inputs), [0] * instances, threading.Event()

    def work(index):
        for _ in range(WARMUP):
            backend.execute(request).unwrap()
        go.wait()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            backend.execute(request).unwrap()
            counts[index] += 1

    threads = [threading.Thread(target=work, args=(index,)) for index in range(instances)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    go.set()
    for thread in threads:
        thread.join()
    backend.unload().unwrap()
    return sum(counts) / seconds


def main():
    import onnxruntime as ort

    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    for argument in sys.argv[1:]:
        path = Path(argument)
        for batch in (1, 8):
            inputs = sample(path, batch)
            plain, one = aegis(path, inputs)
            graph, two = aegis(path, inputs, cuda_graph=True)
            calls = {
                "bare_run": bare_run(ort, path, inputs),
                "bare_binding": bare_binding(ort, path, inputs),
                "aegis": plain,
                "aegis_graph": graph,
            }
            found = interleaved(calls)
            note = graph().metadata.get("cuda_graph")
            nodes = plain().metadata.get("cpu_nodes")
            one.unload().unwrap()
            two.unload().unwrap()
            single, double = throughput(path, inputs, 1), throughput(path, inputs, 2)
            answer = {
                "model": path.name,
                "batch": batch,
                "us": {name: round(value, 1) for name, value in found.items()},
                "aegis_to_bare_binding": round(found["aegis"] / found["bare_binding"], 3),
                "bare_run_to_aegis_graph": round(found["bare_run"] / found["aegis_graph"], 2),
                "two_streams_to_one": round(double / single, 2),
                "cuda_graph": note,
                "cpu_nodes": nodes,
            }
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
