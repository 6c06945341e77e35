"""Medians on a GPU, each as a ratio to a bare loop in the same run: `python -m tests.measuring.gpu MODEL.onnx [...]`.

Prints one JSON line a model: bare `session.run`, bare IOBinding with the same copies (also with what makes it faster,
and with new OrtValues at each call), and AegisRT without and with `cuda_graph`, in microseconds; and the throughput of
two instances on two streams against one.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path

import numpy as np

from aegisrt import ExecutionRequest, ONNXBackend
from aegisrt.backends.files.onnx import read_onnx
from tests.measuring.bare_onnx import WARMUP, Bare, Case, Steps, interleaved

ROUNDS, CALLS = 15, 40


def sample(path, batch):
    """Return inputs of ones, `batch` for each dynamic dimension."""
    made = {}
    for spec in read_onnx(path).signature.inputs:
        shape = [dim if isinstance(dim, int) else batch for dim in spec.shape or ()]
        made[spec.name] = np.ones(shape, spec.dtype.numpy)
    return made


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
            bare = Bare(ort, path, inputs)
            plain, one = aegis(path, inputs)
            graph, two = aegis(path, inputs, cuda_graph=True)
            cases = {
                "bare_run": bare.run(),
                "bare_binding": bare.binding(),
                "bare_binding_tuned": bare.binding(named=True, bound_outputs=True),
                "bare_binding_renewed": bare.binding(renewed=True),
                "bare_graph": bare.binding(bound_outputs=True, enable_cuda_graph=1),
                "aegis": Case(plain, Steps()),
                "aegis_graph": Case(graph, Steps()),
            }
            times = interleaved(cases, ROUNDS, CALLS)
            found = {name: took["call"] for name, took in times.items()}
            note = graph().metadata.get("cuda_graph")
            nodes = plain().metadata.get("cpu_nodes")
            one.unload().unwrap()
            two.unload().unwrap()
            cases.clear()
            single, double = throughput(path, inputs, 1), throughput(path, inputs, 2)
            answer = {
                "model": path.name,
                "batch": batch,
                "us": {name: round(value, 1) for name, value in found.items()},
                "aegis_to_bare_binding": round(found["aegis"] / found["bare_binding"], 3),
                "aegis_to_bare_binding_tuned": round(found["aegis"] / found["bare_binding_tuned"], 3),
                "bare_run_to_aegis_graph": round(found["bare_run"] / found["aegis_graph"], 2),
                "aegis_graph_to_bare_graph": round(found["aegis_graph"] / found["bare_graph"], 3),
                "two_streams_to_one": round(double / single, 2),
                "cuda_graph": note,
                "cpu_nodes": nodes,
            }
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
