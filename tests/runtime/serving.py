"""A `Probe` behind a queue, for the tests of requests in flight."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np

from aegisrt import ExecutionRequest
from aegisrt.manifest.schema import ModelOptions
from aegisrt.runtime.served import ServedModel
from tests.backends.probe import Probe


class RecordingProbe(Probe):
    """Keeps the inputs of every call of its engine."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.calls: list[np.ndarray] = []
        self.refuse: Callable[[np.ndarray], bool] = lambda x: False

    def _execute(self, slot, inputs, outputs):
        self.calls.append(inputs["x"])
        if self.refuse(inputs["x"]):
            raise ValueError("a row that the engine does not take")
        return super()._execute(slot, inputs, outputs)


def declared(**options: object) -> ModelOptions:
    return ModelOptions.model_validate_json(json.dumps({"path": "m.probe", "backend": "probe", **options}))


@contextmanager
def served(
    folder: Path, instances: int = 1, backend: type[Probe] = RecordingProbe, **options: object
) -> Iterator[tuple[ServedModel, Any]]:
    """Yield a model of `y = 2 x`, x FP32 [n], and its probe; on leaving, no thread of it may be left."""
    path = folder / "m.probe"
    path.write_bytes(b"probe")
    before = set(threading.enumerate())
    probe = backend(instances=instances)
    probe.load(path).unwrap()
    model = ServedModel("m", probe, declared(instances=instances, **options))
    try:
        yield model, probe
    finally:
        probe.gate.set()
        model.life.close(perf_counter_ns())
        model.watch.close()
        until(lambda: set(threading.enumerate()) <= before)


def request(*values: float, **fields: object) -> ExecutionRequest:
    return ExecutionRequest(inputs={"x": np.array(values, np.float32)}, **fields)


def busy(model: ServedModel, probe: Probe, *values: float):
    """Return the future of a request that now runs, and goes on until `probe.gate` is set."""
    probe.gate.clear()
    future = model.intake.submit(request(*values or (0,)))
    assert probe.running.acquire(timeout=5)
    return future


def until(condition: Callable[[], bool], timeout_s: float = 5) -> None:
    """Wait for a condition; fail where it does not come true."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.002)
