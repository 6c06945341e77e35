"""What a request costs beyond the engine: `python -m aegisrt.bench.dispatch [--rounds N] [--json]`.

One ONNX Runtime session of a one-node model on one core, called bare, through `ONNXBackend.execute`, through
`ExecutionContext.execute`, and by Polygraphy's `OnnxrtRunner.infer` where that is installed.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aegisrt.backends.onnx import ONNXBackend
from aegisrt.bench.arguments import parse
from aegisrt.bench.measure import Call, Sample, interleaved, one_core
from aegisrt.bench.one_node import one_node_model
from aegisrt.core.optional import Requirement
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import ResultError
from aegisrt.deployment import resolve
from aegisrt.runtime.context import ExecutionContext
from aegisrt.runtime.factory import build_backends

BARE, BACKEND, CONTEXT = "session.run", "ONNXBackend.execute", "ExecutionContext.execute"
POLYGRAPHY = "polygraphy OnnxrtRunner.infer"
_POLYGRAPHY = Requirement("polygraphy", ("polygraphy",), "bench")
_SHAPE = (1, 16)


@dataclass(frozen=True, slots=True)
class Measured:
    """All calls of one run, the bare one first."""

    samples: dict[str, Sample]
    rounds: int
    engine: str
    missing: dict[str, str]
    """Calls that could not be measured, and why."""

    def added_us(self, name: str) -> float:
        """Return the median microseconds that a call takes beyond the bare one."""
        return self.samples[name].median_us - self.samples[BARE].median_us

    def to_json(self) -> dict[str, Any]:
        """Return plain values: environment, and for each call `median_us`, `p99_us`, `added_us` and `ratio`."""
        bare = self.samples[BARE].median_us
        return {
            "environment": {"python": platform.python_version(), "engine": self.engine, "machine": platform.machine()},
            "model": f"y = x + x, FP32{list(_SHAPE)}",
            "rounds": self.rounds,
            "calls": {
                name: {
                    "median_us": round(sample.median_us, 3),
                    "p99_us": round(sample.p99_us, 3),
                    "added_us": round(self.added_us(name), 3),
                    "ratio": round(sample.median_us / bare, 3),
                }
                for name, sample in self.samples.items()
            },
            "missing": self.missing,
        }


def measure(rounds: int) -> Measured:
    """Return the times of `rounds` rounds; raise `ResultError` where ONNX Runtime is missing."""
    with one_core(), _deployed() as (context, backend), _polygraphy(backend.session) as infer:
        session = backend.session
        x = np.zeros(_SHAPE, np.float32)
        request = ExecutionRequest(inputs={"x": x})
        calls: dict[str, Call] = {
            BARE: lambda: session.run(["y"], {"x": x}),
            BACKEND: lambda: backend.execute(request),
            CONTEXT: lambda: context.execute(request),
        }
        missing: dict[str, str] = {}
        if infer is None:
            missing[POLYGRAPHY] = f"not installed; run: {_POLYGRAPHY.install}"
        else:
            calls[POLYGRAPHY] = lambda: infer({"x": x})
        backend.execute(request).unwrap()
        context.execute(request).unwrap()
        engine = f"onnxruntime {backend.availability().version}"
        return Measured(interleaved(calls, rounds), rounds, engine, missing)


def table(measured: Measured) -> str:
    """Return the table that a person reads."""
    lines = [
        f"y = x + x, FP32{list(_SHAPE)}, one thread, {measured.rounds} interleaved rounds, "
        f"{measured.engine}, Python {platform.python_version()}",
        f"{'call':32}{'median us':>10}{'p99 us':>10}{'added us':>10}{'ratio':>8}",
    ]
    for name, row in measured.to_json()["calls"].items():
        lines.append(
            f"{name:32}{row['median_us']:10.2f}{row['p99_us']:10.2f}{row['added_us']:10.2f}{row['ratio']:8.2f}"
        )
    lines += [f"{name:32}{why}" for name, why in measured.missing.items()]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0, or 1 where ONNX Runtime is not installed."""
    given = parse("dispatch", __doc__, arguments, rounds=10_000, what="call")
    try:
        measured = measure(given.rounds)
    except ResultError as missing:
        sys.stderr.write(f"{missing.error}\n")
        return 1
    print(json.dumps(measured.to_json(), indent=2) if given.json else table(measured))
    return 0


@contextmanager
def _deployed() -> Iterator[tuple[ExecutionContext, ONNXBackend]]:
    """Yield a context of the one-node model, and the backend in it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "one_node.onnx"
        path.write_bytes(one_node_model(_SHAPE))
        manifest = {
            "devices": {"cpu": {"kind": "cpu", "threads": 1}},
            "models": {"one": {"path": str(path), "backend": "onnx"}},
        }
        resolved = resolve(manifest).unwrap()
        backends = build_backends(resolved.graph, resolved.origins).unwrap()
        backend = backends["one"]
        assert isinstance(backend, ONNXBackend)
        with ExecutionContext(resolved.graph, backends) as context:
            yield context, backend


@contextmanager
def _polygraphy(session: Any) -> Iterator[Callable[..., object] | None]:
    """Yield the `infer` of a Polygraphy runner over the session; None where Polygraphy is not installed."""
    if _POLYGRAPHY.missing():
        yield None
        return
    from polygraphy.backend.onnxrt import OnnxrtRunner

    with OnnxrtRunner(session) as runner:
        yield runner.infer


if __name__ == "__main__":
    raise SystemExit(main())
