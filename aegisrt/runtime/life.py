"""`Life`: what one model reports about itself, and its end, within a bound."""

from __future__ import annotations

import sys
import threading

from aegisrt.core.deadline import left_s
from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result
from aegisrt.runtime.metrics import ModelMetrics
from aegisrt.runtime.parts import ModelParts

_MOMENT_S = 1.0


class Life:
    """Counts a model's requests; stops its queue and workers, and unloads its backend. Thread-safe."""

    def __init__(self, parts: ModelParts) -> None:
        self._name = parts.name
        self._backend = parts.backend
        self._batching = parts.options.batching
        self._options = parts.options.queue
        self._queue = parts.queue
        self._recorder = parts.recorder
        self._settler = parts.settler
        self._switch = parts.switch
        self._workers = parts.workers

    @property
    def batching(self) -> str | None:
        """`on`, or `off` and why; None for a model without batching options."""
        if self._batching is None:
            return None
        return "on" if self._switch.off is None else f"off: {self._switch.off}"

    def metrics(self) -> ModelMetrics:
        """Return all counts of this moment."""
        memory = self._backend.memory()
        busy, queued = self._queue.load()
        held = memory.value if isinstance(memory, Ok) else None
        batches = None if self._batching is None else self._switch.off is None
        return self._recorder.snapshot(self._backend.instances, busy, queued, held, batches, self._backend.restarts)

    def is_here(self) -> bool:
        """Return whether the caller is a callback that runs in one of the model's workers."""
        return self._workers.is_here()

    def stop(self) -> None:
        """Accept no more requests, and cancel waiting ones if `on_close` is `cancel`; do not block."""
        self._queue.close()
        self._workers.stop()  # not earlier: a request that the queue still accepted would find no worker
        if self._options.on_close == "cancel":
            self._cancel_waiting()

    def close_by_ns(self, since_ns: int) -> int:
        """Return when a `close` that began at `since_ns` must be over."""
        return since_ns + int(self._options.close_timeout_ms * 1e6)

    def close(self, since_ns: int, *, join: bool = True) -> Result[None]:
        """Unload the model, once every request is answered and every worker has ended.

        The time counts from `since_ns`. `join=False` does not wait for the workers: it is for a thread that another
        `close` may wait for.

        DEADLINE_EXCEEDED: if calls still run after `close_timeout_ms`: their requests are answered CANCELLED, and the
        model is unloaded when the engine's calls end. Also if a callback still runs then.
        """
        self.stop()
        timeout_ms = self._options.close_timeout_ms
        if not self._queue.wait_ended(self.close_by_ns(since_ns)):
            self._cancel_waiting()
            for pending in self._queue.running():
                if self._queue.claim(pending, also_running=True):
                    self._settler.answer(pending, _cancelled("the deployment was closed while the engine ran"))
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
            self._settler.answer(pending, _cancelled("the deployment was closed before the request started"))


def wait_s(close_by_ns: int) -> float:
    """Return how long a `close` waits for threads that only have to end, and may still run a callback."""
    return max(left_s(close_by_ns), _MOMENT_S)


def _cancelled(message: str) -> Err:
    return Err(Error(ErrorCode.CANCELLED, message))
