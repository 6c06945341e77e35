"""`ModelParts`: what the intake and the life of one model share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aegisrt.backends.base.backend import RuntimeBackend
from aegisrt.manifest.schema import ModelOptions
from aegisrt.runtime.failures import FailureLog
from aegisrt.runtime.metrics import Recorder
from aegisrt.runtime.scheduling.batch_rule import ALONE, BatchRule
from aegisrt.runtime.scheduling.batch_switch import BatchSwitch
from aegisrt.runtime.scheduling.batch_worker import BatchWorker
from aegisrt.runtime.scheduling.deadlines import DeadlineWatch
from aegisrt.runtime.scheduling.queue import RequestQueue
from aegisrt.runtime.scheduling.settler import Settler
from aegisrt.runtime.scheduling.threads import WorkerThreads
from aegisrt.runtime.scheduling.worker import Worker


@dataclass(frozen=True, slots=True)
class ModelParts:
    """The queue of one model and what works on it; each part is thread-safe.

    The locks are the gate of the backend, which is the queue's too (queue.py), that of all futures (pending.py), that
    of the counts (metrics.py) and that of the deadlines: never two at once. That of the workers is held only while
    they start.
    """

    name: str
    backend: RuntimeBackend[Any]
    options: ModelOptions
    watch: DeadlineWatch
    queue: RequestQueue
    recorder: Recorder
    settler: Settler
    switch: BatchSwitch
    batches: BatchWorker | None
    """The worker of a model with batching options."""
    workers: WorkerThreads

    @staticmethod
    def of(
        name: str, backend: RuntimeBackend[Any], options: ModelOptions, watch: DeadlineWatch, unbatched: str | None
    ) -> ModelParts:
        """Return the parts of a loaded model; `unbatched` is as in `ServedModel`."""
        rule = BatchRule.of(options.batching) if unbatched is None else ALONE
        queue = RequestQueue(backend.instances, options.queue.max_queue_size, rule, backend.calls_gate)
        recorder, switch, batches = Recorder(FailureLog(name)), BatchSwitch(name, unbatched), None
        if options.batching is not None:
            batches = BatchWorker(queue, backend, recorder, options.batching, switch)
        worker = batches or Worker(queue, backend, recorder)
        workers = WorkerThreads(name, backend.instances, worker.work)
        settler = Settler(queue, recorder)
        return ModelParts(name, backend, options, watch, queue, recorder, settler, switch, batches, workers)
