from __future__ import annotations

from types import MappingProxyType

import numpy as np
import pytest

from aegisrt.core.inputs import InputCheck
from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.core.tensor import DataType, TensorSpec

PLAIN = [dtype for dtype in DataType if dtype not in (DataType.BF16, DataType.BYTES)]
X = np.arange(6, dtype=np.float32).reshape(2, 3)


def check(value, dtype=DataType.FP32, shape=("n", 3)):
    return InputCheck((TensorSpec("x", dtype, shape),))({"x": value})["x"]


def refused(value, dtype=DataType.FP32, shape=("n", 3)):
    with pytest.raises(ResultError) as caught:
        check(value, dtype, shape)
    assert caught.value.error.code is ErrorCode.INVALID_ARGUMENT
    return caught.value.error


class TestAccepted:
    def test_a_fitting_array_is_passed_as_it_is(self):
        assert check(X) is X

    @pytest.mark.parametrize("dtype", PLAIN)
    def test_every_dtype(self, dtype):
        value = np.zeros((1, 3), dtype.numpy)
        assert check(value, dtype) is value

    def test_a_read_only_one_is_not_copied(self):
        value = X.copy()
        value.flags.writeable = False
        assert check(value) is value

    @pytest.mark.parametrize("dtype", [d for d in PLAIN if d.numpy.itemsize > 1])
    def test_big_endian_becomes_native(self, dtype):
        value = np.array([[1, 2, 3]], dtype.numpy.newbyteorder(">"))
        made = check(value, dtype)
        assert made.dtype.isnative
        np.testing.assert_array_equal(made, value)

    @pytest.mark.parametrize(
        "value", [X[::-1], np.asfortranarray(X), np.zeros((2, 6), np.float32)[:, ::2], np.broadcast_to(X[0], (4, 3))]
    )
    def test_strided_becomes_contiguous(self, value):
        made = check(value)
        assert made.flags.c_contiguous
        np.testing.assert_array_equal(made, value)

    def test_unaligned_becomes_aligned(self):
        value = np.frombuffer(bytes(1) + X.tobytes(), np.uint8)[1:].view(np.float32).reshape(2, 3)
        assert not value.flags.aligned
        made = check(value)
        assert made.flags.aligned
        np.testing.assert_array_equal(made, X)

    def test_inputs_are_never_written(self):
        value = X[::-1].astype(">f4")
        before = value.copy()
        check(value)[...] = 9
        np.testing.assert_array_equal(value, before)

    @pytest.mark.parametrize("value", [np.float32(1), np.array(1, np.float32), np.array(1, ">f4")])
    def test_scalars(self, value):
        made = check(value, shape=())
        assert (made.shape, made.dtype, float(made)) == ((), np.float32, 1.0)

    @pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3)])
    def test_empty_tensors(self, shape):
        assert check(np.zeros(shape, np.float32), shape=(None,) * (len(shape) - 1) + (3,)).shape == shape

    @pytest.mark.parametrize("shape", [(), (1,), (1, 2, 3)])
    def test_an_unknown_rank_takes_any(self, shape):
        assert check(np.zeros(shape, np.float32), shape=None).shape == shape

    @pytest.mark.parametrize(
        "value",
        [np.array(["a", "b"], object), np.array([b"a", "b"], object), np.array(["a", "b"]), np.array([b"a", b"b"])],
    )
    def test_strings(self, value):
        made = check(value, DataType.BYTES, ("n",))
        assert made.dtype == object
        assert made.tolist() == value.tolist()

    def test_a_subclass_becomes_a_plain_array(self):
        assert type(check(X.view(np.recarray))) is np.ndarray

    def test_dlpack_of_the_host(self):
        class Tensor:
            def __dlpack__(self, **options):
                return X.__dlpack__(**options)

            def __dlpack_device__(self):
                return (1, 0)

        np.testing.assert_array_equal(check(Tensor()), X)

    def test_any_mapping_in_any_order_comes_out_in_the_models_order(self):
        specs = tuple(TensorSpec(name, DataType.FP32, None) for name in "abc")
        made = InputCheck(specs)(MappingProxyType({"c": X, "a": X, "b": X}))
        assert list(made) == ["a", "b", "c"]


