"""TVM: a bare VM on a stream of ours, over page-locked memory, with the copies that AegisRT makes."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from aegisrt import TVMBackend
from aegisrt.backends.tvm.run.views import view
from tests.measuring.gpu.loops import BareLoop, Tensor, open_stream

NAME, GRAPH, LOCK = "tvm", None, threading.Lock()


def why_not():
    """Return why there is nothing to measure, or None."""
    try:
        import tvm  # noqa: F401
    except ImportError as error:
        return str(error)
    return None


def prepared(model, batch, folder):
    """Return a library for a model and a batch."""
    from tests.measuring.gpu.table import sample

    target = Path(folder, f"{model.stem}-{batch}.so")
    shapes = {name: [list(value.shape)] for name, value in sample(model, batch).items()}
    TVMBackend({"shapes": shapes}, device="cuda:0").build(model, target).unwrap()
    return target


def backend(path, options, instances=1):
    """Return a loaded backend."""
    made = TVMBackend(options, device="cuda:0", instances=instances)
    made.load(path).unwrap()
    return made


class Bare:
    """One VM. TVM's own pool of memory is not safe for two VMs at once: `lock` is held until the kernels are done."""

    def __init__(self, path, inputs, lock=None):
        import tvm
        import tvm_ffi
        from tvm import relax

        self.stream = stream = open_stream()
        device, context = tvm.cuda(0), stream.context
        location = int(device.dlpack_device_type()), int(device.index)
        with context:
            machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), device)
        name = "shape_0" if machine.module.implements_function("shape_0") else "main"
        self.function = function = machine[name]
        pairs = [(value, Tensor(context, value.shape, value.dtype)) for value in inputs.values()]
        arguments = [view(tensor.pointer, value.shape, value.dtype, location) for value, tensor in pairs]
        copy, handle, wait = context.driver.cuMemcpyDtoHAsync_v2, stream.handle, context.driver.cuStreamSynchronize

        def returned():
            answer = function(*arguments)
            return [answer] if hasattr(answer, "data_ptr") else list(answer)

        with context, tvm_ffi.use_raw_stream(device, handle):
            outputs = [Tensor(context, tuple(each.shape), np.dtype(str(each.dtype))) for each in returned()]
            wait(handle)
        staged = BareLoop(stream, pairs, [], lambda: None)
        addresses = [(tensor.address, tensor.size, tensor.view) for tensor in outputs]

        on_stream, lock = tvm_ffi.use_raw_stream(device, handle), lock or nullcontext()

        def call():
            staged_in(staged)
            with lock:
                with on_stream:
                    answers = returned()
                if lock is LOCK:
                    wait(handle)
            for (address, size, _), answer in zip(addresses, answers, strict=True):
                copy(address, answer.data_ptr(), size, handle)
            wait(handle)
            return [host.copy() for _, _, host in addresses]

        self.call = call

    def close(self):
        self.call = self.function = None
        self.stream.close()


def staged_in(loop):
    """Copy a loop's inputs to the GPU, and do not wait."""
    for host, array in loop._pairs:
        np.copyto(host, array)
    for copy in loop._to_device:
        loop._copy_in(*copy)
