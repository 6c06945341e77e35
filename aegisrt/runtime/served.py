"""`ServedModel`: one model of a deployment, its backend, its queue and the workers of its instances."""

from __future__ import annotations

import sys
import threading
from concurrent.futures import Future
from time import perf_counter_ns
from typing import Any, TypeAlias

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.core.deadline import deadline_ns, left_s
from aegisrt.core.priority import priority_level
from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result, ResultError
from aegisrt.manifest.queueing import BatchingOptions
from aegisrt.manifest.schema import ModelOptions
from aegisrt.runtime.metrics import OK, ModelMetrics, Recorder
from aegisrt.runtime.scheduling.batch import batch_key, count_rows, equal_rows, refuse_oversized
from aegisrt.runtime.scheduling.batch_rule import BatchRule
from aegisrt.runtime.scheduling.batch_worker import BatchWorker
from aegisrt.runtime.scheduling.deadlines import DeadlineWatch
from aegisrt.runtime.scheduling.pending import Answers, Pending
from aegisrt.runtime.scheduling.queue import Put, RequestQueue
from aegisrt.runtime.scheduling.threads import WorkerThreads
from aegisrt.runtime.scheduling.worker import LATE_IN_ENGINE, LATE_IN_QUEUE, Worker

Answer: TypeAlias = Result[ExecutionResult]
_MOMENT_S = 1.0
_BROKEN_OFF = Err(Error(ErrorCode.INTERNAL, "the call was broken off"))


