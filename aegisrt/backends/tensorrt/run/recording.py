"""`Recording`: a call as a CUDA graph, its copies included, on an execution context of its own.

A graph is valid only for the state that its context was in: NVIDIA's guide requires one context for each graph, one
plain call before the recording, and no change to the context afterwards
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html#cuda-graphs).
"""

from __future__ import annotations

from aegisrt.backends.tensorrt.engine import LoadedEngine
from aegisrt.backends.tensorrt.run.call import PreparedCall
from aegisrt.backends.tensorrt.run.context import ShapedContext
from aegisrt.devices.cuda.call import GpuCalls
from aegisrt.devices.cuda.graph import CudaGraph
from aegisrt.devices.cuda.memory import DeviceBuffer


class Recording:
    """Contains addresses and shapes as they were; if they change, a new one is needed."""

    def __init__(self, loaded: LoadedEngine, gpu: GpuCalls, scratch: DeviceBuffer, call: PreparedCall) -> None:
        """Run a staged call once, then record it; the device's context must be current. Waits for the stream.

        `scratch` is memory that no other context uses meanwhile.

        FAILED_PRECONDITION: if the call cannot be recorded; the message contains the reason.
        """
        stream = gpu.stream
        self._context = ShapedContext(loaded, memory=scratch)
        try:
            self._context.select_profile(call.shapes, stream.handle)
            call.set_addresses(self._context)
            self._context.set_shapes(call.shapes)
            call.enqueue(self._context, stream, gpu, {})
            stream.finish()
            self._graph = CudaGraph.capture(stream, lambda _: call.enqueue(self._context, stream, gpu, {}))
        except BaseException as error:
            try:
                stream.break_off(error)  # which waits: the context must outlive its work on the stream
            finally:
                self._context.close()
            raise
        self.launch = self._graph.launch
        """Enqueue it on a stream; the device's context must be current."""
        self.quick = call.quick(gpu, self._graph.launcher(stream.handle))
        """Runs whole calls, if it can; most calls take this path."""

    def close(self) -> None:
        """Destroy graph and context, in this order; the stream must be done with it."""
        try:
            self._graph.close()
        finally:
            self._context.close()
