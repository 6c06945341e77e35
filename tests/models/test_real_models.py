"""Real models through a manifest: every bit is what a bare ONNX Runtime session answers."""

from __future__ import annotations

import numpy as np
import pytest

from aegisrt import ErrorCode, ExecutionRequest, deploy

pytestmark = [pytest.mark.network, pytest.mark.engine("onnx")]


def _image(rng, n, height, width):
    return {"x": rng.standard_normal((n, 3, height, width), dtype=np.float32)}


def _files(rng, n):
    padding = 256
    return {"bytes": rng.integers(0, padding + 1, (n, 2048), dtype=np.int32)}


def _sound_and_state(rng, n):
    return {
        "input": 0.1 * rng.standard_normal((n, 576), dtype=np.float32),
        "state": rng.standard_normal((2, n, 128), dtype=np.float32),
        "sr": np.array(16_000, np.int64),
    }


def _sound(rng, n):
    return {"serving_default_input_2:0": 0.1 * rng.standard_normal((n, 43844, 1), dtype=np.float32)}


def _tokens(rng, n, length):
    used = rng.integers(1, length + 1, n)
    return {
        "input_ids": rng.integers(1000, 30_000, (n, length)),
        "attention_mask": (np.arange(length) < used[:, None]).astype(np.int64),
        "token_type_ids": np.zeros((n, length), np.int64),
    }


CASES = {
    "magika": (_files, [(1,), (5,)]),
    "silero-vad": (_sound_and_state, [(1,), (3,)]),
    "rapidocr-cls": (_image, [(1, 48, 192), (4, 32, 100)]),
    "rapidocr-det": (_image, [(1, 64, 96), (2, 160, 64)]),
    "basic-pitch": (_sound, [(1,), (2,)]),
    "minilm-int8": (_tokens, [(1, 8), (3, 17)]),
}
OUTPUTS = {
    "magika": ["target_label"],
    "silero-vad": ["output", "stateN"],
    "rapidocr-cls": ["save_infer_model/scale_0.tmp_1"],
    "rapidocr-det": ["sigmoid_0.tmp_0"],
    "basic-pitch": ["StatefulPartitionedCall:2", "StatefulPartitionedCall:1", "StatefulPartitionedCall:0"],
    "minilm-int8": ["last_hidden_state"],
}


@pytest.mark.parametrize("name", CASES)
def test_outputs_equal_a_bare_session_at_every_shape(name, real_model, deployed, bare_session):
    path = real_model(name)
    context, session = deployed(path), bare_session(path)
    feeds_of, sizes = CASES[name]
    for size in sizes:
        feeds = feeds_of(np.random.default_rng(7), *size)
        result = context.execute(ExecutionRequest(model="m", inputs=feeds)).unwrap()
        assert list(result.outputs) == OUTPUTS[name], f"{name} at {size}: names, or their order"
        for output, want in zip(OUTPUTS[name], session.run(None, feeds), strict=True):
            got = result.outputs[output]
            assert (got.dtype, got.shape) == (want.dtype, want.shape), f"`{output}` of {name} at {size}"
            different = np.count_nonzero(got != want)
            assert different == 0, f"`{output}` of {name} at {size}: {different} of {want.size} values differ"


def test_a_subset_of_outputs_comes_in_the_order_asked_for(real_model, deployed, bare_session):
    path = real_model("basic-pitch")
    feeds = _sound(np.random.default_rng(7), 1)
    wanted = ["StatefulPartitionedCall:0", "StatefulPartitionedCall:2"]
    result = deployed(path).execute(ExecutionRequest(model="m", inputs=feeds, outputs=wanted)).unwrap()
    assert list(result.outputs) == wanted
    for name, want in zip(wanted, bare_session(path).run(wanted, feeds), strict=True):
        assert np.array_equal(result.outputs[name], want), name


def test_a_scalar_input_must_be_a_scalar(real_model, deployed):
    feeds = {**_sound_and_state(np.random.default_rng(7), 1), "sr": np.array([16_000], np.int64)}
    error = deployed(real_model("silero-vad")).execute(ExecutionRequest(model="m", inputs=feeds)).unwrap_err()
    assert error.code == ErrorCode.INVALID_ARGUMENT
    assert error.message == "input `sr` has shape [1], the model takes []"


def test_dynamic_dims_without_a_name_still_have_a_rank(real_model, deployed):
    context = deployed(real_model("rapidocr-cls"))
    flat = {"x": np.zeros((3, 48, 192), np.float32)}
    error = context.execute(ExecutionRequest(model="m", inputs=flat)).unwrap_err()
    assert error.code == ErrorCode.INVALID_ARGUMENT
    assert "`x` has shape [3,48,192], the model takes [?,3," in error.message


@pytest.mark.parametrize("sampled", [False, True], ids=["generated-rows", "sample"])
@pytest.mark.parametrize("name", [name for name in CASES if name != "silero-vad"])
def test_a_real_model_batches(name, sampled, real_model, tmp_path):
    model = {"path": str(real_model(name)), "backend": "onnx", "batching": {"max_batch_size": 8}}
    if sampled:
        feeds_of, sizes = CASES[name]
        np.savez(tmp_path / "sample.npz", **feeds_of(np.random.default_rng(7), 3, *sizes[0][1:]))
        model["sample"] = {"inputs": str(tmp_path / "sample.npz")}
    with deploy({"models": {"m": model}}).unwrap() as context:
        assert context.graph.models[0].batching == "on"


def test_a_model_with_its_batch_behind_another_dimension_is_refused(real_model):
    model = {"path": str(real_model("silero-vad")), "backend": "onnx", "batching": {"max_batch_size": 8}}
    error = deploy({"models": {"m": model}}).unwrap_err()
    assert error.code is ErrorCode.FAILED_PRECONDITION
    assert "input `state` is [2,batch,128]" in error.message
