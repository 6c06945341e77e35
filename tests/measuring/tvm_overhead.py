"""Prints what AegisRT adds to TVM, in turns with the bare engine's call; exits with 1 if a bound does not hold.

python -m tests.measuring.tvm_overhead [--rounds 50]

- a load of digits from the cache, every byte verified, and the bare load of the same library;
- `TVMBackend.execute` of a model of one node, dispatched to the function of its shape, and the bare call of that one.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from aegisrt import ExecutionRequest, TVMBackend
from aegisrt.artifacts.build import engine_file
from aegisrt.artifacts.cache import ArtifactCache
from aegisrt.backends.tvm.run.tensors import aligned
from aegisrt.bench.measure import interleaved, one_core
from aegisrt.bench.own.finding import Finding, at_most, exit_code
from aegisrt.core.resources import configs_dir
from tests.backends import onnx_models as made


def cached_load(folder: Path, rounds: int) -> Finding:
    """Return the milliseconds of a load of digits from the cache."""
    import tvm
    import tvm_ffi

    model, cache = configs_dir() / "model" / "digits.onnx", ArtifactCache(folder)
    library = engine_file(TVMBackend(), model, cache).unwrap().path

    def cached() -> None:
        backend = TVMBackend()
        backend.load(engine_file(backend, model, cache).unwrap().path).unwrap()

    def bare() -> None:
        tvm.relax.VirtualMachine(tvm_ffi.load_module(str(library), keep_module_alive=False), tvm.cpu())

    taken = interleaved({"ours": cached, "bare": bare}, rounds, warmup=3)
    ours, theirs = (taken[name].median_us / 1e3 for name in ("ours", "bare"))
    return at_most("cached load of digits, verified", ours, 5, "ms", f"a bare load: {theirs:.2f} ms")


def dispatch(folder: Path, rounds: int) -> Finding:
    """Return the microseconds that `execute` takes beyond the call of the compiled function."""
    import tvm_ffi

    source = made.save(folder, made.identity(made.FLOAT, ("n", 4)))
    backend = TVMBackend({"shapes": {"x": [[1, 4], [2, 4], [3, 4]]}})
    backend.build(source, folder / "identity.so").unwrap()
    backend.load(folder / "identity.so").unwrap()
    x = aligned((2, 4), np.dtype(np.float32))
    x[:] = 0
    request, lent = ExecutionRequest(inputs={"x": x}), tvm_ffi.from_dlpack(x)
    assert backend._loaded is not None
    compiled = backend._loaded.slots[0]._functions._variants[((2, 4),)]
    backend.execute(request).unwrap()
    with one_core():
        taken = interleaved(
            {"ours": lambda: backend.execute(request), "bare": lambda: np.from_dlpack(compiled(lent))}, rounds
        )
    ours, bare = (taken[name].median_us for name in ("ours", "bare"))
    return at_most("execute over the bare call, one node", ours - bare, 15, "us", f"{ours:.2f} us over {bare:.2f} us")


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        findings = [cached_load(Path(folder) / "cache", rounds), dispatch(Path(folder), rounds * 100)]
    print(*findings, sep="\n")
    return exit_code(findings)


if __name__ == "__main__":
    raise SystemExit(main())
