"""The cost and the gain of the queue, as ratios in one run: `python -m aegisrt.bench.own.queueing [--quick] [--json]`.

- hop: `submit().result()` over a bare queue, future and worker thread around the same `execute`, and, without a bound
  of its own, around `session.run`; on one core, and on two: there waking the other core twice takes most of the time;
- batching: requests a second of 64 clients with batches of 32, over the same without (a mock of 5 ms a call), and over
  the same queued path with batches of 1 (the digits model on ONNX Runtime);
- delay: the 99th percentile of the queue delay at low load, beyond `max_queue_delay_us`, and that of a bare timer;
- deadlines: when requests of 20 ms return from an engine that sleeps 10 s, and how long the model then takes to serve.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from aegisrt.bench.measure import interleaved, on_cores, usable_cores
from aegisrt.bench.one_node import one_node_model
from aegisrt.bench.own.finding import Finding, at_most, exit_code, gain
from aegisrt.bench.own.hop import bare_hop
from aegisrt.bench.summary import percentile
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.resources import configs_dir
from aegisrt.core.result import ErrorCode
from aegisrt.deployment import deploy
from aegisrt.runtime.context import ExecutionContext

CLIENTS = 64
DELAY_US = 2_000
TIMEOUT_MS = 20.0


def measure(*, quick: bool = False) -> list[Finding]:
    """Return every finding; `quick` takes a tenth of the samples."""
    scale = 0.1 if quick else 1.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        return [
            *hops(path, int(10_000 * scale)),
            mock_batching(path, 3 * scale),
            digits_batching(3 * scale),
            queue_delay(path, int(500 * scale)),
            *deadlines(path, int(1000 * scale), 10_000 if not quick else 1_000),
        ]


def hops(folder: Path, rounds: int) -> list[Finding]:
    """Return the time of `submit().result()` over a bare hop around `execute`, and around the engine's own call.

    Caller and workers are kept on one core, and then, if there are two, on a core each: if the scheduler chose, one
    of the hops could cross cores and the other not.
    """
    path = folder / "one_node.onnx"
    path.write_bytes(one_node_model((1, 16)))
    request = ExecutionRequest(inputs={"x": np.zeros((1, 16), np.float32)})
    cores = usable_cores()
    with deployed({"path": str(path), "backend": "onnx"}) as context:
        backend = context.backend("m")
        engine = backend.bare(request).unwrap()
        running = set(threading.enumerate())
        with bare_hop(lambda: backend.execute(request)) as around_execute, bare_hop(engine) as around_engine:
            calls: dict[str, Callable[[], object]] = {
                "execute": around_execute,
                "engine": around_engine,
                "submit": lambda: context.submit(request).result(),
            }
            calls["submit"]()  # the first request starts the model's workers
            workers = set(threading.enumerate()) - running
            found = []
            for where, chosen in {"one core": cores[-1:], "two cores": cores[-2:]}.items():
                if where == "one core" or len(chosen) > 1:
                    with on_cores(chosen, workers):
                        measured = interleaved(calls, rounds)
                    found += _hops({name: sample.median_us for name, sample in measured.items()}, where)
            return found


def _hops(times: Mapping[str, float], where: str) -> list[Finding]:
    ours, name = times["submit"], "submit over a bare hop around"
    return [
        at_most(f"{name} execute, {where}", ours / times["execute"], 1.5, "times", _over(ours, times["execute"])),
        Finding(
            f"{name} session.run, {where}", ours / times["engine"], "times", "", True, _over(ours, times["engine"])
        ),
    ]


def _over(ours: float, theirs: float) -> str:
    return f"{ours:.1f} us over {theirs:.1f} us"


def mock_batching(folder: Path, seconds: float) -> Finding:
    """Return the gain of batches of 32 on a model of 5 ms a call, over calls of one request each."""
    model = {"path": str(_double(folder)), "backend": "mock"}
    batching = {"max_batch_size": 32}
    x = np.zeros((1, 4), np.float32)
    rates = in_turns({"alone": model, "batched": {**model, "batching": batching}}, {"x": x}, seconds, delay_ms=5)
    return gain("batching, mock of 5 ms", rates["batched"], rates["alone"], 20)


def digits_batching(seconds: float) -> Finding:
    """Return the gain of batches of 32 on the digits model, over the same queued path with batches of 1."""
    folder = configs_dir() / "model"
    model = {"path": str(folder / "digits.onnx"), "backend": "onnx"}
    image = np.load(folder / "digits.images.npy")[:1]
    declared = {f"max_{size}": {**model, "batching": {"max_batch_size": size}} for size in (1, 32)}
    rates = in_turns(declared, {"image": image}, seconds)
    return gain("batching, digits on ONNX Runtime", rates["max_32"], rates["max_1"], 1.5)


def queue_delay(folder: Path, count: int) -> Finding:
    """Return the 99th percentile of the queue delay of lone requests, in milliseconds beyond the allowed delay.

    In turns with it, a bare timer of the same length is measured: the machine alone delays that one.
    """
    batching = {"max_batch_size": 32, "max_queue_delay_us": DELAY_US}
    request = ExecutionRequest(inputs={"x": np.zeros((1, 4), np.float32)})
    waits, timers = [], []
    with deployed({"path": str(_double(folder)), "backend": "mock", "batching": batching}) as context:
        for _ in range(count):
            waits.append(context.submit(request).result().unwrap().timings.queue / 1e3)
            time.sleep(0.002)
            timers.append(_bare_timer_us())
            time.sleep(0.002)
    beyond_ms, bare_ms = ((percentile(found, 99) - DELAY_US) / 1e3 for found in (waits, timers))
    delays = f"{median(waits):.0f} us median, {percentile(waits, 99):.0f} us p99, {DELAY_US} us allowed"
    detail = f"{delays}; a bare timer: {bare_ms:.2f} ms"
    return at_most("p99 queue delay beyond max_queue_delay_us", beyond_ms, 1.0, "ms", detail)


def _bare_timer_us() -> float:
    never = threading.Lock()
    never.acquire()
    started = time.perf_counter()
    never.acquire(timeout=DELAY_US / 1e6)
    return (time.perf_counter() - started) * 1e6


def deadlines(folder: Path, count: int, sleep_ms: int) -> Iterator[Finding]:
    """Yield how late requests of 20 ms return from a sleeping engine, and how soon the model serves after them."""
    request = ExecutionRequest(inputs={"x": np.zeros((1, 4), np.float32)}, timeout_ms=TIMEOUT_MS)
    took_ms: list[float] = []
    with deployed({"path": str(_double(folder)), "backend": "mock"}, delay_ms=sleep_ms) as context:
        began = time.perf_counter()
        for _ in range(count):
            started = time.perf_counter()
            error = context.execute(request).unwrap_err()
            took_ms.append((time.perf_counter() - started) * 1e3)
            assert error.code is ErrorCode.DEADLINE_EXCEEDED
        p99 = percentile(took_ms, 99)
        detail = f"{median(took_ms):.2f} ms median, {max(took_ms):.2f} ms at most, {count} requests, one at a time"
        yield at_most(f"p99 return of {TIMEOUT_MS:g} ms timeouts", p99, 25.0, "ms", detail)
        left_ms = sleep_ms - (time.perf_counter() - began) * 1e3 % sleep_ms
        started = time.perf_counter()
        context.execute(ExecutionRequest(inputs=request.inputs)).unwrap()
        served_ms = (time.perf_counter() - started) * 1e3 - sleep_ms
        detail = f"the engine had about {left_ms:.0f} ms of a late call left"
        yield at_most("wait of the next request, beyond the engine's own time", served_ms, sleep_ms + 100, "ms", detail)


def in_turns(
    models: Mapping[str, Mapping[str, Any]], inputs: dict[str, Any], seconds: float, **mock: Any
) -> dict[str, float]:
    """Return requests a second by model: the median of five turns of each, one after the other."""
    rates: dict[str, list[float]] = {name: [] for name in models}
    with deployed(models, **mock) as context:
        for _ in range(5):
            for name, found in rates.items():
                found.append(throughput(context, ExecutionRequest(model=name, inputs=inputs), seconds / 5))
    return {name: median(found) for name, found in rates.items()}


def throughput(context: ExecutionContext, request: ExecutionRequest, seconds: float) -> float:
    """Return the answers a second that `CLIENTS` threads get, each sending its next request after an answer."""
    end = time.perf_counter() + seconds
    counts = [0] * CLIENTS

    def client(index: int) -> None:
        while time.perf_counter() < end:
            context.submit(request).result().unwrap()
            counts[index] += 1

    return _timed_rate(client, counts)


def _timed_rate(client: Callable[[int], None], counts: list[int]) -> float:
    threads = [threading.Thread(target=client, args=(index,)) for index in range(len(counts))]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - started)


@contextmanager
def deployed(models: Mapping[str, Any], **mock: Any) -> Iterator[ExecutionContext]:
    """Yield the models (or the one model `m`) on one CPU thread each; `mock` are options of the mock."""
    named = {"m": models} if "path" in models else dict(models)
    manifest: dict[str, Any] = {"devices": {"cpu": {"kind": "cpu", "threads": 1}}, "models": named}
    if mock:
        manifest["backends"] = {"mock": {"kind": "mock", **mock}}
    with deploy(manifest).unwrap() as context:
        yield context


def _double(folder: Path) -> Path:
    tensor = {"dtype": "FP32", "shape": ["n", 4]}
    operation = {"kind": "affine", "input": "x", "scale": 2.0}
    outputs = [{"name": "y", **tensor, "operation": operation}]
    path = folder / "double.mock.json"
    path.write_text(json.dumps({"format": "aegisrt-mock/v1", "inputs": [{"name": "x", **tensor}], "outputs": outputs}))
    return path


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 if every bound holds, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m aegisrt.bench.own.queueing", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    given = parser.parse_args(arguments)
    findings = measure(quick=given.quick)
    environment = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    if given.json:
        print(json.dumps({"environment": environment, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        print(f"Python {environment['python']}, {environment['cores']} cores, {CLIENTS} clients")
        print(*findings, sep="\n")
    return exit_code(findings)


if __name__ == "__main__":
    raise SystemExit(main())
