"""The cost of a request beyond the engine: `python -m aegisrt.bench.own.dispatch [--model FILE] [--rounds N] [--json]`.

One ONNX Runtime session on one core, called bare, through `ONNXBackend.execute` and through `ExecutionContext.execute`,
in turns; and again in turns with Polygraphy's `OnnxrtRunner.infer` if that is installed, which leaves the caches cold
for them. The model has one node, and may take 2.5 us more, or 4.5 us with cold caches; or it is FILE with inputs of
zeros, and may take 1.01 times.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aegisrt.backends.onnx.backend import ONNXBackend
from aegisrt.bench.measure import Call, TimedCalls, interleaved, one_core
from aegisrt.bench.one_node import one_node_model
from aegisrt.bench.own.arguments import parser_of
from aegisrt.bench.own.finding import Finding, at_most, exit_code
from aegisrt.core.optional import Requirement
from aegisrt.core.request import ExecutionRequest
from aegisrt.core.result import ResultError
from aegisrt.deployment import resolve
from aegisrt.runtime.building.factory import build_backends
from aegisrt.runtime.building.input_budget import InputBudget
from aegisrt.runtime.building.sample import zeros
from aegisrt.runtime.context import ExecutionContext

BARE, BACKEND, CONTEXT = "session.run", "ONNXBackend.execute", "ExecutionContext.execute"
POLYGRAPHY = "polygraphy OnnxrtRunner.infer"
ALONE, BESIDE = "with nothing between", "by turns with Polygraphy"
LIMITS_US = {ALONE: 2.5, BESIDE: 4.5}
"""For a quiet core; on a busy one all times grow, and that of Python more than that of the engine."""
LIMIT_RATIO = 1.01
_POLYGRAPHY = Requirement("polygraphy", ("polygraphy",), "bench")
_SHAPE = (1, 16)
_ONE_NODE = f"y = x + x, FP32{list(_SHAPE)}"


@dataclass(frozen=True, slots=True)
class DispatchTimes:
    """All calls of one run, in one or two groups; the bare one first in each."""

    groups: dict[str, dict[str, TimedCalls]]
    model: str
    """Which model was called: a file, or the one-node model."""
    rounds: int
    engine: str
    missing: dict[str, str]
    """Calls that could not be measured, and why."""

    def findings(self) -> list[Finding]:
        """Return for each group the time of `ExecutionContext.execute` beyond the bare call, and its bound."""
        found = []
        for group, samples in self.groups.items():
            ours, bare = samples[CONTEXT].median_us, samples[BARE].median_us
            name, detail = f"execute over session.run, {group}", f"{ours:.2f} us over {bare:.2f} us"
            if self.model == _ONE_NODE:
                found.append(at_most(name, ours - bare, LIMITS_US[group], "us", detail))
            else:
                found.append(at_most(name, ours / bare, LIMIT_RATIO, "times", detail))
        return found

    def to_json(self) -> dict[str, Any]:
        """Return plain values; `added_us` and `ratio` are to the bare call of the same group."""
        return {
            "environment": {"python": platform.python_version(), "engine": self.engine, "machine": platform.machine()},
            "model": self.model,
            "rounds": self.rounds,
            "groups": {group: _rows(samples) for group, samples in self.groups.items()},
            "missing": self.missing,
            "findings": [asdict(finding) for finding in self.findings()],
        }


def _rows(samples: Mapping[str, TimedCalls]) -> dict[str, dict[str, float]]:
    bare = samples[BARE].median_us
    return {
        name: {
            "median_us": round(sample.median_us, 3),
            "p99_us": round(sample.p99_us, 3),
            "added_us": round(sample.median_us - bare, 3),
            "ratio": round(sample.median_us / bare, 3),
        }
        for name, sample in samples.items()
    }


def measure(rounds: int, model: Path | None = None) -> DispatchTimes:
    """Return the times of `rounds` rounds. `ResultError`: if ONNX Runtime is missing or FILE does not load."""
    with one_core(), _deployed(model) as (context, backend), _polygraphy(backend.session) as infer:
        session, signature = backend.session, backend.signature
        assert signature is not None
        inputs = zeros(signature, InputBudget(context.graph.manifest.limits.input_bytes))
        outputs = [spec.name for spec in signature.outputs]
        request = ExecutionRequest(inputs=inputs)
        calls: dict[str, Call] = {
            BARE: lambda: session.run(outputs, inputs),
            BACKEND: lambda: backend.execute(request),
            CONTEXT: lambda: context.execute(request),
        }
        backend.execute(request).unwrap()
        context.execute(request).unwrap()
        warmup = min(200, rounds)
        groups = {ALONE: interleaved(calls, rounds, warmup)}
        missing: dict[str, str] = {}
        if infer is None:
            missing[POLYGRAPHY] = f"not installed; run: {_POLYGRAPHY.install}"
        else:
            groups[BESIDE] = interleaved({**calls, POLYGRAPHY: lambda: infer(inputs)}, rounds, warmup)
        engine = f"onnxruntime {backend.availability().version}"
        return DispatchTimes(groups, model.name if model else _ONE_NODE, rounds, engine, missing)


def table(measured: DispatchTimes) -> str:
    """Return the table that a person reads."""
    lines = [
        f"{measured.model}, one thread, {measured.rounds} interleaved rounds, "
        f"{measured.engine}, Python {platform.python_version()}"
    ]
    for group, rows in measured.to_json()["groups"].items():
        lines.append(f"{group:32}{'median us':>10}{'p99 us':>10}{'added us':>10}{'ratio':>8}")
        lines += [
            f"{name:32}{row['median_us']:10.2f}{row['p99_us']:10.2f}{row['added_us']:10.2f}{row['ratio']:8.2f}"
            for name, row in rows.items()
        ]
    lines += [f"{name:32}{why}" for name, why in measured.missing.items()]
    return "\n".join([*lines, *map(str, measured.findings())])


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code: 0 if the bounds hold, 1 if one does not or nothing could be measured."""
    parser = parser_of("dispatch", __doc__, rounds=10_000, what="call")
    parser.add_argument("--model", type=Path, metavar="FILE", help="an ONNX file (default: the one-node model)")
    given = parser.parse_args(arguments)
    try:
        measured = measure(given.rounds, given.model)
    except ResultError as missing:
        sys.stderr.write(f"{missing.error}\n")
        return 1
    print(json.dumps(measured.to_json(), indent=2) if given.json else table(measured))
    return exit_code(measured.findings())


@contextmanager
def _deployed(model: Path | None) -> Iterator[tuple[ExecutionContext, ONNXBackend]]:
    """Yield a context of the model, or of the one-node model, and the backend in it."""
    with tempfile.TemporaryDirectory() as folder:
        path = model or Path(folder) / "one_node.onnx"
        if model is None:
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
    """Yield the `infer` of a Polygraphy runner over the session; None if Polygraphy is not installed."""
    if _POLYGRAPHY.missing():
        yield None
        return
    from polygraphy.backend.onnxrt import OnnxrtRunner

    with OnnxrtRunner(session) as runner:
        yield runner.infer


if __name__ == "__main__":
    raise SystemExit(main())
