"""TVM on a GPU through AegisRT against the bare VM: `python -m tests.measuring.gpu_tvm MODEL.onnx [...]`.

Prints one JSON line a model and batch, medians in microseconds measured in turns: the bare VM with the same copies
(numpy to the GPU, the call, the result to the host), AegisRT with numpy; the bare VM on a tensor that lies on the GPU,
AegisRT with one, its result left there; and ONNX Runtime on the GPU, where it is installed, as a yardstick.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from aegisrt import ExecutionRequest, TVMBackend
from aegisrt.devices.cuda.arrays import DeviceArray
from aegisrt.devices.cuda.context import cuda_context
from aegisrt.devices.cuda.memory import DeviceBuffer
from tests.measuring.bare_onnx import Bare, Case, Steps, interleaved
from tests.measuring.gpu import sample


def bare_calls(path, inputs):
    """Return TVM's own loops over the same library: with copies, and on the GPU alone."""
    import tvm
    from tvm import relax

    device = tvm.cuda(0)
    machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), device)
    name = "shape_0" if machine.module.implements_function("shape_0") else "main"
    function = machine[name]
    there = [tvm.runtime.tensor(value, device) for value in inputs.values()]

    def tensors(answer):
        return [answer] if hasattr(answer, "numpy") else list(answer)

    def with_copies():
        answer = function(*[tvm.runtime.tensor(value, device) for value in inputs.values()])
        return [item.numpy() for item in tensors(answer)]

    def on_gpu():
        answer = function(*there)
        device.sync()
        return answer

    return with_copies, on_gpu


def on_gpu(value):
    context = cuda_context(0)
    memory = DeviceBuffer(context, value.nbytes)
    with context:
        context.pycuda.memcpy_htod(memory.pointer, value)
    return DeviceArray(memory.pointer, value.shape, value.dtype, owner=memory)


def measure(model, batch, folder):
    inputs = sample(model, batch)
    library = Path(folder, f"{model.stem}-{batch}.so")
    shapes = {name: [list(value.shape)] for name, value in inputs.items()}
    TVMBackend({"shapes": shapes}, device="cuda:0").build(model, library).unwrap()
    plain, device = TVMBackend(device="cuda:0"), TVMBackend({"outputs": "device"}, device="cuda:0")
    for backend in (plain, device):
        backend.load(library).unwrap()
    with_copies, alone = bare_calls(library, inputs)
    there = {name: on_gpu(value) for name, value in inputs.items()}
    calls = {
        "bare": with_copies,
        "aegis": lambda: plain.execute(ExecutionRequest(inputs=inputs)).unwrap(),
        "bare_on_gpu": alone,
        "aegis_on_gpu": lambda: device.execute(ExecutionRequest(inputs=there)).unwrap(),
    }
    cases = {name: Case(call, Steps()) for name, call in calls.items()}
    try:
        import onnxruntime as ort
    except ImportError:
        ort = None
    if ort is not None and "CUDAExecutionProvider" in ort.get_available_providers():
        cases["ort_cuda"] = Bare(ort, model, inputs).run()
    found = {name: took["call"] for name, took in interleaved(cases).items()}
    for backend in (plain, device):
        backend.unload().unwrap()
    return {
        "model": model.name,
        "batch": batch,
        "us": {name: round(value, 1) for name, value in found.items()},
        "aegis_to_bare": round(found["aegis"] / found["bare"], 3),
        "aegis_to_bare_on_gpu": round(found["aegis_on_gpu"] / found["bare_on_gpu"], 3),
    }


def main():
    np.seterr(all="ignore")
    with tempfile.TemporaryDirectory() as folder:
        for argument in sys.argv[1:]:
            for batch in (1, 16):
                sys.stdout.write(json.dumps(measure(Path(argument), batch, folder)) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
