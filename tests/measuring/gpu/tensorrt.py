"""TensorRT: a bare context, its calls recorded together with their copies as AegisRT records them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from aegisrt import TensorRTBackend
from aegisrt.backends.tensorrt.distribution import installed, load_tensorrt
from aegisrt.backends.tensorrt.plan import read_header
from aegisrt.core.sidecar import bare_size
from aegisrt.devices.cuda.graph import CudaGraph
from tests.measuring.gpu.loops import BareLoop, Tensor, open_stream

NAME, GRAPH, LOCK = "tensorrt", {"cuda_graph": True}, None
_KINDS = {"FLOAT": "f4", "HALF": "f2", "INT8": "i1", "INT32": "i4", "INT64": "i8", "BOOL": "?", "UINT8": "u1"}


def why_not():
    """Return why there is nothing to measure, or None."""
    return None if {"tensorrt", "tensorrt_rtx"} & set(installed()) else "no TensorRT that builds is installed"


def prepared(model, batch, folder):
    """Return an engine file for a model."""
    target = Path(folder, f"{model.stem}.engine")
    if not target.exists():
        TensorRTBackend({"max_batch_size": 8, "external_tactics": False}).build(model, target).unwrap()
    return target


def backend(path, options, instances=1):
    """Return a loaded backend."""
    made = TensorRTBackend(options, instances=instances)
    made.load(path).unwrap()
    return made


class Bare:
    """One execution context of an engine, at fixed shapes."""

    def __init__(self, path, inputs):
        library = load_tensorrt(read_header(path).runners)
        self.stream = stream = open_stream()
        with stream.context:
            self.runtime = library.create("Runtime")
            self.engine = self.runtime.deserialize_cuda_engine(path.read_bytes()[: bare_size(path)])
            self.execution = self.engine.create_execution_context()
            for name, value in inputs.items():
                if -1 in tuple(self.engine.get_tensor_shape(name)):
                    self.execution.set_input_shape(name, value.shape)
            self.execution.infer_shapes()
            names = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
            self.tensors = {name: self._tensor(name) for name in names}
            self.graph = self._recorded(inputs)
        outputs = [tensor for name, tensor in self.tensors.items() if name not in inputs]
        pairs = [(value, self.tensors[name]) for name, value in inputs.items()]
        self.call = BareLoop(stream, pairs, outputs, self.graph.launcher(stream.handle), recorded=True)

    def _tensor(self, name):
        kind = _KINDS[self.engine.get_tensor_dtype(name).name]
        tensor = Tensor(self.stream.context, tuple(self.execution.get_tensor_shape(name)), np.dtype(kind))
        self.execution.set_tensor_address(name, tensor.pointer)
        return tensor

    def _recorded(self, inputs):
        driver = self.stream.context.driver

        def work(handle):
            for name in inputs:
                tensor = self.tensors[name]
                driver.cuMemcpyHtoDAsync_v2(tensor.pointer, tensor.address, tensor.size, handle)
            self.execution.execute_async_v3(handle)
            for name, tensor in self.tensors.items():
                if name not in inputs:
                    driver.cuMemcpyDtoHAsync_v2(tensor.address, tensor.pointer, tensor.size, handle)

        work(self.stream.handle)
        self.stream.finish()
        return CudaGraph.capture(self.stream, work)

    def close(self):
        self.graph.close()
        with self.stream.context:
            self.execution = self.engine = self.runtime = None
        self.stream.close()
