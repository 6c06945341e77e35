"""Prints what a cached load of digits takes, verification included, over the bare engine's: milliseconds, in turns.

python -m tests.backends.measure_tvm_load [--rounds 50]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from aegisrt import TVMBackend
from aegisrt.artifacts.build import engine_file
from aegisrt.artifacts.cache import ArtifactCache
from aegisrt.core.resources import configs_dir


def taken_ms(call: Callable[[], object]) -> float:
    """Return how long a call takes; what it returns is dropped afterwards."""
    started = time.perf_counter_ns()
    held = call()
    took = (time.perf_counter_ns() - started) / 1e6
    del held
    return took


def main() -> None:
    """Measure, and print both medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds
    model = configs_dir() / "model" / "digits.onnx"
    with tempfile.TemporaryDirectory() as folder:
        cache = ArtifactCache(Path(folder))
        library = engine_file(TVMBackend(), model, cache).unwrap().path

        def cached() -> TVMBackend:
            backend = TVMBackend()
            backend.load(engine_file(backend, model, cache).unwrap().path).unwrap()
            return backend

        def bare() -> object:
            import tvm
            import tvm_ffi

            return tvm.relax.VirtualMachine(tvm_ffi.load_module(str(library), keep_module_alive=False), tvm.cpu())

        times = [(taken_ms(cached), taken_ms(bare)) for _ in range(rounds + 3)][3:]
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"cached load of digits, verified: {ours:.2f} ms; bare load: {theirs:.2f} ms; ratio {ours / theirs:.1f}")


if __name__ == "__main__":
    main()
