"""Real models on TVM: each agrees with ONNX Runtime at two batch sizes, or the operator in the way is named."""

from __future__ import annotations

import numpy as np
import pytest

from aegisrt import ErrorCode, ExecutionRequest, TVMBackend
from tests.models.test_real_models import CASES, OUTPUTS

pytestmark = [pytest.mark.network, pytest.mark.slow, pytest.mark.engine("tvm")]
TOLERANCE = 1e-4
SIZES = {name: sizes for name, (_, sizes) in CASES.items()} | {"rapidocr-cls": [(1, 48, 192), (4, 48, 192)]}
"""TVM cannot compile rapidocr-cls for pictures of a height other than the 48 that it was trained on."""
UNSUPPORTED = {"silero-vad": "LSTM"}


@pytest.mark.parametrize("name", [name for name in CASES if name not in UNSUPPORTED])
def test_outputs_agree_with_onnxruntime_at_two_batch_sizes(name, real_model, bare_session, tmp_path):
    path = real_model(name)
    session = bare_session(path)
    feeds = [CASES[name][0](np.random.default_rng(7), *size) for size in SIZES[name]]
    shapes = {key: [list(feed[key].shape) for feed in feeds] for key in feeds[0]}
    backend = TVMBackend({"shapes": shapes})
    backend.build(path, tmp_path / "model.so").unwrap()
    backend.load(tmp_path / "model.so").unwrap()
    for size, feed in zip(SIZES[name], feeds, strict=True):
        outputs = backend.execute(ExecutionRequest(inputs=feed)).unwrap().outputs
        assert list(outputs) == OUTPUTS[name]
        for output, want in zip(OUTPUTS[name], session.run(None, feed), strict=True):
            np.testing.assert_allclose(outputs[output], want, atol=TOLERANCE, err_msg=f"`{output}` at {size}")


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_the_operator_that_stands_in_the_way_is_named(name, real_model, tmp_path):
    error = TVMBackend().build(real_model(name), tmp_path / "model.so").unwrap_err()
    assert error.code is ErrorCode.UNIMPLEMENTED
    assert f"`{UNSUPPORTED[name]}`" in error.message
