"""Small ONNX models for the tests, made with the package `onnx`; a test module that imports this skips without it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aegisrt.core.tensor import DataType

onnx = pytest.importorskip("onnx", reason="the package onnx, which makes the test models, is not installed")

from onnx import helper, numpy_helper  # noqa: E402

ELEMENT = {
    DataType.FP32: 1, DataType.UINT8: 2, DataType.INT8: 3, DataType.UINT16: 4, DataType.INT16: 5, DataType.INT32: 6,
    DataType.INT64: 7, DataType.BYTES: 8, DataType.BOOL: 9, DataType.FP16: 10, DataType.FP64: 11, DataType.UINT32: 12,
    DataType.UINT64: 13, DataType.BF16: 16,
}  # fmt: skip
FLOAT, INT32, INT64 = ELEMENT[DataType.FP32], ELEMENT[DataType.INT32], ELEMENT[DataType.INT64]
STRING, BOOL, BF16 = ELEMENT[DataType.BYTES], ELEMENT[DataType.BOOL], ELEMENT[DataType.BF16]


def tensor(name: str, element: int = FLOAT, shape: Sequence[Any] | None = ("n",)) -> Any:
    return helper.make_tensor_value_info(name, element, shape)


def node(operator: str, inputs: str, outputs: str, name: str = "", **attributes: Any) -> Any:
    return helper.make_node(operator, inputs.split(), outputs.split(), name=name, **attributes)


def weight(name: str, value: Any) -> Any:
    return numpy_helper.from_array(np.asarray(value), name)


def model(
    nodes: Sequence[Any],
    inputs: Sequence[Any],
    outputs: Sequence[Any],
    weights: Sequence[Any] = (),
    *,
    opset: int = 17,
    ir: int = 8,
    domains: Sequence[tuple[str, int]] = (),
) -> Any:
    graph = helper.make_graph(nodes, "tests", inputs, outputs, list(weights))
    imports = [helper.make_opsetid(domain, version) for domain, version in (("", opset), *domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir)


def identity(element: int = FLOAT, shape: Sequence[Any] | None = ("n",)) -> Any:
    return model([node("Identity", "x", "y", "same")], [tensor("x", element, shape)], [tensor("y", element, shape)])


def save(folder: Path, made: Any, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(made.SerializeToString())
    return path


def save_with_external_weights(folder: Path, value: Any, file: str = "weights.bin") -> Path:
    """Write `y = x + w` with `w` in a file beside the model."""
    value = np.asarray(value, np.float32)
    ends = [tensor(name, FLOAT, value.shape) for name in "xy"]
    made = model([node("Add", "x w", "y", "add")], ends[:1], ends[1:], [weight("w", value)])
    path = folder / "model.onnx"
    onnx.save_model(made, path, save_as_external_data=True, location=file, size_threshold=0)
    return path
