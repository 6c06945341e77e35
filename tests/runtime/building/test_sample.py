"""A sample's files, and what is told of those that do not fit the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.core.tensor import DataType, Signature, TensorSpec
from aegisrt.manifest.schema import SampleOptions
from aegisrt.runtime.building.input_budget import InputBudget
from aegisrt.runtime.building.sample import read_sample

IMAGE = Signature((TensorSpec("image", DataType.FP32, (None, 4)),), ())


def test_an_array_that_the_model_does_not_take_is_told_with_its_file(tmp_path: Path):
    path = tmp_path / "sample.npz"
    np.savez(path, imag=np.zeros((1, 4), np.float32))
    with pytest.raises(ResultError) as caught:
        read_sample(SampleOptions(inputs=path), IMAGE, InputBudget(2**30))
    error = caught.value.error
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert error.message == f"{path} holds `imag`, which is not an input of the model"
    assert error.hint == "did you mean `image`?"


@pytest.mark.parametrize("field", ["inputs", "labels"])
def test_an_empty_npz_is_called_that(tmp_path: Path, field):
    np.savez(tmp_path / "full.npz", image=np.zeros((1, 4), np.float32))
    np.savez(tmp_path / "empty.npz")
    files = {"inputs": tmp_path / "full.npz", field: tmp_path / "empty.npz"}
    with pytest.raises(ResultError, match=r"empty.npz is an empty .npz: it holds no array") as caught:
        read_sample(SampleOptions(**files), IMAGE, InputBudget(2**30))
    assert caught.value.error.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.error.hint == "save arrays by name: numpy.savez(FILE, NAME=array)"
