"""Models that read one small input again and again: why inputs are copied, and not read over the bus."""

from __future__ import annotations

import numpy as np

from tests.backends.onnx_graphs import FLOAT, node, save

SIDE = 4096


def dense(folder):
    """Return a model in which each of 4096 neurons reads the whole input; then another such layer."""
    random = np.random.default_rng(0)
    weights = {name: (random.normal(size=(SIDE, SIDE)) / 64).astype(np.float32) for name in ("w", "v")}
    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("Relu", ["h"], ["r"]),
        node("MatMul", ["r", "v"], ["y"], name="second"),
    ]
    return save(folder / "dense.onnx", nodes, {"x": (FLOAT, ("n", SIDE))}, {"y": (FLOAT, ("n", SIDE))}, weights)


def convolution(folder):
    """Return a model in which 64 filters read an image of 64 by 64 pixels; then 64 others."""
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(size=(64, 1, 5, 5)).astype(np.float32) / 5,
        "v": random.normal(size=(64, 64, 3, 3)).astype(np.float32) / 24,
    }
    nodes = [
        node("Conv", ["x", "w"], ["h"], pads=[2, 2, 2, 2]),
        node("Relu", ["h"], ["r"]),
        node("Conv", ["r", "v"], ["c"], pads=[1, 1, 1, 1], name="second"),
        node("GlobalAveragePool", ["c"], ["y"]),
    ]
    shape = ("n", 1, 64, 64)
    return save(folder / "convolution.onnx", nodes, {"x": (FLOAT, shape)}, {"y": (FLOAT, ("n", 64, 1, 1))}, weights)
