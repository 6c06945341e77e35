"""Batching never changes an answer: models are measured when they are deployed, and mixing ones are refused."""

from __future__ import annotations

from concurrent.futures import wait

import numpy as np
import pytest

from aegisrt import ErrorCode, ExecutionRequest, deploy

onnx = pytest.importorskip("onnx", reason="the package onnx, which makes the test models, is not installed")

from tests.backends.onnx_models import save  # noqa: E402
from tests.runtime.row_models import MIXING, ROW_WISE, inputs_of  # noqa: E402

pytestmark = pytest.mark.engine("onnx")


def declared(folder, made, *, sample: int | None = None, **batching):
    """Return a manifest of a model, with a sample of so many rows."""
    model = {"path": str(save(folder, made)), "backend": "onnx", "batching": {"max_batch_size": 8, **batching}}
    if sample:
        np.savez(folder / "sample.npz", **inputs_of(made, sample, seed=1))
        model["sample"] = {"inputs": str(folder / "sample.npz")}
    return {"models": {"m": model}}


@pytest.mark.parametrize("sample", [None, 1, 5])
@pytest.mark.parametrize("name", ROW_WISE)
def test_a_row_wise_model_batches(tmp_path, name, sample):
    made = ROW_WISE[name]()
    batching = {"max_queue_delay_us": 500_000, "preferred_batch_sizes": [4]}
    with deploy(declared(tmp_path, made, sample=sample, **batching)).unwrap() as context:
        assert context.graph.models[0].batching == "on"
        inputs = [inputs_of(made, rows, seed) for seed, rows in enumerate((1, 2, 1))]
        futures = [context.submit(ExecutionRequest(inputs=one)) for one in inputs]
        wait(futures, 10)
        assert context.metrics()["m"].batch_rows.count == 1
        for one, future in zip(inputs, futures, strict=True):
            alone = context.backend("m").execute(ExecutionRequest(inputs=one)).unwrap()
            for output, value in future.result(0).unwrap().outputs.items():
                np.testing.assert_allclose(value, alone.outputs[output], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", MIXING)
def test_a_model_that_mixes_rows_is_refused_by_its_sample(tmp_path, name):
    error = deploy(declared(tmp_path, MIXING[name](), sample=5)).unwrap_err()
    assert error.code is ErrorCode.FAILED_PRECONDITION, error
    assert "`m`" in error.message


@pytest.mark.parametrize("name", MIXING)
def test_a_model_that_mixes_rows_never_batches_on_generated_rows(tmp_path, name):
    """It is refused where its file names the operator that mixes, and else runs its requests one by one."""
    made = MIXING[name]()
    result = deploy(declared(tmp_path, made, max_queue_delay_us=100_000))
    if result.is_err():
        assert result.unwrap_err().code is ErrorCode.FAILED_PRECONDITION
        return
    with result.unwrap() as context:
        assert context.graph.models[0].batching.startswith("off: ")
        inputs = [inputs_of(made, 1, seed) for seed in range(4)]
        futures = [context.submit(ExecutionRequest(inputs=one)) for one in inputs]
        for one, future in zip(inputs, futures, strict=True):
            alone = context.backend("m").execute(ExecutionRequest(inputs=one)).unwrap()
            for output, value in future.result(10).unwrap().outputs.items():
                np.testing.assert_array_equal(value, alone.outputs[output])


@pytest.mark.parametrize("sample", [None, 5])
@pytest.mark.parametrize("name", ["convolution", "two-layers", "attention"])
def test_a_model_that_onnx_runtime_quantized_dynamically_is_refused(tmp_path, name, sample):
    quantization = pytest.importorskip("onnxruntime.quantization")
    made = ROW_WISE[name]()
    quantized = tmp_path / "quantized.onnx"
    quantization.quantize_dynamic(str(save(tmp_path, made)), str(quantized))
    error = deploy(declared(tmp_path, onnx.load(quantized), sample=sample)).unwrap_err()
    assert error.code is ErrorCode.FAILED_PRECONDITION
    assert "operators that may mix rows: DynamicQuantizeLinear" in error.message


@pytest.mark.engine("tvm")
@pytest.mark.parametrize("name", ["two-layers", "convolution"])
def test_a_row_wise_model_batches_on_tvm_whose_code_differs_by_shape(tmp_path, monkeypatch, name):
    monkeypatch.setenv("AEGISRT_CACHE_DIR", str(tmp_path / "cache"))
    manifest = declared(tmp_path, ROW_WISE[name](), sample=5)
    with deploy(manifest, ["models.m.backend=tvm"]).unwrap() as context:
        assert context.graph.models[0].batching == "on"


@pytest.mark.engine("tvm")
@pytest.mark.parametrize("name", ["maximum", "softmax"])
def test_a_model_that_mixes_rows_is_refused_on_tvm(tmp_path, monkeypatch, name):
    monkeypatch.setenv("AEGISRT_CACHE_DIR", str(tmp_path / "cache"))
    error = deploy(declared(tmp_path, MIXING[name](), sample=5), ["models.m.backend=tvm"]).unwrap_err()
    assert error.code is ErrorCode.FAILED_PRECONDITION, error
    assert "the rows of a batch affect each other" in error.message
