"""`ServedModel`: one model of a deployment, its backend, its queue and the workers of its instances."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from time import perf_counter_ns
from typing import Any, TypeAlias

from aegisrt.backends.base import RuntimeBackend
from aegisrt.core.deadline import deadline_ns, late
from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result, ResultError, fail
from aegisrt.core.tensor import did_you_mean
from aegisrt.manifest.schema import ModelOptions
from aegisrt.runtime.batch import batch_key, count_rows, refuse_oversized
from aegisrt.runtime.deadlines import DeadlineWatch
from aegisrt.runtime.forming import BatchRule
from aegisrt.runtime.metrics import OK, ModelMetrics, Recorder
from aegisrt.runtime.pending import PRIORITIES, Pending
from aegisrt.runtime.queue import RequestQueue
from aegisrt.runtime.worker import Worker

Answer: TypeAlias = Result[ExecutionResult]
_FAILED = Err(Error(ErrorCode.INTERNAL, "the call was broken off"))


class ServedModel:
    """Runs requests on the instances of one model. Thread-safe.

    A synchronous `execute` without a deadline runs in the caller's own thread while an instance is free and nobody
    waits; every other request goes through the queue to a worker. Three locks, never two at once save the second within
    the first: the queue's (queue.py), a future's own, and the counts' (metrics.py). `_starting` is held only while
    threads start and end.
    """

    def __init__(
        self, name: str, backend: RuntimeBackend[Any], options: ModelOptions, watch: DeadlineWatch | None = None
    ) -> None:
        self.name = name
        self.backend = backend
        self._options = options
        self._batching = options.batching
        self.watch = watch or DeadlineWatch()
        self._recorder = Recorder()
        self._queue = RequestQueue(backend.instances, options.queue.max_queue_size, BatchRule.of(options.batching))
        self._starting = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._timeout_ms = options.queue.default_timeout_ms

    # -- requests -------------------------------------------------------------------------------------------------

    def execute(self, request: ExecutionRequest) -> Answer:
        """Return the answer of one request; on time, where it has a deadline, whatever the engine does."""
        if request.timeout_ms is None and self._timeout_ms is None and self._queue.enter():
            return self._run_here(request)
        pending = self._pend(request, watched=False)
        try:
            if pending.deadline_ns is not None:
                return self._wait(pending, pending.deadline_ns)
            return pending.result()
        except BaseException:
            pending.cancel()
            raise

    def submit(self, request: ExecutionRequest) -> Future[Answer]:
        """Return the future of a request's answer; never raises."""
        return self._pend(request, watched=True)

    async def execute_async(self, request: ExecutionRequest) -> Answer:
        """Return the answer without blocking the event loop, also where the queue is full and `when_full` is `wait`."""
        pending = self._checked(request)
        try:
            if pending.done():
                return pending.result()
            if self._options.queue.when_full == "wait":
                await asyncio.to_thread(self._enqueue, pending, watched=True)
            else:
                self._enqueue(pending, watched=True)
            return await asyncio.wrap_future(pending)
        except asyncio.CancelledError:
            pending.cancel()
            raise

    def _run_here(self, request: ExecutionRequest) -> Answer:
        result: Answer = _FAILED
        try:
            refused = None if self._batching is None else self._refuse_rows(request)
            result = refused or self.backend.execute(request)
            return result
        finally:
            self._queue.leave()
            if type(result) is Ok:
                self._recorder.ran(result.value.timings)
            else:
                self._recorder.answered(result.unwrap_err().code)

    def _wait(self, pending: Pending, deadline: int) -> Answer:
        try:
            return pending.result(max(0, deadline - perf_counter_ns()) / 1e9)
        except TimeoutError:
            self.expire(pending)
            return pending.result()

    def _pend(self, request: ExecutionRequest, *, watched: bool) -> Pending:
        pending = self._checked(request)
        if not pending.done():
            self._enqueue(pending, watched=watched)
        return pending

    def _checked(self, request: ExecutionRequest) -> Pending:
        """Return the request with its deadline, and with what its batch needs; done already where it is refused."""
        entered = perf_counter_ns()
        pending = Pending(request, entered, None)
        pending.withdraw = self._withdraw
        timeout_ms = self._timeout_ms if request.timeout_ms is None else request.timeout_ms
        refused: Err | None = None
        try:
            pending.level = _level(request.priority)
            pending.deadline_ns = None if timeout_ms is None else deadline_ns(timeout_ms, entered)
            refused = None if self._batching is None else self._prepare_batch(pending)
        except ResultError as failure:
            refused = Err(failure.error)
        if refused is not None:
            self.answer(pending, refused)
        return pending

    def _prepare_batch(self, pending: Pending) -> Err | None:
        assert self._batching is not None
        checked = self.backend.check(pending.request)
        if isinstance(checked, Err):
            return checked
        rows = count_rows(checked.value)
        if rows is None:
            message = "the inputs of a request must have equally many rows, and these do not"
            return Err(Error(ErrorCode.INVALID_ARGUMENT, message, "the first dimension of each input is the batch"))
        pending.rows, pending.inputs = rows, checked.value
        pending.key = batch_key(checked.value, pending.request)
        return refuse_oversized(rows, self._batching)

    def _refuse_rows(self, request: ExecutionRequest) -> Err | None:
        assert self._batching is not None
        try:
            rows = count_rows(request.inputs)
        except (AttributeError, TypeError):
            return None
        return None if rows is None else refuse_oversized(rows, self._batching)

    def _enqueue(self, pending: Pending, *, watched: bool) -> None:
        if watched and pending.deadline_ns is not None:
            self.watch.add(pending, self.expire)
        self._start_workers()
        match self._queue.put(pending, wait=self._options.queue.when_full == "wait"):
            case "closed":
                self.answer(pending, self.closed_error())
            case "full" if pending.expired():
                self.expire(pending)
            case "full":
                message = f"model `{self.name}` has {self._options.queue.max_queue_size} requests waiting already"
                hint = f"try again later, or raise `models.{self.name}.queue.max_queue_size`"
                self.answer(pending, Err(Error(ErrorCode.RESOURCE_EXHAUSTED, message, hint)))

    # -- answers --------------------------------------------------------------------------------------------------

    def answer(self, pending: Pending, result: Answer) -> None:
        """Settle a request and count it; a second answer is dropped and not counted."""
        if pending.settle(result):
            self._recorder.answered(OK if isinstance(result, Ok) else result.error.code)

    def expire(self, pending: Pending) -> None:
        """Answer DEADLINE_EXCEEDED, wherever the request is."""
        waited = self._queue.withdraw(pending)
        hint = "allow a longer timeout_ms, or declare more `instances`" if waited else "allow a longer timeout_ms"
        where = "while the request waited for a free instance" if waited else "while the engine ran"
        self.answer(pending, late(where, hint))

    def _withdraw(self, pending: Pending) -> bool:
        """Take a request out for its holder's `cancel`, and count it."""
        if not self._queue.withdraw(pending):
            return False
        self._recorder.answered(ErrorCode.CANCELLED)
        return True

    def metrics(self) -> ModelMetrics:
        """Return all counts of this moment."""
        memory = self.backend.memory()
        busy, queued = self._queue.load()
        held = memory.value if isinstance(memory, Ok) else None
        return self._recorder.snapshot(self.backend.instances, busy, queued, held)

    # -- life -----------------------------------------------------------------------------------------------------

    def _start_workers(self) -> None:
        if self._threads:
            return
        with self._starting:
            if self._threads or self._closed:
                return
            worker = Worker(self._queue, self.backend, self._batching, self._recorder, self.answer, self.expire)
            for index in range(self.backend.instances):
                name = f"aegisrt-{self.name}-{index}"
                self._threads.append(threading.Thread(target=worker.work, name=name, daemon=True))
            for thread in self._threads:
                thread.start()

    def stop(self) -> None:
        """Take no more requests, and let go of those that wait where the manifest says so; waits for nothing."""
        self._closed = True
        self._queue.close()
        if self._options.queue.on_close == "cancel":
            self._cancel_waiting()

    def close(self, since_ns: int) -> Result[None]:
        """Return Ok when every request is answered, every worker has ended and the model is unloaded.

        DEADLINE_EXCEEDED where calls still run after `close_timeout_ms`: their requests are answered CANCELLED, and the
        model is unloaded when the engine comes back. The time counts from `since_ns`.
        """
        self.stop()
        timeout_ms = self._options.queue.close_timeout_ms
        if not self._queue.wait_ended(since_ns + int(timeout_ms * 1e6)):
            self._cancel_waiting()
            for pending in self._queue.running():
                self.answer(pending, _cancelled("the deployment was closed while the engine ran"))
            if self._queue.load()[0]:
                threading.Thread(target=self._finish, name=f"aegisrt-unload-{self.name}", daemon=True).start()
                message = f"model `{self.name}` still runs a call after {timeout_ms:g} ms"
                hint = "it is unloaded when the call ends; nothing more needs to be done"
                return Err(Error(ErrorCode.DEADLINE_EXCEEDED, message, hint))
        return self._finish()

    def _finish(self) -> Result[None]:
        with self._starting:
            threads, self._threads = self._threads, []
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()
        return self.backend.unload()

    def _cancel_waiting(self) -> None:
        for pending in self._queue.withdraw_all():
            self.answer(pending, _cancelled("the deployment was closed before the request started"))

    def closed_error(self) -> Err:
        """Return NOT_LOADED: the deployment is closed."""
        message = f"model `{self.name}` is unloaded: its deployment is closed"
        return Err(Error(ErrorCode.NOT_LOADED, message, "deploy the manifest again"))


def _cancelled(message: str) -> Err:
    return Err(Error(ErrorCode.CANCELLED, message))


def _level(priority: str) -> int:
    try:
        return PRIORITIES.index(priority)
    except ValueError:
        hint = did_you_mean(str(priority), PRIORITIES, "priorities")
        raise fail(ErrorCode.INVALID_ARGUMENT, f"`{priority}` is not a priority", hint) from None
