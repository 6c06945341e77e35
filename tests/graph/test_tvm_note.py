"""The graph says of a model on TVM whether its code will be tuned."""

from __future__ import annotations

import pytest

from aegisrt.deployment import resolve

pytestmark = pytest.mark.engine("tvm")
TUNING = "backends.tvm.tuning.trials_per_task=4"


def reason(*overrides: str) -> str:
    (node,) = resolve(None, ["models.digits.backend=tvm", *overrides]).unwrap().graph.models
    assert node.state == "needs_build"
    return node.reason


def test_a_model_that_nothing_tunes_is_said_to_be_untuned():
    assert "untuned" in reason()
    assert "`tuning`" in reason()


def test_a_model_that_is_tuned_is_not():
    assert "untuned" not in reason(TUNING)
