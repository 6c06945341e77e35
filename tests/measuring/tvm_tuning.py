"""Prints what a call takes on one thread: TVM tuned, TVM untuned, and ONNX Runtime, in turn and in one process.

    python -m tests.measuring.tvm_tuning [--trials 32] [--timeout 600] [MODEL...]

Models are `digits`, `conv-net`, `deep-conv-net` and `mlp`, at batch 16. Tuning takes minutes; its
records stay in the cache's folder `measure`, so that a second run goes on from the first.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from aegisrt import ExecutionRequest, TVMBackend
from aegisrt.artifacts.location import cache_root
from aegisrt.backends.files.onnx import read_onnx
from tests.backends import onnx_models as made

BATCH = 16
ROUNDS, ROUND_S = 9, 0.2
REPOSITORY = Path(__file__).resolve().parents[2]


def mlp(folder: Path) -> Path:
    """Return a network of three dense layers, 784 to 512 to 512 to 10."""
    random = np.random.default_rng(0)
    sizes, nodes, weights, value = (784, 512, 512, 10), [], [], "x"
    for layer, (inner, outer) in enumerate(itertools.pairwise(sizes)):
        weights.append(made.weight(f"w{layer}", random.standard_normal((inner, outer), np.float32) / inner**0.5))
        weights.append(made.weight(f"b{layer}", random.standard_normal(outer, np.float32)))
        last = layer == len(sizes) - 2
        nodes.append(made.node("Gemm", f"{value} w{layer} b{layer}", "y" if last else f"g{layer}"))
        if not last:
            nodes.append(made.node("Relu", f"g{layer}", f"r{layer}"))
            value = f"r{layer}"
    ends = made.tensor("x", made.FLOAT, ("n", 784)), made.tensor("y", made.FLOAT, ("n", 10))
    return made.save(folder, made.model(nodes, [ends[0]], [ends[1]], weights), "mlp.onnx")


def conv_net(folder: Path) -> Path:
    """Return a network of two convolutions and a dense layer, over pictures of 3 x 32 x 32."""
    random = np.random.default_rng(0)
    weights = [
        made.weight("w0", random.standard_normal((32, 3, 3, 3), np.float32) / 5),
        made.weight("w1", random.standard_normal((64, 32, 3, 3), np.float32) / 17),
        made.weight("w2", random.standard_normal((64, 10), np.float32) / 8),
        made.weight("b2", random.standard_normal(10, np.float32)),
    ]
    nodes = [
        made.node("Conv", "x w0", "c0", pads=[1, 1, 1, 1]),
        made.node("Relu", "c0", "r0"),
        made.node("MaxPool", "r0", "p0", kernel_shape=[2, 2], strides=[2, 2]),
        made.node("Conv", "p0 w1", "c1", pads=[1, 1, 1, 1]),
        made.node("Relu", "c1", "r1"),
        made.node("GlobalAveragePool", "r1", "g"),
        made.node("Flatten", "g", "f"),
        made.node("Gemm", "f w2 b2", "y"),
    ]
    ends = made.tensor("x", made.FLOAT, ("n", 3, 32, 32)), made.tensor("y", made.FLOAT, ("n", 10))
    return made.save(folder, made.model(nodes, [ends[0]], [ends[1]], weights), "conv-net.onnx")


def deep_conv_net(folder: Path) -> Path:
    """Return a network of four convolutions with biases and two dense layers, over pictures of 1 x 28 x 28."""
    random = np.random.default_rng(0)
    weights, nodes, value = [], [], "x"
    for layer, (inner, outer) in enumerate(itertools.pairwise((1, 16, 32, 48, 64))):
        kernel = random.standard_normal((outer, inner, 3, 3), np.float32) / (9 * inner) ** 0.5
        weights += [
            made.weight(f"k{layer}", kernel),
            made.weight(f"b{layer}", random.standard_normal(outer, np.float32)),
        ]
        nodes.append(made.node("Conv", f"{value} k{layer} b{layer}", f"c{layer}", pads=[1, 1, 1, 1]))
        nodes.append(made.node("Relu", f"c{layer}", value := f"r{layer}"))
        if layer % 2:
            nodes.append(made.node("MaxPool", value, f"p{layer}", kernel_shape=[2, 2], strides=[2, 2]))
            value = f"p{layer}"
    weights.append(made.weight("d0", random.standard_normal((64 * 49, 128), np.float32) / 56))
    weights.append(made.weight("d1", random.standard_normal((128, 10), np.float32) / 11))
    nodes += [made.node("Flatten", value, "f"), made.node("MatMul", "f d0", "m"), made.node("Relu", "m", "h")]
    nodes.append(made.node("MatMul", "h d1", "y"))
    ends = made.tensor("x", made.FLOAT, ("n", 1, 28, 28)), made.tensor("y", made.FLOAT, ("n", 10))
    return made.save(folder, made.model(nodes, [ends[0]], [ends[1]], weights), "deep-conv-net.onnx")


def source(name: str, folder: Path) -> Path:
    """Return the file of a model by its name here."""
    made_here = {"mlp": mlp, "conv-net": conv_net, "deep-conv-net": deep_conv_net}
    return made_here[name](folder) if name in made_here else REPOSITORY / "configs" / "model" / f"{name}.onnx"


def prepared(model: Path, library: Path, inputs: dict[str, Any], **options: Any) -> Callable[[], object]:
    """Return a call of the model, built first."""
    backend = TVMBackend({"threads": 1, **options})
    started = time.monotonic()
    backend.build(model, library, progress=lambda text: sys.stderr.write(f"\r{text:<100}"[:100])).unwrap()
    sys.stderr.write(f"\r{library.name} built in {time.monotonic() - started:.0f} s".ljust(100) + "\n")
    backend.load(library).unwrap()
    request = ExecutionRequest(inputs=inputs)
    return lambda: backend.execute(request).unwrap()


def on_onnxruntime(model: Path, inputs: dict[str, Any]) -> Callable[[], object]:
    """Return a bare call of ONNX Runtime on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)


