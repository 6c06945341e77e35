"""ONNX Runtime: a bare IOBinding on page-locked memory, with the copies that AegisRT makes, recorded."""

from __future__ import annotations

from aegisrt import ONNXBackend
from tests.measuring.gpu.loops import BareLoop, Tensor, open_stream

NAME, GRAPH, LOCK = "onnx", {"cuda_graph": True}, None
DIRECT_BYTES = 65536
"""Outputs up to this size are written by the GPU to page-locked memory: as AegisRT does, and faster than a copy."""


def why_not():
    """Return why there is nothing to measure, or None."""
    try:
        import onnxruntime as ort
    except ImportError as error:
        return str(error)
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return "onnxruntime has no CUDA provider"
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    return None


def prepared(model, batch, folder):
    """Return the file that is loaded: the model itself."""
    return model


def backend(path, options, instances=1):
    """Return a loaded backend."""
    made = ONNXBackend(options, device="cuda:0", instances=instances)
    made.load(path).unwrap()
    return made


class Bare:
    """One session on a stream of ours."""

    def __init__(self, path, inputs, *, graph=True):
        import onnxruntime as ort

        self.stream = stream = open_stream()
        context = stream.context
        settings = {"user_compute_stream": str(stream.handle), **({"enable_cuda_graph": "1"} if graph else {})}
        providers = [("CUDAExecutionProvider", settings), "CPUExecutionProvider"]
        with context:
            self.session = session = ort.InferenceSession(str(path), _quiet(ort), providers=providers)
        shapes = _answers(ort, path, inputs)
        options = _options(ort, "1" if graph else "-1")
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        binding = session.io_binding()
        pairs = [(value, Tensor(context, value.shape, value.dtype)) for value in inputs.values()]
        outputs = [Tensor(context, value.shape, value.dtype) for value in shapes.values()]
        direct = [tensor for tensor in outputs if tensor.size <= DIRECT_BYTES]
        for name, (value, tensor) in zip(inputs, pairs, strict=True):
            binding.bind_input(name, "cuda", 0, value.dtype.type, value.shape, tensor.pointer)
        for name, tensor in zip(shapes, outputs, strict=True):
            pointer = tensor.address if tensor in direct else tensor.pointer
            binding.bind_output(name, "cuda", 0, tensor.view.dtype.type, tensor.view.shape, pointer)
        run = session.run_with_iobinding
        with context:
            run(binding, _options(ort, "-1"))
        self.call = BareLoop(stream, pairs, outputs, lambda: run(binding, options), direct=direct)

    def close(self):
        self.call = None
        with self.stream.context:
            self.session = None
        self.stream.close()


def _options(ort, graph):
    """Return run options that name a recording; `-1`: none."""
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", graph)
    return options


def _quiet(ort):
    """Return session options without the warnings that each recording has."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return options


def _answers(ort, path, inputs):
    """Return the outputs by name, computed on the CPU."""
    session = ort.InferenceSession(str(path), _quiet(ort), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))
