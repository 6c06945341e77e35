"""Measuring whether rows affect each other, with a backend that the tests make misbehave; needs no engine."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from aegisrt import ErrorCode, ResultError
from aegisrt.core.tensor import DataType, Signature, TensorSpec
from aegisrt.manifest.schema import ModelOptions
from aegisrt.runtime.building.row_check import check_batching
from tests.backends.probe import Probe


class Model(Probe):
    """`y` is computed by `rule` from `x` [n,w]."""

    dtype, wide = DataType.FP32, True

    def __init__(self, rule, **options):
        super().__init__(**options)
        self.rule, self.calls = rule, []

    def _signature(self, engine):
        dims = ("n", "w") if self.wide else ("n",)
        return Signature((TensorSpec("x", DataType.FP32, dims),), (TensorSpec("y", self.dtype, ("n",)),))

    def _execute(self, slot, inputs, outputs):
        self.calls.append(inputs["x"])
        return [np.asarray(self.rule(inputs["x"])).astype(self.dtype.numpy)]


def check(folder, rule, *, dtype=DataType.FP32, sample=None, wide=True, **batching):
    """Return why the model must not batch, or the error that refuses it, and the model."""
    path = folder / "m.probe"
    path.write_bytes(b"probe")
    options = {"path": str(path), "backend": "probe", "batching": {"max_batch_size": 4, **batching}}
    if sample is not None:
        np.save(folder / "x.npy", np.array(sample, np.float32))
        options["sample"] = {"inputs": str(folder / "x.npy")}
    backend = Model(rule)
    backend.dtype, backend.wide = dtype, wide
    backend.capabilities = type(backend).capabilities
    backend.load(path).unwrap()
    try:
        model = ModelOptions.model_validate_json(json.dumps(options))
        return check_batching("m", model, backend, 2**30), backend
    except ResultError as failure:
        return failure.error, backend
    finally:
        backend.unload()


SAMPLE = np.random.default_rng(3).normal(0, 1, (5, 6))


def row_sum(x):
    return x.sum(axis=1)


def test_independent_rows_may_batch_and_few_calls_show_it(tmp_path):
    verdict, model = check(tmp_path, row_sum, sample=SAMPLE)
    assert verdict is None
    assert len(model.calls) == 12
    assert max(len(x) for x in model.calls) == 4


@pytest.mark.parametrize(
    "rule",
    [
        lambda x: row_sum(x) / np.abs(x).max(),
        lambda x: row_sum(x) - row_sum(x).mean(),
        lambda x: row_sum(x) / len(x),
        lambda x: row_sum(x) + 0.02 * (np.abs(x).max() > 50),
        lambda x: row_sum(x)[::-1],
        lambda x: np.sort(row_sum(x)),
        lambda x: np.cumsum(row_sum(x)),
        lambda x: row_sum(x) + (x == 0).all(axis=1).any(),
        lambda x: np.where(len(x) > 1, np.nan, row_sum(x)),
        lambda x: row_sum(x)[row_sum(x) > 0],
        lambda x: np.repeat(row_sum(x), 2),
    ],
)  # fmt: skip
def test_a_sample_refuses_what_mixes(tmp_path, rule):
    error, _ = check(tmp_path, rule, sample=SAMPLE)
    assert error.code is ErrorCode.FAILED_PRECONDITION
    assert "the rows of a batch affect each other: " in error.message
    assert "`y`" in error.message
    assert "leave `batching` out" in error.hint


def test_the_largest_difference_is_reported_with_its_company_and_the_tolerance(tmp_path):
    error, _ = check(tmp_path, lambda x: row_sum(x) + 1000 * (np.abs(x).max() > 50), sample=SAMPLE)
    assert "`y` FP32 of a row differs by " in error.message
    assert " of its range beside rows of 1000 times their size, and 0.0005 is allowed" in error.message
    assert "batching.tolerance" in error.hint


def test_on_generated_rows_alone_it_warns_and_the_model_must_not_batch(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        reason, _ = check(tmp_path, lambda x: row_sum(x) - row_sum(x).mean())
    assert reason.startswith("generated rows affect each other in a batch: `y` FP32 of a row differs by ")
    assert "model `m` runs its requests one by one" in caplog.text
    assert "give the model a `sample`" in caplog.text


def test_other_rows_than_the_inputs_are_refused_on_generated_rows_too(tmp_path):
    error, _ = check(tmp_path, lambda x: np.repeat(row_sum(x), 2))
    assert error.code is ErrorCode.FAILED_PRECONDITION
    assert "output `y` had 2 rows for 1 in the inputs" in error.message


@pytest.mark.parametrize(
    ("dtype", "noise", "allowed"),
    [
        (DataType.FP32, 1e-3, True), (DataType.FP32, 1e-2, False), (DataType.FP16, 5e-3, True),
        (DataType.FP16, 5e-2, False), (DataType.FP64, 1e-6, True), (DataType.FP64, 1e-3, False),
        (DataType.INT64, 0.0, True),
    ],
)  # fmt: skip
def test_each_dtype_has_a_tolerance_relative_to_the_range(tmp_path, monkeypatch, dtype, noise, allowed):
    monkeypatch.setattr(Probe, "capabilities", Probe.capabilities.__class__(
        formats=(".probe",), dtypes=frozenset(DataType), dynamic_shapes=True))  # fmt: skip

    def rule(x):
        """Return 50 for each row, and a little more in a batch: as kernels of another size do."""
        return np.full(len(x), 50 * (1 + noise * (len(x) > 1)))

    verdict, _ = check(tmp_path, rule, dtype=dtype, sample=SAMPLE)
    assert (verdict is None) == allowed, verdict


@pytest.mark.parametrize("dtype", [DataType.INT64, DataType.BOOL])
def test_integers_must_be_equal(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(Probe, "capabilities", Probe.capabilities.__class__(
        formats=(".probe",), dtypes=frozenset(DataType), dynamic_shapes=True))  # fmt: skip
    error, _ = check(tmp_path, lambda x: row_sum(x) > row_sum(x).mean(), dtype=dtype, sample=SAMPLE, tolerance=1.0)
    assert "must be equal" in error.message


def test_a_tolerance_of_the_manifests_own_holds(tmp_path):
    def noisy(x):
        return row_sum(x) + 0.03 * np.abs(SAMPLE.sum(axis=1)).max() * (len(x) > 1)

    assert check(tmp_path, noisy, sample=SAMPLE)[0].code is ErrorCode.FAILED_PRECONDITION
    assert check(tmp_path, noisy, sample=SAMPLE, tolerance=0.1)[0] is None


@pytest.mark.parametrize("batching", [{"rows": "trust"}, {"max_batch_size": 1}])
def test_trusted_rows_and_batches_of_one_are_not_measured(tmp_path, batching):
    verdict, model = check(tmp_path, lambda x: row_sum(x)[::-1], sample=SAMPLE, **batching)
    assert verdict is None
    assert model.calls == []


def test_nan_and_infinity_are_equal_to_themselves(tmp_path):
    def rule(x):
        return np.where(row_sum(x) > 0, np.nan, np.inf)

    assert check(tmp_path, rule, sample=SAMPLE)[0] is None


def test_rows_that_the_model_refuses_leave_it_unbatched(tmp_path, caplog):
    def picky(x):
        raise ValueError("no picture")

    for sample, what in ((None, "generated rows"), (SAMPLE, "its sample")):
        reason, _ = check(tmp_path, picky, sample=sample)
        assert reason.startswith(f"it could not be checked with {what} that rows do not affect each other: ")


def test_sizes_are_tried_until_the_model_takes_one(tmp_path):
    def at_least_60(x):
        assert x.shape[1] > 60
        return row_sum(x)

    verdict, model = check(tmp_path, at_least_60)
    assert verdict is None
    assert {x.shape[1] for x in model.calls} == {16, 32, 64}


def test_company_that_the_model_refuses_is_left_out(tmp_path):
    def small(x):
        assert np.abs(x).max() < 100
        return row_sum(x)

    assert check(tmp_path, small, sample=SAMPLE)[0] is None


@pytest.mark.parametrize("rows", [1, 2])
def test_a_sample_of_few_rows_is_enough(tmp_path, rows):
    assert check(tmp_path, row_sum, sample=SAMPLE[:rows])[0] is None
    error, _ = check(tmp_path, lambda x: row_sum(x) / np.abs(x).max(), sample=SAMPLE[:rows])
    assert error.code is ErrorCode.FAILED_PRECONDITION
