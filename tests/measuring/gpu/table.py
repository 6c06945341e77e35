"""The measurements of one model on one engine, as a row; see `__main__`."""

from __future__ import annotations

from statistics import median

import numpy as np

from aegisrt.backends.files.onnx import read_onnx
from tests.measuring.gpu.loops import compared, executing, gains, in_turns, make_current, on_gpu

COLUMNS = (
    "engine", "model", "batch", "bare_us", "aegis_us", "over_us", "ratio", "plain_us", "slot_us", "on_gpu_us",
    "bare_gain", "gain", "gain_ratio", "cuda_graph",
)  # fmt: skip
"""`over_us` and `ratio`: AegisRT over the bare loop, medians of rounds. `slot_us`: the engine's slot alone.
`on_gpu_us`: inputs and outputs on the GPU. `gain`: two instances over one."""


def sample(path, batch):
    """Return inputs of ones, `batch` for each dynamic dimension."""
    made = {}
    for spec in read_onnx(path).signature.inputs:
        shape = [dim if isinstance(dim, int) else batch for dim in spec.shape or ()]
        made[spec.name] = np.ones(shape, spec.dtype.numpy)
    return made


def row(engine, model, batch, folder, effort):
    """Return the measurements of one model and batch."""
    inputs, path = sample(model, batch), engine.prepared(model, batch, folder)
    make_current()
    bare = engine.Bare(path, inputs)
    main = engine.backend(path, engine.GRAPH or {})
    plain = engine.backend(path, {}) if engine.GRAPH else None
    device = engine.backend(path, {"outputs": "device"})
    there = {name: on_gpu(value) for name, value in inputs.items()}
    answered = executing(main, inputs)().outputs.values()
    for mine, own in zip(answered, bare.call(), strict=True):
        np.testing.assert_allclose(mine, own, rtol=2e-2, atol=2e-2)
    loaded = main._loaded
    slot, checked = loaded.slots[0], loaded.check(inputs)
    calls = {
        "bare": bare.call,
        "aegis": executing(main, inputs),
        "slot": lambda: slot.call(checked, loaded.output_names),
        "on_gpu": executing(device, there),
        **({"plain": executing(plain, inputs)} if plain else {}),
    }
    taken = in_turns(calls, effort)
    over, ratio = compared(taken, "aegis", "bare")
    found = {
        "engine": engine.NAME, "model": model.stem.partition("-")[0], "batch": batch,
        "over_us": over, "ratio": ratio, **{f"{name}_us": median(times) for name, times in taken.items()},
        "cuda_graph": loaded.metadata.get("cuda_graph", "-"),
    }  # fmt: skip
    for backend in (main, plain, device):
        if backend is not None:
            backend.unload().unwrap()
    calls.clear()
    bare.close()
    return found | two(engine, path, inputs, effort)


def two(engine, path, inputs, effort):
    """Return what two instances gain, bare and through AegisRT."""
    lock = engine.LOCK
    bare = [engine.Bare(path, inputs, lock) if lock else engine.Bare(path, inputs) for _ in range(2)]
    ours = engine.backend(path, engine.GRAPH or {}, instances=2)
    found = gains([each.call for each in bare], [executing(ours, inputs)] * 2, effort)
    ours.unload().unwrap()
    for each in bare:
        each.close()
    return {"bare_gain": found["bare"], "gain": found["aegis"], "gain_ratio": found["aegis"] / found["bare"]}


def line(found):
    """Return a row of the table as text; without a row, the titles."""
    cells = []
    for name in COLUMNS:
        value = name if found is None else found.get(name, "")
        cells.append(f"{value:.2f}" if isinstance(value, float) else str(value))
    return " ".join(cell.rjust(max(len(name), 9)) for cell, name in zip(cells, COLUMNS, strict=True))
