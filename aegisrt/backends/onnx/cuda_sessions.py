"""`CudaSessions`: the ONNX Runtime sessions of one model on a GPU, each on its stream.

ONNX Runtime enqueues everything on the session's `user_compute_stream`, so that copies, kernels and the caller's own
work on the stream keep their order (https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html). A
session has one such stream; so each instance has a session of its own, unless they share a stream.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from aegisrt.backends.onnx.options import ONNXOptions
from aegisrt.core.result import ResultError
from aegisrt.devices.base import Device
from aegisrt.devices.cuda.context import CudaContext, cuda_context
from aegisrt.devices.cuda.stream import CudaStream, open_stream

CUDA = "CUDAExecutionProvider"
_WARNING = 2
_quiet: list[int] = []
_quiet_lock = threading.Lock()


def preload(ort: Any) -> None:
    """Load the CUDA libraries of `nvidia-*` packages, which the loader does not find by itself.

    ONNX Runtime prints the libraries that it cannot load; stdout is kept for results, so that goes to stderr. The
    session's own error, and `aegisrt doctor`, name them too.
    """
    if hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(sys.stderr):
            ort.preload_dlls()


@contextlib.contextmanager
def quiet(ort: Any, severity: int) -> Iterator[None]:
    """Limit ONNX Runtime's default logger to `severity` while a session is opened.

    From 1.30 on that logger warns of each CUDA session (`No registered plugin EP device found`), whatever the session's
    own level. The level cannot be read; so when the last of the sessions that are being opened is there, the level
    becomes ONNX Runtime's default, warning, and not the one that an application had set.
    """
    if severity <= _WARNING:
        yield
        return
    with _quiet_lock:
        _quiet.append(severity)
        ort.set_default_logger_severity(max(_quiet))
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet.remove(severity)
            ort.set_default_logger_severity(max(_quiet, default=_WARNING))


def cuda_settings(options: ONNXOptions, stream: CudaStream, *, graph: bool) -> dict[str, str]:
    """Return the CUDA provider's options that follow from ours and from the stream."""
    settings = {"device_id": str(stream.device.ordinal), "user_compute_stream": str(stream.handle)}
    if graph:
        settings["enable_cuda_graph"] = "1"
    if options.memory_limit_bytes is not None:
        settings["gpu_mem_limit"] = str(options.memory_limit_bytes)
        settings["arena_extend_strategy"] = "kSameAsRequested"
    return settings


def cpu_nodes(session: Any) -> dict[str, int] | None:
    """Count the nodes of each operator that run on the CPU in a session on a GPU; None if that is not reported.

    The session must have been opened with `session.record_ep_graph_assignment_info` (ONNX Runtime 1.24 and later).
    """
    assignment_info = getattr(session, "get_provider_graph_assignment_info", None)
    if assignment_info is None:
        return None
    counts: dict[str, int] = {}
    for part in assignment_info():
        for node in part.get_nodes() if part.ep_name == "CPUExecutionProvider" else ():
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items()))


class OpenSession(Protocol):
    """Opens a session on a stream."""

    def __call__(self, stream: CudaStream, *, graph: bool) -> Any:
        """Return an `InferenceSession`."""


@dataclass(slots=True, eq=False)
class CudaSessions:
    """Opens the sessions of one model: the first at load, to read its signature, the others as slots open."""

    open: OpenSession
    device: Device
    declared: Any
    """The stream that was passed to the backend."""
    graph: bool
    metadata: dict[str, Any]
    first: tuple[Any, CudaStream, bool] | None = None
    shared: tuple[Any, CudaStream] | None = None
    streams: list[CudaStream] = field(default_factory=list)
    """Streams to close once no session is left: each must outlive its session."""
    graph_ids: Iterator[int] = field(default_factory=lambda: count(1))
    """Numbers for recordings, unique in a session that several slots share."""

    def take(self) -> tuple[Any, CudaStream, bool]:
        """Return a session, its stream, and whether the slot alone uses that stream."""
        if self.first is not None:
            (session, stream, owned), self.first = self.first, None
            if not owned:
                self.shared = session, stream
            return session, stream, owned
        if self.shared is not None:
            return (*self.shared, False)
        stream, owned = self.new_stream()
        return self.open_session(stream), stream, owned

    @property
    def context(self) -> CudaContext:
        """The device's context.

        ONNX Runtime leaves its own device current in the thread. This context, around its calls, restores the former.
        """
        return cuda_context(self.device.ordinal)

    def open_session(self, stream: CudaStream) -> Any:
        """Return a new session on a stream."""
        with stream.context:
            return self.open(stream, graph=self.graph)

    def new_stream(self) -> tuple[CudaStream, bool]:
        """Return a stream as declared, and whether one instance alone uses it."""
        stream, owned = open_stream(self.declared, self.device)
        if owned:
            self.streams.append(stream)
        return stream, owned

    def close(self) -> None:
        """Close the streams; all sessions must be gone."""
        borrowed = [held[1] for held in (self.first, self.shared) if held is not None]
        with self.context.unless_lost():
            self.first = self.shared = None
        borrowed.clear()  # after their sessions: this list may hold the last reference to a shared stream
        for stream in self.streams:
            stream.close()
        self.streams.clear()


def open_on_gpu(sessions: CudaSessions) -> Any:
    """Return the first session of a model; the first slot gets it, with its stream.

    If a model cannot be recorded (`cuda_graph`), it is opened without recording, and the metadata has the reason.
    """
    stream, owned = sessions.new_stream()
    try:
        session = _with_or_without_graph(sessions, stream)
    except BaseException:
        sessions.close()
        raise
    sessions.first = session, stream, owned
    nodes = cpu_nodes(session) if CUDA in session.get_providers() else None
    if nodes is not None:
        sessions.metadata["cpu_nodes"] = nodes
    return session


def _with_or_without_graph(sessions: CudaSessions, stream: CudaStream) -> Any:
    if not sessions.graph:
        return sessions.open_session(stream)
    try:
        session = sessions.open_session(stream)
    except ResultError as refused:
        sessions.graph = False
        session = sessions.open_session(stream)
        sessions.metadata["cuda_graph"] = f"off: {refused.error.message}"
        return session
    sessions.metadata["cuda_graph"] = "on"
    return session
