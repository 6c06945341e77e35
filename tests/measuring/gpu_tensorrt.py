"""TensorRT on a GPU: medians, and their ratio to a bare replay loop with the same copies, in the same run.

    python -m tests.measuring.gpu_tensorrt MODEL.onnx [BATCH ...]

Prints one JSON line for each batch. The bare loop has its own runtime, engine and context, captures `execute_async_v3`,
and for each call copies into page-locked memory, to the GPU, launches, copies back, waits, and copies the results.
"""

from __future__ import annotations

import json
import sys
import tempfile
from math import prod
from pathlib import Path

import numpy as np

from aegisrt import CudaStream, ExecutionRequest, TensorRTBackend
from aegisrt.backends.tensorrt.distribution import load_tensorrt
from aegisrt.backends.tensorrt.plan import read_header
from aegisrt.core.sidecar import bare_size
from aegisrt.devices.cuda.graph import CudaGraph
from aegisrt.devices.cuda.memory import DeviceBuffer, PinnedBuffer
from tests.measuring.bare_onnx import Case, Steps, interleaved
from tests.measuring.gpu import sample


class BareReplay:
    """A CUDA graph of one engine at fixed shapes, and nothing of the backend around it."""

    def __init__(self, plan, inputs):
        self.library = load_tensorrt(read_header(plan).runners)
        self.stream = CudaStream("cuda:0")
        self.inputs = inputs
        context = self.stream.context
        with context:
            self.runtime = self.library.create("Runtime")
            self.engine = self.runtime.deserialize_cuda_engine(plan.read_bytes()[: bare_size(plan)])
            self.execution = self.engine.create_execution_context()
            names = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
            for name, value in inputs.items():
                if -1 in tuple(self.engine.get_tensor_shape(name)):
                    self.execution.set_input_shape(name, value.shape)
            self.execution.infer_shapes()
            self.tensors = {name: self._memory(name) for name in names}
            self.execution.execute_async_v3(self.stream.handle)
            self.stream.finish()
            self.graph = CudaGraph.capture(self.stream, self.execution.execute_async_v3)

    def _memory(self, name):
        shape = tuple(self.execution.get_tensor_shape(name))
        kind = self.inputs[name].dtype if name in self.inputs else np.dtype(self._numpy(name))
        size, context = prod(shape) * kind.itemsize, self.stream.context
        memory, pinned = DeviceBuffer(context, size), PinnedBuffer(context, max(size, 512))
        self.execution.set_tensor_address(name, memory.pointer)
        return memory, pinned, pinned.view(shape, kind), size

    def _numpy(self, name):
        kinds = {"FLOAT": "f4", "HALF": "f2", "INT8": "i1", "INT32": "i4", "INT64": "i8", "BOOL": "?", "UINT8": "u1"}
        return kinds[self.engine.get_tensor_dtype(name).name]

    def __call__(self):
        driver, handle, context = self.stream.context.driver, self.stream.handle, self.stream.context
        with context:
            for name, value in self.inputs.items():
                memory, pinned, view, size = self.tensors[name]
                np.copyto(view, value)
                driver.cuMemcpyHtoDAsync_v2(memory.pointer, pinned.address, size, handle)
            self.graph.launch(handle)
            outputs = [held for name, held in self.tensors.items() if name not in self.inputs]
            for memory, pinned, _, size in outputs:
                driver.cuMemcpyDtoHAsync_v2(pinned.address, memory.pointer, size, handle)
            driver.cuStreamSynchronize(handle)
        return [view.copy() for _, _, view, _ in outputs]

    def close(self):
        self.graph.close()
        with self.stream.context:
            self.execution = self.engine = self.runtime = None
        self.stream.close()


def measured(plan, model, batch):
    """Return the medians of one batch as JSON has them."""
    inputs = sample(model, batch)
    plain, graph = TensorRTBackend(), TensorRTBackend({"cuda_graph": True})
    for backend in (plain, graph):
        backend.load(plan).unwrap()
    bare, request = BareReplay(plan, inputs), ExecutionRequest(inputs=inputs)
    for mine, own in zip(graph.execute(request).unwrap().outputs.values(), bare(), strict=True):
        np.testing.assert_array_equal(mine, own)
    calls = {
        "bare_replay": bare,
        "aegis": lambda: plain.execute(request).unwrap(),
        "aegis_graph": lambda: graph.execute(request).unwrap(),
    }
    medians = interleaved({name: Case(call, Steps()) for name, call in calls.items()})
    found = {name: steps["call"] for name, steps in medians.items()}
    note = graph.execute(request).unwrap().metadata.get("cuda_graph")
    bare.close()
    for backend in (plain, graph):
        backend.unload().unwrap()
    return {
        "model": model.name,
        "batch": batch,
        "us": {name: round(value, 1) for name, value in found.items()},
        "aegis_graph_to_bare_replay": round(found["aegis_graph"] / found["bare_replay"], 3),
        "cuda_graph": note,
    }


def main():
    model, batches = Path(sys.argv[1]), [int(text) for text in sys.argv[2:]] or [1, 8]
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder, "m.engine")
        TensorRTBackend({"max_batch_size": max(batches)}).build(model, plan).unwrap()
        for batch in batches:
            sys.stdout.write(json.dumps(measured(plan, model, batch)) + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
