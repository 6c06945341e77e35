"""What tests/gpu/sanitize.py watches: `python -m tests.gpu.sanitized devices|onnx|onnx-graph`; prints `PART: done`."""

from __future__ import annotations

import sys

import numpy as np

from aegisrt import CudaStream, ExecutionRequest, ONNXBackend
from aegisrt.conformance.references.models import REFERENCES
from aegisrt.conformance.references.supply import MODELS
from aegisrt.devices.cuda.context import cuda_context
from aegisrt.devices.cuda.graph import CudaGraph
from aegisrt.devices.cuda.memory import DeviceBuffer, copy_on_device, copy_to_device, copy_to_host, staging_pool
from aegisrt.devices.cuda.staged import StagedTensor

SIZES = (1, 7, 512, 4096, 1 << 20)


def main(part):
    if part == "devices":
        devices()
    else:
        for name in REFERENCES:
            if not name.startswith("slow-"):
                model(name, graph=part == "onnx-graph")
    print(f"{part}: done")


def model(name, *, graph):
    """Load a model of the kit, call it with several shapes and from arrays on the GPU, compare, unload."""
    reference = REFERENCES[name]
    backend = ONNXBackend({"cuda_graph": graph, "fallback": "allow"}, device="cuda:0")
    backend.load(MODELS / f"{name}.onnx").unwrap()
    dims = sorted({dim for spec in reference.signature.inputs for dim in spec.shape or () if isinstance(dim, str)})
    for seed, size in enumerate((2, 2, 2, 2, 5, 5, 5, 1, 2) if dims else (2, 2, 2, 2)):
        inputs = reference.inputs(seed, **dict.fromkeys(dims, size))
        outputs = backend.execute(ExecutionRequest(inputs=inputs)).unwrap().outputs
        for output, wanted in reference.goldens(inputs).items():
            if wanted.dtype.kind in "fV":
                np.testing.assert_allclose(outputs[output].astype(float), wanted.astype(float), rtol=2e-2, atol=2e-2)
            else:
                np.testing.assert_array_equal(outputs[output], wanted)
    backend.unload().unwrap()


def devices():
    context = cuda_context(0)
    for priority in ("low", "normal", "high"):
        with CudaStream("cuda:0", priority=priority) as one, CudaStream("cuda:0") as two:
            for size in SIZES:
                copied(context, one, two, size)
                recorded(context, one, size)
                staged(context, one, size)
    staging_pool(context).clear()


def copied(context, one, two, size):
    """Bytes go to the GPU on one stream, on to other memory on another, and back."""
    sent = np.random.default_rng(size).integers(0, 256, size).astype(np.uint8)
    first, second, pinned = DeviceBuffer(context, size), DeviceBuffer(context, size), staging_pool(context).take(size)
    pinned.write(sent)
    with context:
        copy_to_device(context, first.pointer, pinned.address, size, one.handle)
        two.wait_for(one.record_event())
        copy_on_device(context, second.pointer, first.pointer, size, two.handle)
        two.synchronize()
        pinned.view((size,), np.dtype(np.uint8))[...] = 0
        copy_to_host(context, pinned.address, second.pointer, size, two.handle)
        done = two.record_event()
        done.synchronize()
    assert done.is_done()
    np.testing.assert_array_equal(pinned.read((size,), sent.dtype), sent)
    staging_pool(context).release(pinned)
    first.free()
    second.free()


def recorded(context, stream, size):
    """A graph of two copies, replayed with other bytes."""
    source, target, pinned = DeviceBuffer(context, size), DeviceBuffer(context, size), staging_pool(context).take(size)

    def work(handle):
        copy_to_device(context, source.pointer, pinned.address, size, handle)
        copy_on_device(context, target.pointer, source.pointer, size, handle)
        copy_to_host(context, pinned.address, target.pointer, size, handle)

    graph = CudaGraph.capture(stream, work)
    for value in (1, 2, 3):
        pinned.view((size,), np.dtype(np.uint8))[...] = value
        with context:
            graph.launch(stream.handle)
        stream.synchronize()
        assert (pinned.read((size,), np.dtype(np.uint8)) == value).all()
    graph.close()
    staging_pool(context).release(pinned)
    source.free()
    target.free()


def staged(context, stream, size):
    """A staged tensor that grows."""
    tensor = StagedTensor(context)
    for count in (size, size * 2):
        sent = np.arange(count, dtype=np.uint8)
        tensor.reserve(count)
        tensor.write(sent)
        with context:
            tensor.to_device(count, stream.handle)
            tensor.to_host(count, stream.handle)
        stream.synchronize()
        np.testing.assert_array_equal(tensor.read((count,), sent.dtype), sent)
    tensor.free()


if __name__ == "__main__":
    main(sys.argv[1])
