import numpy as np
import pytest

from aegisrt.conformance.references.compare import difference

ONE = np.asarray([[1.0, 2.0]], np.float32)


@pytest.mark.parametrize(
    ("got", "words"),
    [
        ([[1.0, 2.0]], "wanted a numpy array, got a list"),
        (ONE.astype(np.float64), "wanted dtype FP32, got FP64"),
        (ONE[0], "wanted shape [1,2], got [2]"),
        (np.asarray([[1.0, 2.5]], np.float32), "wanted 2.0, got 2.5 (tolerance 0.002) at [0,1]; 1 of 2 elements"),
        (np.asarray([[np.nan, 2.0]], np.float32), "wanted 1.0, got nan"),
        (np.asarray([[np.inf, 2.0]], np.float32), "wanted 1.0, got inf"),
    ],
)
def test_a_difference_is_named(got, words):
    assert words in difference(got, ONE, 1e-3)


def test_within_tolerance_there_is_no_difference():
    assert difference(ONE * np.float32(1.0005), ONE, 1e-3) is None
    assert difference(ONE * np.float32(1.0005), ONE) is not None


def test_special_values_match_themselves_only():
    want = np.asarray([np.nan, np.inf, -np.inf, 1.0], np.float32)
    assert difference(want.copy(), want, 1e-3) is None
    assert "wanted inf, got -inf" in difference(want[[0, 2, 2, 3]], want, 1e-3)


def test_without_tolerance_bits_are_compared():
    assert difference(np.asarray([-0.0]), np.asarray([0.0])) is not None
    assert difference(np.asarray([1, 2]), np.asarray([1, 2])) is None


def test_texts_equal_their_utf8_bytes():
    want = np.asarray(["ü", "b"], object)
    assert difference(np.asarray(["ü".encode(), "b"], object), want) is None
    assert "wanted 'b', got 'c' at [1]" in difference(np.asarray(["ü", "c"], object), want)


def test_empty_and_scalar_arrays():
    assert difference(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), 1e-3) is None
    assert "at []" in difference(np.asarray(2.0), np.asarray(1.0), 1e-3)