class TestRefused:
    @pytest.mark.parametrize(
        "value", [X.astype(np.float64), X.astype(np.int32), X > 0, X.astype(object), X.astype(str)]
    )
    def test_another_dtype_is_not_cast(self, value):
        error = refused(value)
        assert "the model takes FP32" in error.message or "BYTES" in error.message
        assert error.hint == "convert it: `x.astype('float32')`"

    @pytest.mark.parametrize("shape", [(3,), (2, 4), (1, 2, 3), ()])
    def test_another_shape(self, shape):
        assert refused(np.zeros(shape, np.float32)).message.endswith("the model takes [n,3]")

    @pytest.mark.parametrize("value", [[[1.0, 2, 3]], ((1.0, 2, 3),), 1.0, None, "abc", object()])
    def test_what_is_no_array(self, value):
        assert "numpy.asarray(x, dtype='float32')" in refused(value).hint

    def test_a_masked_array(self):
        assert "masked" in refused(np.ma.masked_array(X, X > 1)).message

    def test_dates_and_complex_numbers_are_named(self):
        assert "complex64" in refused(X.astype(np.complex64)).message

    @pytest.mark.parametrize("value", [np.array([1, 2], object), np.array(["a", None], object)])
    def test_objects_that_are_no_strings(self, value):
        assert "strings" in refused(value, DataType.BYTES, ("n",)).message

    def test_dlpack_of_another_device(self):
        class Tensor:
            def __dlpack__(self, **options):
                raise AssertionError("must not be asked")

            def __dlpack_device__(self):
                return (2, 0)

        error = refused(Tensor())
        assert "device type 2" in error.message
        assert error.hint == "copy it to the host: `x.cpu()`"

    def test_dlpack_that_refuses(self):
        class Tensor:
            def __dlpack__(self, **options):
                raise BufferError("it requires grad")

            def __dlpack_device__(self):
                return (1, 0)

        assert "it requires grad" in refused(Tensor()).message

    @pytest.mark.parametrize(
        ("inputs", "message", "hint"),
        [
            ({}, "input `image`, `size` is missing", "the model takes image FP32[n], size INT64[]"),
            ({"image": X}, "input `size` is missing", "the model takes image FP32[n], size INT64[]"),
            ({"imag": X, "size": X}, "`imag` is not an input of the model", "did you mean `image`?"),
            ({"image": X, "size": X, "z": X}, "`z` is not an input of the model", "inputs are `image`, `size`"),
            ([X, X], "inputs is a list, not a mapping of names", None),
            (None, "inputs is a NoneType, not a mapping of names", None),
            (7, "inputs is a int, not a mapping of names", None),
        ],
    )
    def test_names(self, inputs, message, hint):
        made = InputCheck((TensorSpec("image", DataType.FP32, ("n",)), TensorSpec("size", DataType.INT64, ())))
        with pytest.raises(ResultError) as caught:
            made(inputs)
        error = caught.value.error
        assert (error.code, error.message, error.hint) == (ErrorCode.INVALID_ARGUMENT, message, hint)


def test_a_model_without_inputs():
    assert InputCheck(())({}) == {}


def test_an_optional_input_that_the_engine_computes_as_a_constant_is_named():
    inputs = InputCheck((TensorSpec("x", DataType.FP32, ("n", 3)),), defaults_fixed=("gain",))
    assert inputs({"x": X})["x"] is X
    with pytest.raises(ResultError) as caught:
        inputs({"x": X, "gain": X})
    assert caught.value.error.code is ErrorCode.UNIMPLEMENTED
    assert "`gain`" in caught.value.error.message
    assert "leave it out" in caught.value.error.hint
