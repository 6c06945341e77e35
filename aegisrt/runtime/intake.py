"""`Intake`: takes the requests of one model, runs them or queues them, and answers them."""

from __future__ import annotations

from concurrent.futures import Future
from time import perf_counter_ns
from typing import Any

from aegisrt.backends.base.call import Call
from aegisrt.core.deadline import left_s
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import Err, Error, ErrorCode, Ok, ResultError
from aegisrt.runtime.executable import Answer, Done
from aegisrt.runtime.parts import ModelParts
from aegisrt.runtime.scheduling.admission import Admission
from aegisrt.runtime.scheduling.pending import Answers, Pending, Queued
from aegisrt.runtime.scheduling.posted import PostedRequest
from aegisrt.runtime.scheduling.queue import Put


class Intake:
    """A model as an `Executable`. Thread-safe.

    Every request is checked here, once, in the caller's thread. A synchronous `execute` without a deadline then runs in
    that thread too if an instance is free and no request waits; every other request goes through the queue to a worker.
    """

    def __init__(self, parts: ModelParts) -> None:
        self._name = parts.name
        self._backend = parts.backend
        self._queue = parts.queue
        self._recorder = parts.recorder
        self._settler = parts.settler
        self._workers = parts.workers
        self._watch = parts.watch
        self._batches = parts.batches
        self._options = parts.options.queue
        self._timeout_ms = parts.options.queue.default_timeout_ms
        self._never_here = parts.backend.overrides_execute
        self._admission = Admission(parts.backend, parts.options)
        self._answers = Answers(parts.settler.withdraw)

    @property
    def is_idle(self) -> bool:
        """As `Executable.is_idle`."""
        return self._queue.is_idle and not self._never_here

    @property
    def mean_call_ns(self) -> float | None:
        """As `Executable.mean_call_ns`."""
        return self._recorder.mean_call_ns

    def execute(self, request: ExecutionRequest) -> Answer:
        """Return the answer of one request, at its deadline at the latest."""
        try:
            call = self._backend.prepare_call(request, perf_counter_ns(), self._timeout_ms)
            if call.deadline_ns is None:
                answer = self._run_here(call)
                if answer is not None:
                    return answer
        except ResultError as refused:
            return self._refused(refused.error, request)
        return self._wait_for(call)

    def execute_if_idle(self, request: ExecutionRequest) -> Answer | None:
        """As `Executable.execute_if_idle`."""
        try:
            return self._run_here(self._backend.prepare_call(request, perf_counter_ns(), self._timeout_ms))
        except ResultError as refused:
            return self._refused(refused.error, request)

    def submit(self, request: ExecutionRequest) -> Future[Answer]:
        """Return the future of a request's answer; never raises."""
        pending = Pending(request, perf_counter_ns(), self._answers)
        if self._admit(pending):
            self._enqueue(pending, watched=True)
        return pending

    def post(self, request: ExecutionRequest, done: Done) -> PostedRequest:
        """As `Executable.post`."""
        posted = PostedRequest(request, perf_counter_ns(), done, self._settler.withdraw)
        if self._admit(posted):
            self._make_ready(posted, watched=True)
            self._turn_away(posted, self._queue.put(posted, wait=False))
        return posted

    async def execute_async(self, request: ExecutionRequest) -> Answer:
        """Return the answer without blocking the event loop, even if the queue is full and `when_full` is `wait`."""
        import asyncio

        pending = Pending(request, perf_counter_ns(), self._answers)
        try:
            if not self._admit(pending):
                return pending.result()
            self._make_ready(pending, watched=True)
            put = self._queue.put(pending, wait=False)
            if put == "full" and self._options.when_full == "wait":
                asyncio.get_running_loop().run_in_executor(None, self._put, pending)
            else:
                self._turn_away(pending, put)
            return await asyncio.wrap_future(pending)
        except asyncio.CancelledError:
            pending.cancel()
            raise

    def _run_here(self, call: Call[Any, Any]) -> Answer | None:
        """Return the answer of a call in this thread; None if no instance is free, or if requests wait.

        Raise `ResultError` if its number of rows is wrong.
        """
        batches = self._batches
        rows = 1 if batches is None else self._admission.rows(call)
        try:
            if self._never_here or not self._queue.enter(call):
                return None
            try:
                answer = self._backend.run_in_slot(call)
            finally:
                self._queue.leave(call)
        except BaseException:
            self._queue.leave(call)  # if an interrupt came before the other `leave`, or in it
            self._recorder.answered(ErrorCode.INTERNAL)
            raise
        if type(answer) is Ok:
            if batches is not None:
                batches.check_rows(answer.value.outputs, rows)
                self._recorder.ran_rows(rows)
            self._recorder.ran(call.moments)
        else:
            self._recorder.failed(answer.unwrap_err(), call.request)
        return answer

    def _wait_for(self, call: Call[Any, Any]) -> Answer:
        """Return the answer of a call that goes through the queue, at its deadline at the latest."""
        pending = Pending(call.request, call.entered_ns, self._answers)
        try:
            if self._admitted(pending, call):
                self._enqueue(pending, watched=False)
            if pending.deadline_ns is None:
                return pending.result()
            try:
                return pending.result(left_s(pending.deadline_ns))
            except TimeoutError:
                self._settler.expire(pending)
                return pending.result()
        except BaseException:
            pending.cancel()
            raise

    def _admit(self, pending: Queued) -> bool:
        """Check a request, and make it ready to wait; answer it, and return False, if it is refused."""
        try:
            call = self._backend.prepare_call(pending.request, pending.entered_ns, self._timeout_ms)
        except ResultError as refused:
            self._settler.refuse(pending, refused.error)
            return False
        return self._admitted(pending, call)

    def _admitted(self, pending: Queued, call: Call[Any, Any]) -> bool:
        try:
            self._admission.admit(pending, call)
        except ResultError as refused:
            self._settler.refuse(pending, refused.error)
            return False
        return True

    def _refused(self, error: Error, request: ExecutionRequest) -> Err:
        self._recorder.failed(error, request)
        return Err(error)

    def _enqueue(self, pending: Queued, *, watched: bool) -> None:
        self._make_ready(pending, watched=watched)
        self._put(pending)

    def _make_ready(self, pending: Queued, *, watched: bool) -> None:
        """Start the threads that a request needs, if they do not run yet."""
        try:
            if watched and pending.deadline_ns is not None:
                self._watch.add(pending, self._settler.expire)
            if not self._workers.threads:
                self._workers.start()
        except RuntimeError as error:
            message = f"model `{self._name}` could not start a thread: {error}"
            hint = "allow more threads (`ulimit -u`, or the container's limit), or send it again"
            self._settler.refuse(pending, Error(ErrorCode.RESOURCE_EXHAUSTED, message, hint))

    def _put(self, pending: Queued) -> None:
        put = self._queue.put(pending, wait=self._options.when_full == "wait" and not self._is_callback())
        if put != "queued":
            self._turn_away(pending, put)

    def _is_callback(self) -> bool:
        """Return whether the caller is a callback: waiting for room, it would wait for its own thread to make it."""
        return self._workers.is_here() or self._watch.is_here()

    def _turn_away(self, pending: Queued, put: Put) -> None:
        if put == "closed":
            message = f"model `{self._name}` is unloaded: its deployment is closed"
            self._settler.answer(pending, Err(Error(ErrorCode.NOT_LOADED, message, "deploy the manifest again")))
        elif put == "full" and pending.expired():
            self._settler.expire(pending)
        elif put == "full":
            message = f"model `{self._name}` has {self._options.max_queue_size} requests waiting already"
            hint = f"try again later, or raise `models.{self._name}.queue.max_queue_size`"
            self._settler.refuse(pending, Error(ErrorCode.RESOURCE_EXHAUSTED, message, hint, retry=True))