class ServedModel:
    """Runs requests on the instances of one model. Thread-safe.

    A synchronous `execute` without a deadline runs in the caller's own thread while an instance is free and nobody
    waits; every other request goes through the queue to a worker. The locks are the queue's (queue.py), each future's
    own and the counts' (metrics.py), never two at once; that of the workers is held only while they are started.
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
        self._answers = Answers(self._withdraw)
        self._workers = WorkerThreads(name, backend.instances, self._worker().work)
        self._timeout_ms = options.queue.default_timeout_ms
        self._is_plain = self._batching is None and self._timeout_ms is None
        """Whether a request that asks for nothing special needs nothing done before it is queued."""
        self._waits_for_room = options.queue.when_full == "wait"

    # -- requests -------------------------------------------------------------------------------------------------

    def execute(self, request: ExecutionRequest) -> Answer:
        """Return the answer of one request; on time, where it has a deadline, whatever the engine does."""
        if request.timeout_ms is None and self._timeout_ms is None:
            held = [False]
            try:
                if self._queue.enter(held):
                    return self._run_here(request, held)
            except BaseException:
                self._queue.leave(held)  # where the interrupt came before `_run_here` could
                raise
        pending = self._checked(request)
        try:
            if pending.stage == "new":
                self._enqueue(pending, watched=False)
            if pending.deadline_ns is not None:
                return self._wait(pending, pending.deadline_ns)
            return pending.result()
        except BaseException:
            pending.cancel()
            raise

    def submit(self, request: ExecutionRequest) -> Future[Answer]:
        """Return the future of a request's answer; never raises."""
        pending = self._checked(request)
        if pending.stage == "done":
            return pending
        if pending.deadline_ns is not None or not self._workers.threads:
            self._enqueue(pending, watched=True)
        else:
            self._put(pending)
        return pending

    async def execute_async(self, request: ExecutionRequest) -> Answer:
        """Return the answer without blocking the event loop, also where the queue is full and `when_full` is `wait`."""
        import asyncio

        pending = self._checked(request)
        try:
            if pending.stage == "done":
                return pending.result()
            self._make_ready(pending, watched=True)
            put = self._queue.put(pending, wait=False)
            if put == "full" and self._waits_for_room:
                asyncio.get_running_loop().run_in_executor(None, self._put, pending)
            else:
                self._turn_away(pending, put)
            return await asyncio.wrap_future(pending)
        except asyncio.CancelledError:
            pending.cancel()
            raise

    def _run_here(self, request: ExecutionRequest, held: list[bool]) -> Answer:
        result: Answer = _BROKEN_OFF
        try:
            if self._batching is not None:
                self._refuse_rows(request, self._batching)
            result = self.backend.execute(request)
            return result
        except ResultError as failure:
            result = Err(failure.error)
            return result
        finally:
            self._queue.leave(held)
            if type(result) is Ok:
                self._recorder.ran(result.value.timings)
            else:
                self._recorder.answered(result.unwrap_err().code)

    def _wait(self, pending: Pending, deadline: int) -> Answer:
        try:
            return pending.result(left_s(deadline))
        except TimeoutError:
            self.expire(pending)
            return pending.result()

    def _checked(self, request: ExecutionRequest) -> Pending:
        """Return the request with its deadline, and with what its batch needs; done already where it is refused."""
        pending = Pending(request, perf_counter_ns(), self._answers)
        if request.timeout_ms is not None or request.priority != "normal" or not self._is_plain:
            try:
                self._prepare(pending, request)
            except ResultError as failure:
                pending.stage = "done"
                self.answer(pending, Err(failure.error))
        return pending

    def _prepare(self, pending: Pending, request: ExecutionRequest) -> None:
        pending.level = priority_level(request.priority)
        timeout_ms = self._timeout_ms if request.timeout_ms is None else request.timeout_ms
        if timeout_ms is not None:
            pending.deadline_ns = deadline_ns(timeout_ms, pending.entered_ns)
        if self._batching is not None:
            self._prepare_batch(pending, self._batching)

    def _prepare_batch(self, pending: Pending, batching: BatchingOptions) -> None:
        inputs = self.backend.check(pending.request).unwrap()
        rows = equal_rows(inputs)
        refuse_oversized(rows, batching)
        pending.rows, pending.inputs = rows, inputs
        pending.key = batch_key(inputs, pending.request)

    def _refuse_rows(self, request: ExecutionRequest, batching: BatchingOptions) -> None:
        """Refuse what `_prepare_batch` does; the inputs are checked here only where their rows are unclear."""
        try:
            rows = count_rows(request.inputs)
        except (AttributeError, TypeError):
            rows = None
        if rows is None:
            rows = equal_rows(self.backend.check(request).unwrap())
        refuse_oversized(rows, batching)

    def _enqueue(self, pending: Pending, *, watched: bool) -> None:
        self._make_ready(pending, watched=watched)
        self._put(pending)

    def _make_ready(self, pending: Pending, *, watched: bool) -> None:
        try:
            if watched and pending.deadline_ns is not None:
                self.watch.add(pending, self.expire)
            if not self._workers.threads:
                self._workers.start()
        except RuntimeError as error:
            self._end_unstarted(pending, error)

    def _end_unstarted(self, pending: Pending, error: RuntimeError) -> None:
        if self._queue.claim(pending, also_running=False) is not None:
            message = f"model `{self.name}` could not start a thread: {error}"
            hint = "allow more threads (`ulimit -u`, or the container's limit), or send it again"
            self.answer(pending, Err(Error(ErrorCode.RESOURCE_EXHAUSTED, message, hint)))

    def _put(self, pending: Pending) -> None:
        put = self._queue.put(pending, wait=self._waits_for_room and not self._is_callback())
        if put != "queued":
            self._turn_away(pending, put)

    def _is_callback(self) -> bool:
        """Return whether the caller is in a callback: in its thread it would wait for room that is its own to make."""
        return self.is_here() or self.watch.is_here()

    def _turn_away(self, pending: Pending, put: Put) -> None:
        if put == "closed":
            self.answer(pending, self._closed_error())
        elif put == "full" and pending.expired():
            self.expire(pending)
        elif put == "full" and self._queue.claim(pending, also_running=False) is not None:
            message = f"model `{self.name}` has {self._options.queue.max_queue_size} requests waiting already"
            hint = f"try again later, or raise `models.{self.name}.queue.max_queue_size`"
            self.answer(pending, Err(Error(ErrorCode.RESOURCE_EXHAUSTED, message, hint)))

    # -- answers --------------------------------------------------------------------------------------------------

    def answer(self, pending: Pending, result: Answer) -> None:
        """End a request that is the caller's to end, and count it."""
        self._recorder.answered(OK if type(result) is Ok else result.unwrap_err().code)
        pending.set_result(result)

    def expire(self, pending: Pending) -> None:
        """Answer DEADLINE_EXCEEDED, unless the request has ended."""
        stage = self._queue.claim(pending, also_running=True)
        if stage is not None:
            self.answer(pending, LATE_IN_ENGINE if stage == "running" else LATE_IN_QUEUE)

    def _withdraw(self, pending: Pending) -> bool:
        """Take a waiting request out for its holder's `cancel`, and count it."""
        if self._queue.claim(pending, also_running=False) is None:
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

    def _worker(self) -> Worker:
        if self._batching is None:
            return Worker(self._queue, self.backend, self._recorder)
        return BatchWorker(self._queue, self.backend, self._recorder, self._batching)

    def stop(self) -> None:
        """Take no more requests, and let go of those that wait where the manifest says so; waits for nothing."""
        self._queue.close()
        self._workers.stop()  # not before: a request that the queue still took would find no worker
        if self._options.queue.on_close == "cancel":
            self._cancel_waiting()

    def is_here(self) -> bool:
        """Return whether the caller is one of the model's workers, which runs a callback."""
        return self._workers.is_here()

    def close_by_ns(self, since_ns: int) -> int:
        """Return when a `close` that began at `since_ns` is to be over."""
        return since_ns + int(self._options.queue.close_timeout_ms * 1e6)

    def close(self, since_ns: int, *, join: bool = True) -> Result[None]:
        """Return Ok when every request is answered, every worker has ended and the model is unloaded.

        DEADLINE_EXCEEDED where calls still run after `close_timeout_ms`: their requests are answered CANCELLED, and the
        model is unloaded when the engine comes back; and where a callback still runs then. The time counts from
        `since_ns`. `join=False` is for a thread that such a `close` may wait for: it does not wait for the workers.
        """
        self.stop()
        timeout_ms = self._options.queue.close_timeout_ms
        if not self._queue.wait_ended(self.close_by_ns(since_ns)):
            self._cancel_waiting()
            for pending in self._queue.running():
                if self._queue.claim(pending, also_running=True):
                    self.answer(pending, _cancelled("the deployment was closed while the engine ran"))
            if self._queue.load()[0]:
                threading.Thread(target=self._unload_later, name=f"aegisrt-unload-{self.name}", daemon=True).start()
                message = f"model `{self.name}` still runs a call after {timeout_ms:g} ms"
                hint = "it is unloaded when the call ends; nothing more needs to be done"
                return Err(Error(ErrorCode.DEADLINE_EXCEEDED, message, hint))
        unloaded = self.backend.unload()
        if not join or self.is_here() or self._workers.end(wait_s(self.close_by_ns(since_ns))):
            return unloaded
        message = f"a callback of a request of model `{self.name}` still runs after {timeout_ms:g} ms"
        hint = "the model is unloaded; a callback must not wait for who closes the deployment"
        return Err(Error(ErrorCode.DEADLINE_EXCEEDED, message, hint))

    def _unload_later(self) -> None:
        self._queue.wait_ended(sys.maxsize)
        self.backend.unload()

    def _cancel_waiting(self) -> None:
        for pending in self._queue.claim_waiting():
            self.answer(pending, _cancelled("the deployment was closed before the request started"))

    def _closed_error(self) -> Err:
        message = f"model `{self.name}` is unloaded: its deployment is closed"
        return Err(Error(ErrorCode.NOT_LOADED, message, "deploy the manifest again"))


def wait_s(close_by_ns: int) -> float:
    """Return how long a `close` waits for threads that have nothing more to do but to end, and perhaps a callback."""
    return max(left_s(close_by_ns), _MOMENT_S)


def _cancelled(message: str) -> Err:
    return Err(Error(ErrorCode.CANCELLED, message))
