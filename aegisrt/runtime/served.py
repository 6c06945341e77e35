"""`ServedModel`: one model of a deployment: its backend, its queue and the workers of its instances."""

from __future__ import annotations

from concurrent.futures import Future
from time import perf_counter_ns
from typing import Any

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.core.deadline import left_s
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result, ResultError
from aegisrt.manifest.schema import ModelOptions
from aegisrt.runtime.closing import Closing
from aegisrt.runtime.metrics import OK, ModelMetrics, Recorder
from aegisrt.runtime.scheduling.admission import Admission
from aegisrt.runtime.scheduling.batch_rule import ALONE, BatchRule
from aegisrt.runtime.scheduling.batch_switch import BatchSwitch
from aegisrt.runtime.scheduling.batch_worker import BatchWorker
from aegisrt.runtime.scheduling.deadlines import DeadlineWatch
from aegisrt.runtime.scheduling.pending import Answers, Pending
from aegisrt.runtime.scheduling.queue import Put, RequestQueue
from aegisrt.runtime.scheduling.threads import WorkerThreads
from aegisrt.runtime.scheduling.worker import LATE_IN_ENGINE, LATE_IN_QUEUE, Answer, Worker

_BROKEN_OFF = Err(Error(ErrorCode.INTERNAL, "the call was interrupted"))


