"""`CudaGraph`: a sequence of work recorded once from a stream, and launched as one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from ctypes import byref, c_void_p
from functools import partial

from aegisrt.core.result import Error, ErrorCode, ResultError
from aegisrt.devices.cuda.context import CudaContext
from aegisrt.devices.cuda.driver import THREAD_LOCAL_CAPTURE
from aegisrt.devices.cuda.stream import CudaStream


class CudaGraph:
    """Holds the addresses and shapes of its capture; if they change, capture a new graph."""

    def __init__(self, context: CudaContext, executable: int) -> None:
        self._context = context
        self._executable = executable

    @classmethod
    def capture(cls, stream: CudaStream, work: Callable[[int], None]) -> CudaGraph:
        """Return the work that `work(handle)` enqueues, recorded and not run.

        FAILED_PRECONDITION: with the reason, if the work cannot be captured, for example because it waits for the GPU
        (https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-graphs); the stream is then unchanged.
        """
        with stream.lock, stream.context as context:
            driver, graph = context.driver, c_void_p()
            problem: Exception | None = None
            try:
                code = driver.cuStreamBeginCapture_v2(stream.handle, THREAD_LOCAL_CAPTURE)
                context.check("cuStreamBeginCapture", code)
                try:
                    work(stream.handle)
                except Exception as error:  # noqa: BLE001  (a capture must be ended after any error)
                    problem = error
                code = driver.cuStreamEndCapture(stream.handle, byref(graph))
                if problem is not None:
                    raise problem if context.lost is not None else _refused(problem) from problem
                if code or not graph.value:
                    raise _refused(ResultError(Error(ErrorCode.INTERNAL, context.driver.text(code))))
                return cls(context, _instantiate(context, graph.value))
            except Exception:
                raise
            except BaseException:
                stream.drop_recording()
                raise
            finally:
                if graph.value:
                    driver.cuGraphDestroy(graph.value)

    def launch(self, stream: int) -> None:
        """Enqueue it; the context must be current."""
        code = self._context.driver.cuGraphLaunch(self._executable, stream)
        if code:
            self._context.check("cuGraphLaunch", code)

    def launcher(self, stream: int) -> Callable[[], int]:
        """Return a function that enqueues it on a stream and returns the driver's code, until `close`."""
        return partial(self._context.driver.cuGraphLaunch, c_void_p(self._executable), c_void_p(stream))

    def close(self) -> None:
        """Destroy it; may be called again. The stream that it was launched on must be done with it."""
        executable, self._executable = self._executable, 0
        if executable and self._context.lost is None:
            with self._context as context:
                context.check("cuGraphExecDestroy", context.driver.cuGraphExecDestroy(executable))

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # no caller to report to: the garbage collector runs this
            self.close()


def _instantiate(context: CudaContext, graph: int) -> int:
    executable = c_void_p()
    code = context.driver.cuGraphInstantiateWithFlags(byref(executable), graph, 0)
    context.check("cuGraphInstantiate", code)
    return executable.value or 0


def _refused(error: Exception) -> ResultError:
    reason = error.error.message if isinstance(error, ResultError) else str(error)
    message = f"this work cannot be captured: {reason}"
    return ResultError(Error(ErrorCode.FAILED_PRECONDITION, message, cause=repr(error)))
