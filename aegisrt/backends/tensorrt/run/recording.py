"""`Recording`: a call as a CUDA graph, copies and all, on an execution context of its own.

A graph is only good for the state that its context was in: NVIDIA's guide asks for one context a graph, for one plain
call before the recording, and that nothing be told to the context afterwards
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html#cuda-graphs).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from numpy import copyto, ndarray

from aegisrt.backends.tensorrt.engine import LoadedEngine
from aegisrt.backends.tensorrt.run.context import ShapedContext
from aegisrt.core.tensor import Array
from aegisrt.devices.cuda.graph import CudaGraph
from aegisrt.devices.cuda.memory import DeviceBuffer
from aegisrt.devices.cuda.stream import CudaStream

if TYPE_CHECKING:
    from aegisrt.backends.tensorrt.run.call import PreparedCall


class Recording:
    """Holds addresses and shapes as they were; what changes them needs a new one."""

    def __init__(self, engine: LoadedEngine, stream: CudaStream, scratch: DeviceBuffer, call: PreparedCall) -> None:
        """Run a staged call once, then record it; the context must be current, and the stream is waited for.

        `scratch` is memory that no other context uses meanwhile. FAILED_PRECONDITION, with the reason, where the call
        cannot be recorded.
        """
        self._context = ShapedContext(engine, memory=scratch)
        try:
            self._context.select_profile(call.shapes, stream.handle)
            call.point(self._context)
            self._context.set_shapes(call.shapes)
            call.enqueue(self._context, stream)
            stream.finish()
            self._graph = CudaGraph.capture(stream, lambda _: call.enqueue(self._context, stream))
        except BaseException as error:
            try:
                stream.break_off(error)  # which waits: the context may not go before
            finally:
                self._context.close()
            raise
        self._stream = stream
        self._views = [view for _, view in call.inputs]
        self._results = [view for _, view in call.outputs.values()]
        self.replays = call.converts_nothing
        """Whether `replay` serves it; `launch` always does."""
        self.launch = self._graph.launch
        """Enqueue it on a stream; the context must be current."""

    def replay(self, inputs: Iterable[Array]) -> list[Array] | None:
        """Return the outputs of a whole call, in arrays of their own; None where an input is not on the host.

        This is the way of most calls, so it does nothing that can be done beforehand. The stream must be the caller's
        alone.
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
