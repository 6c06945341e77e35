"""`Closing`: the end of one served model, within a bound."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.core.deadline import left_s
from aegisrt.core.result import Err, Error, ErrorCode, Result
from aegisrt.manifest.queueing import QueueOptions
from aegisrt.runtime.scheduling.pending import Pending
from aegisrt.runtime.scheduling.queue import RequestQueue
from aegisrt.runtime.scheduling.threads import WorkerThreads
from aegisrt.runtime.scheduling.worker import Answer

_MOMENT_S = 1.0


class Closing:
    """Stops a model's queue and workers, and unloads its backend. Thread-safe."""

    def __init__(
        self,
        name: str,
        backend: RuntimeBackend[Any],
        options: QueueOptions,
        queue: RequestQueue,
        workers: WorkerThreads,
        answer: Callable[[Pending, Answer], None],
    ) -> None:
        """`answer` answers a request that was claimed from the queue."""
        self._name = name
        self._backend = backend
        self._options = options
        self._queue = queue
        self._workers = workers
        self._answer = answer

    def stop(self) -> None:
        """Accept no more requests, and cancel waiting ones if `on_close` is `cancel`; do not block."""
        self._queue.close()
        self._workers.stop()  # not earlier: a request that the queue still accepted would find no worker
        if self._options.on_close == "cancel":
            self._cancel_waiting()

    def close_by_ns(self, since_ns: int) -> int:
        """Return when a `close` that began at `since_ns` must be over."""
        return since_ns + int(self._options.close_timeout_ms * 1e6)

    def close(self, since_ns: int, *, join: bool) -> Result[None]:
        """As `ServedModel.close`."""
        self.stop()
        timeout_ms = self._options.close_timeout_ms
        if not self._queue.wait_ended(self.close_by_ns(since_ns)):
            self._cancel_waiting()
            for pending in self._queue.running():
                if self._queue.claim(pending, also_running=True):
                    self._answer(pending, _cancelled("the deployment was closed while the engine ran"))
            if self._queue.load()[0]:
                threading.Thread(target=self._unload_later, name=f"aegisrt-unload-{self._name}", daemon=True).start()
                message = f"model `{self._name}` still runs a call after {timeout_ms:g} ms"
                hint = "it is unloaded when the call ends; nothing more needs to be done"
                return Err(Error(ErrorCode.DEADLINE_EXCEEDED, message, hint))
        unloaded = self._backend.unload()
        if not join or self._workers.is_here() or self._workers.end(wait_s(self.close_by_ns(since_ns))):
            return unloaded
        message = f"a callback of a request of model `{self._name}` still runs after {timeout_ms:g} ms"
        hint = "the model is unloaded; a callback must not wait for the thread that closes the deployment"
        return Err(Error(ErrorCode.DEADLINE_EXCEEDED, message, hint))

    def _unload_later(self) -> None:
        self._queue.wait_ended(sys.maxsize)
        self._backend.unload()

    def _cancel_waiting(self) -> None:
        for pending in self._queue.claim_waiting():
            self._answer(pending, _cancelled("the deployment was closed before the request started"))


def wait_s(close_by_ns: int) -> float:
    """Return how long a `close` waits for threads that only have to end, and may still run a callback."""
    return max(left_s(close_by_ns), _MOMENT_S)


def _cancelled(message: str) -> Err:
    return Err(Error(ErrorCode.CANCELLED, message))