class ServedModel:
    """Runs requests on the instances of one model. Thread-safe.

    A synchronous `execute` without a deadline runs in the caller's own thread if an instance is free and no request
    waits; every other request goes through the queue to a worker. The locks are the queue's (queue.py), each future's
    own and that of the counts (metrics.py), never two at once; that of the workers is held only while they start.
    """

    def __init__(
        self,
        name: str,
        backend: RuntimeBackend[Any],
        options: ModelOptions,
        watch: DeadlineWatch | None = None,
        *,
        unbatched: str | None = None,
    ) -> None:
        """`unbatched` is why a model with batching options must not batch; None if it may."""
        self.name = name
        self.backend = backend
        self._options = options
        self.watch = watch or DeadlineWatch()
        self._recorder = Recorder()
        rule = BatchRule.of(options.batching) if unbatched is None else ALONE
        self._queue = RequestQueue(backend.instances, options.queue.max_queue_size, rule)
        self._switch = BatchSwitch(name, unbatched)
        self._answers = Answers(self._withdraw)
        self._batches: BatchWorker | None = None
        """The worker of a model with batching options."""
        if options.batching is not None:
            self._batches = BatchWorker(self._queue, backend, self._recorder, options.batching, self._switch)
        worker = self._batches or Worker(self._queue, backend, self._recorder)
        self._workers = WorkerThreads(name, backend.instances, worker.work)
        self._admission = Admission(backend, options)
        self._waits_for_room = options.queue.when_full == "wait"
        self._closing = Closing(name, backend, options.queue, self._queue, self._workers, self.answer)

    def execute(self, request: ExecutionRequest) -> Answer:
        """Return the answer of one request, at its deadline at the latest."""
        if request.timeout_ms is None and self._admission.timeout_ms is None:
            held = [False]
            try:
                if self._queue.enter(held):
                    return self._run_here(request, held)
            except BaseException:
                self._queue.leave(held)  # if the interrupt came before `_run_here` could
                raise
        pending = self._admitted(request)
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
        pending = self._admitted(request)
        if pending.stage == "done":
            return pending
        if pending.deadline_ns is not None or not self._workers.threads:
            self._enqueue(pending, watched=True)
        else:
            self._put(pending)
        return pending

    async def execute_async(self, request: ExecutionRequest) -> Answer:
        """Return the answer without blocking the event loop, even if the queue is full and `when_full` is `wait`."""
        import asyncio

        pending = self._admitted(request)
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
            if self._batches is None:
                result = self.backend.execute(request)
                return result
            rows = self._admission.check_rows(request)
            result = self.backend.execute(request)
            if type(result) is Ok:
                self._batches.check_rows(result.value.outputs, rows)
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

    def _admitted(self, request: ExecutionRequest) -> Pending:
        """Return the request ready to wait; answered already if it is refused."""
        pending = Pending(request, perf_counter_ns(), self._answers)
        if not self._admission.is_trivial(request):
            try:
                self._admission.prepare(pending)
            except ResultError as failure:
                pending.stage = "done"
                self.answer(pending, Err(failure.error))
        return pending

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
            if self._queue.claim(pending, also_running=False) is not None:
                message = f"model `{self.name}` could not start a thread: {error}"
                hint = "allow more threads (`ulimit -u`, or the container's limit), or send it again"
                self.answer(pending, Err(Error(ErrorCode.RESOURCE_EXHAUSTED, message, hint)))

    def _put(self, pending: Pending) -> None:
        put = self._queue.put(pending, wait=self._waits_for_room and not self._is_callback())
        if put != "queued":
            self._turn_away(pending, put)

    def _is_callback(self) -> bool:
        """Return whether the caller is a callback: waiting for room, it would wait for its own thread to make it."""
        return self.is_here() or self.watch.is_here()

    def _turn_away(self, pending: Pending, put: Put) -> None:
        if put == "closed":
            message = f"model `{self.name}` is unloaded: its deployment is closed"
            self.answer(pending, Err(Error(ErrorCode.NOT_LOADED, message, "deploy the manifest again")))
        elif put == "full" and pending.expired():
            self.expire(pending)
        elif put == "full" and self._queue.claim(pending, also_running=False) is not None:
            message = f"model `{self.name}` has {self._options.queue.max_queue_size} requests waiting already"
            hint = f"try again later, or raise `models.{self.name}.queue.max_queue_size`"
            self.answer(pending, Err(Error(ErrorCode.RESOURCE_EXHAUSTED, message, hint)))

    def answer(self, pending: Pending, result: Answer) -> None:
        """Answer a request that the caller has claimed, and count it."""
        self._recorder.answered(OK if type(result) is Ok else result.unwrap_err().code)
        pending.set_result(result)

    def expire(self, pending: Pending) -> None:
        """Answer DEADLINE_EXCEEDED, unless the request has ended."""
        stage = self._queue.claim(pending, also_running=True)
        if stage is not None:
            self.answer(pending, LATE_IN_ENGINE if stage == "running" else LATE_IN_QUEUE)

    def _withdraw(self, pending: Pending) -> bool:
        """Remove a waiting request for its holder's `cancel`, and count it."""
        if self._queue.claim(pending, also_running=False) is None:
            return False
        self._recorder.answered(ErrorCode.CANCELLED)
        return True

    def metrics(self) -> ModelMetrics:
        """Return all counts of this moment."""
        memory = self.backend.memory()
        busy, queued = self._queue.load()
        held = memory.value if isinstance(memory, Ok) else None
        batches = None if self._options.batching is None else self._switch.off is None
        return self._recorder.snapshot(self.backend.instances, busy, queued, held, batches)

    @property
    def batching(self) -> str | None:
        """`on`, or `off` and why; None for a model without batching options."""
        if self._options.batching is None:
            return None
        return "on" if self._switch.off is None else f"off: {self._switch.off}"

    def is_here(self) -> bool:
        """Return whether the caller is a callback that runs in one of the model's workers."""
        return self._workers.is_here()

    def stop(self) -> None:
        """Accept no more requests, and cancel waiting ones if `on_close` is `cancel`; do not block."""
        self._closing.stop()

    def close_by_ns(self, since_ns: int) -> int:
        """Return when a `close` that began at `since_ns` must be over."""
        return self._closing.close_by_ns(since_ns)

    def close(self, since_ns: int, *, join: bool = True) -> Result[None]:
        """Unload the model, once every request is answered and every worker has ended.

        The time counts from `since_ns`. `join=False` does not wait for the workers: it is for a thread that another
        `close` may wait for.

        DEADLINE_EXCEEDED: if calls still run after `close_timeout_ms`: their requests are answered CANCELLED, and the
        model is unloaded when the engine's calls end. Also if a callback still runs then.
        """
        return self._closing.close(since_ns, join=join)
