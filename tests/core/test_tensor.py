from __future__ import annotations

import pickle

import numpy as np
import pytest

from aegisrt.core.suggest import suggest
from aegisrt.core.tensor import DataType, Signature, TensorSpec, shape_text

PLAIN = [dtype for dtype in DataType if dtype not in (DataType.BF16, DataType.BYTES)]


class TestDataType:
    @pytest.mark.parametrize("dtype", PLAIN)
    def test_numpy_and_back_in_both_byte_orders(self, dtype):
        assert DataType.of(dtype.numpy) is dtype
        assert DataType.of(dtype.numpy.newbyteorder()) is dtype

    @pytest.mark.parametrize("dtype", ["O", "S3", "U3"])
    def test_strings_are_bytes(self, dtype):
        assert DataType.of(np.dtype(dtype)) is DataType.BYTES

    @pytest.mark.parametrize("dtype", ["complex64", "M8[s]", "m8[s]", "V4", "longdouble"])
    def test_what_has_no_name(self, dtype):
        assert DataType.of(np.dtype(dtype)) is None

    def test_bf16_needs_ml_dtypes(self):
        ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
        assert DataType.BF16.numpy == ml_dtypes.bfloat16
        assert DataType.of(DataType.BF16.numpy) is DataType.BF16


def test_texts():
    assert shape_text((None, 3, "h")) == "[?,3,h]"
    assert shape_text(()) == "[]"
    assert shape_text(None) == "[...]"
    assert str(TensorSpec("x", DataType.FP16, (1, None))) == "x FP16[1,?]"


def test_did_you_mean():
    assert suggest("logit", ["logits", "mask"], "outputs") == "did you mean `logits`?"
    assert suggest("zzz", ["logits", "mask"], "outputs") == "outputs are `logits`, `mask`"
    providers = ["CPUExecutionProvider", "CUDAExecutionProvider"]
    assert suggest("CUDAProvider", providers, "x") == "did you mean `CUDAExecutionProvider`?"
    assert suggest("name", ["on_damage"], "keys") == "keys are `on_damage`"
    assert suggest("zzz", [], "outputs") == "there are no outputs"


def test_signatures_pickle_and_compare():
    spec = TensorSpec("x", DataType.BYTES, ("n", None, 3))
    signature = Signature((spec,), (spec,), (("s", "a sequence"),))
    assert pickle.loads(pickle.dumps(signature)) == signature
    assert len({signature, Signature((spec,), (spec,))}) == 2
