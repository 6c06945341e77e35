"""`ExecutionContext`: the running models of a deployment."""

from __future__ import annotations

import os
from concurrent.futures import Future
from time import perf_counter_ns
from types import TracebackType
from typing import Any
from weakref import WeakSet

from aegisrt.backends.base.backend import RuntimeBackend, not_a_request
from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result
from aegisrt.core.suggest import suggest
from aegisrt.core.tensor import Signature
from aegisrt.graph.nodes import Graph
from aegisrt.runtime.metrics import ModelMetrics
from aegisrt.runtime.scheduling.deadlines import DeadlineWatch
from aegisrt.runtime.served import ServedModel, wait_s


class ExecutionContext:
    """Owns the loaded backends of one graph, and dispatches requests to them. Thread-safe; close it, or use `with`.

    It is of the process that made it. A fork copies neither its workers nor the engines' threads, so that a request
    would wait for ever there: in a child every request is answered FAILED_PRECONDITION, and `close()` does nothing.
    """

    def __init__(self, graph: Graph, backends: dict[str, RuntimeBackend[Any]]) -> None:
        self._graph = graph
        self._watch = DeadlineWatch()
        declared = graph.manifest.models
        self._served = {
            name: ServedModel(name, backend, declared[name], self._watch) for name, backend in backends.items()
        }
        self._reached = self._served
        """What requests may reach: nothing, in a child that a fork made."""
        self._only = next(iter(self._served.values())) if len(backends) == 1 else None
        _contexts.add(self)

    @property
    def graph(self) -> Graph:
        """What runs where; each model's node has what its engine says of it now (`metadata`)."""
        return self._graph.loaded({name: served.backend.metadata for name, served in self._served.items()})

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models, in manifest order."""
        return tuple(self._served)

    def signature(self, model: str) -> Signature | None:
        """Return the inputs and outputs of a model, or None for one that is unknown or unloaded."""
        served = self._served.get(model)
        return served.backend.signature if served else None

    def backend(self, model: str) -> RuntimeBackend[Any]:
        """Return the loaded backend of a model, to measure or inspect; KeyError for an unknown one."""
        return self._served[model].backend

    def execute(self, request: ExecutionRequest) -> Result[ExecutionResult]:
        """Return the outputs of one call of one model.

        In the caller's own thread where an instance is free and the request has no deadline; else from the model's
        queue. NOT_FOUND for an unknown model; INVALID_ARGUMENT where the request names none and there are several;
        RESOURCE_EXHAUSTED where its queue is full; DEADLINE_EXCEEDED at the deadline, even while the engine still runs
        (what it answers later is dropped); NOT_LOADED after `close()`; FAILED_PRECONDITION in a process that was forked
        after the deployment; else as `RuntimeBackend.execute`.
        """
        served = self._served_by(request)
        return served.execute(request) if isinstance(served, ServedModel) else served

    def submit(self, request: ExecutionRequest) -> Future[Result[ExecutionResult]]:
        """Return the future of a request's answer; every error is in the answer, as `execute` has them.

        `cancel()` holds while the request waits; `result()` then raises CancelledError, as of any future. Callbacks run
        in a worker's thread, and keep it from the next request: one may submit others, and must not wait for them. Of a
        request whose deadline passed they run in the thread that watches all deadlines, and hold up the others'.
        Waits only where the queue is full and its `when_full` is `wait`, and not in a callback, which is answered
        RESOURCE_EXHAUSTED there: the room would be its own thread's to make.
        """
        served = self._served_by(request)
        return served.submit(request) if isinstance(served, ServedModel) else _done(served)

    async def execute_async(self, request: ExecutionRequest) -> Result[ExecutionResult]:
        """Return the answer of a request without blocking the event loop; cancelling the task cancels the request."""
        served = self._served_by(request)
        if isinstance(served, Err):
            return served
        return await served.execute_async(request)

    def metrics(self) -> dict[str, ModelMetrics]:
        """Return what each model has counted since it was deployed, by its name."""
        return {name: served.metrics() for name, served in self._served.items()}

    def close(self) -> Result[None]:
        """Return Ok when every request is answered, every worker thread has ended and every model is unloaded.

        Each model's `queue` options say whether its waiting requests are run or answered CANCELLED, and how long that
        may take; DEADLINE_EXCEEDED where an engine, or a callback, had not come back by then. It may be called again,
        and from a callback of a request, where it does not wait for the threads, of which its own is one.
        """
        if self._is_copy:
            return Ok(None)
        since_ns, models = perf_counter_ns(), self._served.values()
        join = not self._watch.is_here() and not any(served.is_here() for served in models)
        for served in models:
            served.stop()
        closed = [served.close(since_ns, join=join) for served in models]
        close_by_ns = max((served.close_by_ns(since_ns) for served in models), default=since_ns)
        if not self._watch.close(wait_s(close_by_ns) if join else 0) and join:
            closed.append(_CALLBACK_RUNS)
        return next((error for error in closed if isinstance(error, Err)), Ok(None))

    def __repr__(self) -> str:
        models = (f"{node.model} on {node.backend}, {node.device}" for node in self._graph.models)
        return f"<ExecutionContext: {'; '.join(models)}>"

    def __enter__(self) -> ExecutionContext:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _served_by(self, request: ExecutionRequest) -> ServedModel | Err:
        if not isinstance(request, ExecutionRequest):
            return not_a_request(request)
        name = request.model
        try:
            served = self._only if name is None else self._reached.get(name)
        except TypeError:
            message = f"`model` of the request is a {type(name).__name__}, not the name of a model"
            return Err(Error(ErrorCode.INVALID_ARGUMENT, message, "give it as text"))
        return served or self._no_model(name)

    @property
    def _is_copy(self) -> bool:
        return self._reached is not self._served

    def _become_copy(self) -> None:
        """Take no more requests, in a child; no lock is touched, since a thread that is not here may hold it."""
        self._reached, self._only = {}, None

    def _no_model(self, name: str | None) -> Err:
        if self._is_copy:
            message = "this deployment is of the process that this one was forked from"
            return Err(Error(ErrorCode.FAILED_PRECONDITION, message, "call `deploy` after the fork, in each process"))
        known = list(self._served)
        if name is not None:
            hint = suggest(str(name), known, "models")
            return Err(Error(ErrorCode.NOT_FOUND, f"`{name}` is not a model of this deployment", hint))
        if not known:
            return Err(
                Error(ErrorCode.NOT_FOUND, "this deployment has no models", "add one with `+models.NAME.path=...`")
            )
        message = "the request names no model, and this deployment has several"
        return Err(Error(ErrorCode.INVALID_ARGUMENT, message, f"set `model` to one of {', '.join(known)}"))


_CALLBACK_RUNS = Err(
    Error(
        ErrorCode.DEADLINE_EXCEEDED,
        "a callback of a request whose deadline passed still runs",
        "the models are unloaded; a callback must not wait for who closes the deployment",
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
