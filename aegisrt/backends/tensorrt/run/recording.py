"""`Recording`: a call as a CUDA graph, its copies included, on an execution context of its own.

A graph is valid only for the state that its context was in: NVIDIA's guide requires one context for each graph, one
plain call before the recording, and no change to the context afterwards
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html#cuda-graphs).
"""

from __future__ import annotations

from collections.abc import Iterable

from numpy import copyto, ndarray

from aegisrt.backends.tensorrt.engine import LoadedEngine
from aegisrt.backends.tensorrt.run.call import PreparedCall
from aegisrt.backends.tensorrt.run.context import ShapedContext
from aegisrt.core.tensor import Array
from aegisrt.devices.cuda.graph import CudaGraph
from aegisrt.devices.cuda.memory import DeviceBuffer
from aegisrt.devices.cuda.stream import CudaStream


class Recording:
    """Contains addresses and shapes as they were; if they change, a new one is needed."""

    def __init__(self, loaded: LoadedEngine, stream: CudaStream, scratch: DeviceBuffer, call: PreparedCall) -> None:
        """Run a staged call once, then record it; the device's context must be current. Waits for the stream.

        `scratch` is memory that no other context uses meanwhile.

        FAILED_PRECONDITION: if the call cannot be recorded; the message contains the reason.
        """
        self._context = ShapedContext(loaded, memory=scratch)
        try:
            self._context.select_profile(call.shapes, stream.handle)
            call.set_addresses(self._context)
            self._context.set_shapes(call.shapes)
            call.enqueue(self._context, stream)
            stream.finish()
            self._graph = CudaGraph.capture(stream, lambda _: call.enqueue(self._context, stream))
        except BaseException as error:
            try:
                stream.break_off(error)  # which waits: the context must outlive its work on the stream
            finally:
                self._context.close()
            raise
        self._stream = stream
        self._views = [view for _, view in call.inputs]
        self._results = [view for _, view in call.outputs.values()]
        self.replays = call.converts_nothing
        """Whether `replay` can run it; `launch` always can."""
        self.launch = self._graph.launch
        """Enqueue it on a stream; the device's context must be current."""

    def replay(self, inputs: Iterable[Array]) -> list[Array] | None:
        """Run a whole call; return copies of the outputs, or None if an input is not on the host.

        Most calls take this path, so everything that can be prepared is prepared in `__init__`. The caller must be the
        only user of the stream.
        """
        for view, value in zip(self._views, inputs):  # noqa: B905  (`strict` takes longer, and they are as many)
            if type(value) is not ndarray:
                return None
            copyto(view, value)
        stream = self._stream
        with stream.context.current():
            self.launch(stream.handle)
            stream.finish()
        return [view.copy() for view in self._results]

    def close(self) -> None:
        """Destroy graph and context, in this order; the stream must be done with it."""
        try:
            self._graph.close()
        finally:
            self._context.close()