def measured_us(calls: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """Return microseconds a call of each, round by round; in turns, so that noise affects all equally."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(ROUNDS):
        for name, call in calls.items():
            started, count = time.perf_counter_ns(), 0
            while time.perf_counter_ns() - started < ROUND_S * 1e9:
                call()
                count += 1
            found[name].append((time.perf_counter_ns() - started) / count / 1e3)
    return found


def main() -> None:
    """Measure the models that were named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["digits", "conv-net", "deep-conv-net", "mlp"])
    parser.add_argument("--trials", type=int, default=32)
    parser.add_argument("--timeout", type=float, default=600.0)
    arguments = parser.parse_args()
    folder = cache_root() / "measure"
    folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.models:
        model = source(name, folder)
        specs = read_onnx(model).signature.inputs
        random = np.random.default_rng(1)
        shapes = {s.name: [d if isinstance(d, int) else BATCH for d in s.shape or ()] for s in specs}
        inputs = {key: random.standard_normal(shape, np.float32) for key, shape in shapes.items()}
        fixed = {} if all(isinstance(d, int) for s in specs for d in s.shape or ()) else {"shapes": {}}
        if fixed:
            fixed["shapes"] = {key: [shape] for key, shape in shapes.items()}
        tuning = {"trials_per_task": arguments.trials, "timeout_s": arguments.timeout}
        calls = {
            "tuned": prepared(model, folder / f"{name}-tuned.so", inputs, tuning=tuning, **fixed),
            "untuned": prepared(model, folder / f"{name}-untuned.so", inputs, **fixed),
            "onnxruntime": on_onnxruntime(model, inputs),
        }
        times = measured_us(calls)
        base = times["onnxruntime"]
        for kind, rounds in times.items():
            ratio = statistics.median(a / b for a, b in zip(rounds, base, strict=True))
            print(f"{name:<10}{kind:<13}{statistics.median(rounds):>10.1f} us{ratio:>8.2f} x onnxruntime", flush=True)


if __name__ == "__main__":
    main()
