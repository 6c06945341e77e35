"""`ExecutionContext`: the running models of a deployment."""

from __future__ import annotations

import os
from concurrent.futures import Future
from time import perf_counter_ns
from types import TracebackType
from typing import Any, overload
from weakref import WeakSet

from typing_extensions import Unpack

from aegisrt.backends.base.backend import RuntimeBackend, not_a_request
from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result
from aegisrt.core.shown.log import Log
from aegisrt.core.tensor import Signature
from aegisrt.graph.nodes import Graph
from aegisrt.runtime.building.built import BuiltBackends
from aegisrt.runtime.executable import Executable
from aegisrt.runtime.life import wait_s
from aegisrt.runtime.metrics_table import MetricsByModel
from aegisrt.runtime.model_table import ModelTable, Rebuild
from aegisrt.runtime.request_fields import RequestFields, request_of

_log = Log(__name__)


class ExecutionContext(ModelTable):
    """Owns the loaded backends of one graph, and dispatches requests to them. Thread-safe; close it, or use `with`.

    It belongs to the process that created it. A fork copies neither its workers nor the engines' threads, so a request
    would wait forever in the child: there every request is answered FAILED_PRECONDITION, and `close()` does nothing.
    """

    def __init__(self, graph: Graph, backends: BuiltBackends, rebuild: Rebuild | None = None) -> None:
        """`rebuild` builds one model of the graph again, for `load`; without it no model can be loaded again."""
        super().__init__(graph, backends, rebuild)
        _contexts.add(self)

    @property
    def graph(self) -> Graph:
        """What runs where; each model's node has its own and its engine's metadata, and the state of its batching."""
        served = self._served.items()
        metadata = {name: model.backend.metadata for name, model in served}
        described = self._graph.described({name: model.backend.model_metadata for name, model in served})
        return described.loaded(metadata, {name: model.life.batching for name, model in served})

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models, in manifest order."""
        return tuple(self._served)

    def signature(self, model: str) -> Signature | None:
        """Return the inputs and outputs of a model; None if it is unknown or unloaded."""
        served = self._served.get(model)
        return served.backend.signature if served else None

    def metadata(self, model: str) -> dict[str, str] | None:
        """Return a model's own metadata, such as class names, by key; None if the model is unknown or unloaded."""
        served = self._served.get(model)
        return served.backend.model_metadata if served else None

    def backend(self, model: str) -> RuntimeBackend[Any]:
        """Return the loaded backend of a model, to measure or inspect it; raise KeyError if the model is unknown."""
        return self._served[model].backend

    def executable(self, model: str | None = None) -> Result[Executable]:
        """Return what answers the requests of a model: for a server, which may run or post them in its own way.

        It stays valid until `close()`; then it answers NOT_LOADED.
        NOT_FOUND, INVALID_ARGUMENT, FAILED_PRECONDITION: as of `execute`.
        """
        served = self._served_by(ExecutionRequest(inputs={}, model=model))
        return served if isinstance(served, Err) else Ok(served)

    @overload
    def execute(self, request: ExecutionRequest) -> Result[ExecutionResult]: ...

    @overload
    def execute(self, **fields: Unpack[RequestFields]) -> Result[ExecutionResult]: ...

    def execute(self, request: ExecutionRequest | None = None, **fields: Any) -> Result[ExecutionResult]:
        """Return the outputs of one call of one model: of a request, or of its fields, `model=..., inputs=...`.

        It runs in the caller's own thread if an instance is free and the request has no deadline, else from the model's
        queue. Errors beside those of `RuntimeBackend.execute`:

        NOT_FOUND: if the model is unknown.
        INVALID_ARGUMENT: if the request names no model, and the deployment has several.
        RESOURCE_EXHAUSTED: if the model's queue is full.
        DEADLINE_EXCEEDED: at the deadline, even while the engine still runs; its late answer is dropped.
        NOT_LOADED: after `close()`.
        FAILED_PRECONDITION: in a process that was forked after the deployment.
        """
        if fields or request is None:
            made = request_of(request, fields)
            if isinstance(made, Err):
                return made
            request = made
        served = self._only
        if served is None or type(request) is not ExecutionRequest or request.model is not None:
            found = self._served_by(request)
            if isinstance(found, Err):
                return found
            served = found
        return served.execute(request)

    @overload
    def submit(self, request: ExecutionRequest) -> Future[Result[ExecutionResult]]: ...

    @overload
    def submit(self, **fields: Unpack[RequestFields]) -> Future[Result[ExecutionResult]]: ...

    def submit(self, request: ExecutionRequest | None = None, **fields: Any) -> Future[Result[ExecutionResult]]:
        """Return the future of a request's answer; errors are in the answer, the same as `execute` returns.

        `cancel()` succeeds only while the request waits; `result()` then raises CancelledError, as any future does.
        Callbacks run in a worker's thread, which serves no other request meanwhile: a callback may submit requests, but
        must not wait for them. If the request's deadline passed, they run in the thread that watches all deadlines, and
        delay those of other requests.

        `submit` blocks only if the queue is full and its `when_full` is `wait`; called from a callback it is answered
        RESOURCE_EXHAUSTED instead, because the callback's own thread would have to make the room.
        """
        if fields or request is None:
            made = request_of(request, fields)
            if isinstance(made, Err):
                return _done(made)
            request = made
        served = self._served_by(request)
        return _done(served) if isinstance(served, Err) else served.submit(request)

    @overload
    async def execute_async(self, request: ExecutionRequest) -> Result[ExecutionResult]: ...

    @overload
    async def execute_async(self, **fields: Unpack[RequestFields]) -> Result[ExecutionResult]: ...

    async def execute_async(self, request: ExecutionRequest | None = None, **fields: Any) -> Result[ExecutionResult]:
        """Return the answer of a request without blocking the event loop; canceling the task cancels the request."""
        if fields or request is None:
            made = request_of(request, fields)
            if isinstance(made, Err):
                return made
            request = made
        served = self._served_by(request)
        if isinstance(served, Err):
            return served
        return await served.execute_async(request)

    def ready(self) -> bool:
        """Return whether every model is loaded and takes requests; False after `close()`, and in a forked child."""
        if self._is_copy or self._is_closed:
            return False
        return all(self.is_ready(name) for name in self._served)

    def is_ready(self, model: str) -> bool:
        """Return whether a model is loaded and takes requests: not one that is being unloaded."""
        served = self._served.get(model)
        return served is not None and served.backend.signature is not None and not served.parts.queue.is_closed

    def queued(self, model: str) -> int:
        """Return how many requests of a model wait; raise KeyError if the model is unknown."""
        return self._served[model].parts.queue.load()[1]

    def metrics(self) -> MetricsByModel:
        """Return the counts of each model since its deployment, by name."""
        return MetricsByModel({name: served.life.metrics() for name, served in self._served.items()})

    def close(self) -> Result[None]:
        """Unload every model, once its requests are answered and its worker threads have ended.

        Each model's `queue` options declare whether its waiting requests are run or answered CANCELLED, and how long
        that may take. It may be called again. Called from a callback of a request it does not wait for the threads,
        because its own is one of them.

        DEADLINE_EXCEEDED: if an engine or a callback still runs at the end of that time.
        """
        if self._is_copy:
            return Ok(None)
        with self._ending:
            was_closed, self._is_closed = self._is_closed, True
        since_ns, models = perf_counter_ns(), [served.life for served in self._served.values()]
        join = not self._watch.is_here() and not any(life.is_here() for life in models)
        for life in models:
            life.stop()
        closed = [life.close(since_ns, join=join) for life in models]
        close_by_ns = max((life.close_by_ns(since_ns) for life in models), default=since_ns)
        if not self._watch.close(wait_s(close_by_ns) if join else 0) and join:
            closed.append(_CALLBACK_RUNS)
        if not was_closed:
            ms = (perf_counter_ns() - since_ns) / 1e6
            names = ", ".join(f"`{name}`" for name in self._served)
            _log.info("closed %s in %.0f ms", names or "a deployment", ms, models=self.models, ms=round(ms, 3))
        return next((error for error in closed if isinstance(error, Err)), Ok(None))

    def __repr__(self) -> str:
        if self._is_closed:
            return "<ExecutionContext: closed>"
        models = (f"{node.model} on {node.backend}, {node.device}" for node in self._graph.models)
        return f"<ExecutionContext: {'; '.join(models)}>"

    def __enter__(self) -> ExecutionContext:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> ExecutionContext:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the deployment in a thread: it may wait for requests that the event loop has to serve."""
        import asyncio

        await asyncio.shield(asyncio.to_thread(self.close))

    def _served_by(self, request: ExecutionRequest) -> Executable | Err:
        if not isinstance(request, ExecutionRequest):
            return not_a_request(request)
        name = request.model
        try:
            served = self._only if name is None else self._reached.get(name)
        except TypeError:
            message = f"the request's `model` is a {type(name).__name__}, not a model's name"
            return Err(Error(ErrorCode.INVALID_ARGUMENT, message, "pass the name as text"))
        return served or self._no_model(name)

    def _become_copy(self) -> None:
        """Accept no requests in a forked child; takes no lock, since a thread that the child lacks may hold it."""
        self._reached, self._only, self._is_copy = {}, None, True


_CALLBACK_RUNS = Err(
    Error(
        ErrorCode.DEADLINE_EXCEEDED,
        "a callback still runs, of a request whose deadline passed",
        "the models are unloaded; a callback must not wait for the thread that closes the deployment",
    )
)
_contexts: WeakSet[ExecutionContext] = WeakSet()


def _after_fork() -> None:
    for context in list(_contexts):
        context._become_copy()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _done(answer: Err) -> Future[Result[ExecutionResult]]:
    future: Future[Result[ExecutionResult]] = Future()
    future.set_result(answer)
    return future
