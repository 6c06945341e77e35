"""Random load for a minute (ten with AEGISRT_LONG_TESTS): every request answered once, rightly, and nothing left."""

from __future__ import annotations

import gc
import json
import os
import random
import threading
import time
from collections import Counter
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest

from aegisrt import ErrorCode, ExecutionRequest
from aegisrt.graph.build import build_graph
from aegisrt.manifest.origin import NoOrigins
from aegisrt.runtime.building.factory import build_backends
from aegisrt.runtime.context import ExecutionContext
from tests.long import long
from tests.runtime.models import affine, manifest

THREADS = 64
SECONDS = float(os.environ.get("AEGISRT_SOAK_SECONDS", "60"))
ALLOWED = {
    "plain": {"OK", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED"},
    "batched": {"OK", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED"},
    "failing": {"OK", "DATA_LOSS", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED"},
}


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Client:
    """One thread's random requests, each checked against what it must answer."""

    def __init__(self, context: ExecutionContext, seed: int) -> None:
        self.context = context
        self.random = random.Random(seed)
        self.seed = seed
        self.sent = Counter()
        self.wrong: list[str] = []
        self.answers = 0

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.one()

    def one(self) -> None:
        model = self.random.choice(("plain", "batched", "failing"))
        rows = self.random.choice((1, 1, 2, 3, 8))
        value = self.random.randrange(1 << 20)
        x = np.full((rows, 4), value, np.float32)
        timeout = self.random.choice((None, None, 0.5, 20.0, 5000.0))
        bad = self.random.random() < 0.05
        inputs = {"x": x.astype(np.float64)} if bad else {"x": x}
        request = ExecutionRequest(
            model=model, inputs=inputs, timeout_ms=timeout, priority=self.random.choice(("low", "normal", "high"))
        )
        self.sent[model] += 1
        code, result = self.answer(request)
        self.answers += 1
        if code == "OK":
            right = not bad and np.array_equal(result.outputs["y"], x * 2) and result.outputs["y"].base is None
        elif bad:
            right = code in ALLOWED[model] | {"INVALID_ARGUMENT"}
        else:
            right = code in ALLOWED[model]
        if not right:
            self.wrong.append(f"{model} x{rows} bad={bad} timeout={timeout}: {code}")

    def answer(self, request: ExecutionRequest):
        if self.random.random() < 0.4:
            result = self.context.execute(request)
        else:
            future = self.context.submit(request)
            if self.random.random() < 0.1:
                future.cancel()
            try:
                result = future.result(60)
            except CancelledError:
                return "CANCELLED", None
        return ("OK", result.unwrap()) if result.is_ok() else (str(result.unwrap_err().code), None)


def deployed(folder: Path) -> ExecutionContext:
    queue = {"max_queue_size": 48}
    models = {
        "plain": {"path": affine(folder, "plain"), "instances": 2, "queue": queue},
        "batched": {
            "path": affine(folder, "batched"),
            "queue": queue,
            "batching": {"max_batch_size": 16, "preferred_batch_sizes": [8], "max_queue_delay_us": 500},
        },
        "failing": {"path": affine(folder, "failing"), "backend": "flaky", "queue": queue},
    }
    declared = manifest(models, delay_ms=1)
    flaky = {"kind": "mock", "delay_ms": 1, "fail_execute": "DATA_LOSS", "fail_every": 7}
    raw = json.loads(declared.model_dump_json(serialize_as_any=True))
    raw["backends"]["flaky"] = flaky
    from aegisrt.backends.registry import options_by_kind
    from aegisrt.manifest.check.validate import manifest_type

    whole = manifest_type(options_by_kind().unwrap()).model_validate_json(json.dumps(raw))
    graph = build_graph(whole)
    return ExecutionContext(graph, build_backends(graph, NoOrigins()).unwrap())


def soak(folder: Path, seconds: float) -> None:
    threads_before = set(threading.enumerate())
    context = deployed(folder)
    clients = [Client(context, seed) for seed in range(THREADS)]
    stop = threading.Event()
    threads = [threading.Thread(target=client.run, args=(stop,)) for client in clients]
    for thread in threads:
        thread.start()
    memory: list[int] = []
    busiest = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(min(1.0, seconds / 20))
        context.backend("plain").load(folder / "plain.mock.json").unwrap()
        gc.collect()
        memory.append(rss_bytes())
        busiest = max(busiest, threading.active_count())
    stop.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a client was never answered"
    wrong = [text for client in clients for text in client.wrong]
    assert not wrong, f"{len(wrong)} wrong answers, first {wrong[:5]}"
    assert all(client.answers == client.sent.total() for client in clients)
    metrics = context.metrics()
    for model in ALLOWED:
        assert sum(metrics[model].requests.values()) == sum(client.sent[model] for client in clients)
        assert metrics[model].requests["OK"] > 0
        assert (metrics[model].busy, metrics[model].queued) == (0, 0)
    assert metrics["failing"].requests[ErrorCode.DATA_LOSS] > 0
    context.close().unwrap()
    assert set(threading.enumerate()) <= threads_before
    settled, last = memory[len(memory) // 4], memory[-1]
    print(  # for whoever runs it with -s
        f"{sum(client.answers for client in clients)} requests in {seconds:g} s; resident {settled >> 20} MiB after a "
        f"quarter, {last >> 20} at the end, {max(memory) >> 20} at most; threads {len(threads_before)} before, "
        f"{busiest} at most, {threading.active_count()} after; "
        + "; ".join(f"{name}: {dict(sorted(found.requests.items()))}" for name, found in metrics.items())
    )
    assert last - settled < 32 << 20, f"memory grew from {settled >> 20} to {last >> 20} MiB"


@pytest.mark.slow
def test_a_minute_of_random_load(tmp_path):
    soak(tmp_path, SECONDS)


@long
def test_ten_minutes_of_random_load(tmp_path):
    soak(tmp_path, 600)
