"""The schedules written by hand: right for every form of convolution and matrix product, and measured first."""

from __future__ import annotations

import numpy as np
import pytest

from aegisrt import ExecutionRequest, TVMBackend
from aegisrt.backends.tvm.build.search import open_records
from tests.backends import onnx_models as made
from tests.backends.onnx_models import node, tensor, weight

pytestmark = [pytest.mark.engine("tvm"), pytest.mark.slow]
RANDOM = np.random.default_rng(0)


def values(*shape) -> np.ndarray:
    return RANDOM.standard_normal(shape, np.float32)


FORMS = {
    "padded": ([node("Conv", "x w", "y", pads=[1, 1, 1, 1])], (2, 3, 28, 28), (16, 3, 3, 3)),
    "strided": ([node("Conv", "x w", "y", strides=[2, 2])], (2, 4, 15, 15), (8, 4, 3, 3)),
    "grouped": ([node("Conv", "x w", "y", group=2)], (1, 4, 9, 9), (8, 2, 3, 3)),
    "depthwise": ([node("Conv", "x w", "y", group=8, pads=[1, 1, 1, 1])], (1, 8, 14, 14), (8, 1, 3, 3)),
    "one dimension": ([node("Conv", "x w", "y")], (2, 3, 30), (8, 3, 5)),
    "relu and pool": (
        [
            node("Conv", "x w", "c", pads=[1, 1, 1, 1]),
            node("Relu", "c", "r"),
            node("MaxPool", "r", "p", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
            node("GlobalAveragePool", "p", "y"),
        ],
        (2, 3, 16, 16),
        (32, 3, 3, 3),
    ),
    "branches": (
        [
            node("Conv", "x w", "a", pads=[1, 1, 1, 1]),
            node("Conv", "a w", "b", pads=[2, 2, 0, 0]),
            node("Add", "a b", "s"),
            node("Concat", "s a", "c", axis=1),
            node("Softmax", "c", "e", axis=1),
            node("Transpose", "e", "t", perm=[0, 2, 1, 3]),
            node("Flatten", "t", "y"),
        ],
        (2, 8, 10, 12),
        (8, 8, 3, 3),
    ),
    "product": ([node("MatMul", "x w", "m"), node("Sigmoid", "m", "y")], (16, 30), (30, 50)),
    "one row": ([node("MatMul", "x w", "y")], (1, 64), (64, 10)),
    "transposed": ([node("Gemm", "x w", "y", transB=1)], (5, 24), (48, 24)),
    "batched": ([node("MatMul", "x w", "y")], (3, 7, 20), (3, 20, 32)),
}


@pytest.mark.parametrize("form", FORMS)
def test_tuned_code_answers_what_untuned_code_answers(form, tmp_path):
    nodes, shape, weights = FORMS[form]
    model = made.model(
        nodes, [tensor("x", made.FLOAT, shape)], [tensor("y", made.FLOAT, None)], [weight("w", values(*weights))]
    )
    source = made.save(tmp_path, model)
    x, found = values(*shape), {}
    for name, options in {"tuned": {"tuning": {"trials_per_task": 2}}, "untuned": {}}.items():
        backend = TVMBackend({"threads": 1, **options})
        backend.build(source, tmp_path / f"{name}.so").unwrap()
        backend.load(tmp_path / f"{name}.so").unwrap()
        result = backend.execute(ExecutionRequest(inputs={"x": x})).unwrap()
        assert result.metadata["tuned"] == (name == "tuned")
        found[name] = result.outputs["y"]
    np.testing.assert_allclose(found["tuned"], found["untuned"], rtol=1e-4, atol=1e-4)


def test_the_first_candidates_are_those_written_by_hand(tmp_path):
    nodes, shape, weights = FORMS["padded"]
    model = made.model(
        nodes, [tensor("x", made.FLOAT, shape)], [tensor("y", made.FLOAT, None)], [weight("w", values(*weights))]
    )
    source = made.save(tmp_path, model)
    TVMBackend({"tuning": {"trials_per_task": 3}}).build(source, tmp_path / "m.so").unwrap()
    records = open_records(tmp_path / "m.so.records").get_all_tuning_records()
    steps = [[str(step.kind.name) for step in record.trace.insts] for record in records]
    assert len(steps) == 3
    assert all("ReverseComputeAt" in found and not any("Sample" in step for step in found) for found in steps)
