"""Each kind of difference is found and located; equal outputs, and rounding, are not reported."""

import json

import numpy as np
import pytest

from aegisrt.comparison.answers import compare_answers
from aegisrt.comparison.tensors import compare_tensors
from aegisrt.comparison.tolerance import Tolerance, tolerance_for

RANDOM = np.random.default_rng(0)
SCORES = np.exp(RANDOM.standard_normal((64, 10))).astype(np.float32)
SCORES /= SCORES.sum(axis=1, keepdims=True)


def one_beyond(scores):
    scores[17, 3] += np.float32(0.01)
    return scores


def nan_row(scores):
    scores[5] = np.nan
    return scores


def swapped_labels(scores):
    return scores[:, [1, 0, *range(2, 10)]]


def overflow(scores):
    scores[9, 9] = np.inf
    return scores


def without(outputs, name):
    return {key: value for key, value in outputs.items() if key != name}


SEEDED = {
    "one element beyond the tolerance": (one_beyond, (17, 3)),
    "NaN in one row": (nan_row, (5, 0)),
    "an infinity": (overflow, (9, 9)),
    "two classes swapped": (swapped_labels, (0, 0)),
    "a rotated class list": (lambda scores: np.roll(scores, 1, axis=1), (0, 0)),
    "two rows swapped": (lambda scores: scores[[1, 0, *range(2, 64)]], (0, 0)),
    "a constant factor": (lambda scores: scores * np.float32(1.01), (0, 0)),
    "half precision of small values": (
        lambda scores: (scores * 1e-6).astype(np.float16).astype(np.float32) * 1e6,
        None,
    ),
    "zeros": (np.zeros_like, (0, 0)),
}


@pytest.mark.parametrize("name", SEEDED)
def test_a_seeded_difference_is_found_and_located(name):
    seed, at = SEEDED[name]
    found = compare_answers({"scores": seed(SCORES.copy())}, {"scores": SCORES})["scores"]
    assert not found.ok
    assert found.wrong > 0
    if at is not None:
        assert found.wrong_at == at
    json.dumps(found.to_json(), allow_nan=False)


@pytest.mark.parametrize(
    ("got", "words"),
    [
        (SCORES.astype(np.float64), "wanted dtype FP32, got FP64"),
        (SCORES.T, "wanted shape [64,10], got [10,64]"),
        (SCORES.tolist(), "wanted a numpy array, got a list"),
    ],
)
def test_outputs_that_cannot_be_compared_differ(got, words):
    found = compare_answers({"scores": got}, {"scores": SCORES})["scores"]
    assert (found.ok, found.problem, found.max_abs) == (False, words, None)


def test_an_output_of_one_side_differs():
    both = {"a": SCORES, "b": SCORES}
    assert not compare_answers({"a": SCORES}, both)["b"].ok
    assert compare_answers({"a": SCORES}, both)["a"].ok
    assert "no output `b`" in compare_answers(both, {"a": SCORES})["b"].problem


def test_the_largest_differences_are_measured_where_they_are():
    wanted = np.asarray([[100.0, 1.0], [0.0, 2.0]], np.float32)
    found = compare_tensors(wanted + np.asarray([[0.5, 0.25], [0.125, 0.0]], np.float32), wanted, Tolerance(1, 0))
    assert (found.ok, found.max_abs, found.max_abs_at) == (True, 0.5, (0, 0))
    assert (found.max_rel, found.max_rel_at) == (0.25, (0, 1))


def test_rounding_is_within_the_default_of_each_dtype():
    for dtype, scale in ((np.float64, 1e-12), (np.float32, 1e-6), (np.float16, 1e-3)):
        wanted = (RANDOM.standard_normal((8, 5)) * 30).astype(dtype)
        got = (wanted * (1 + scale * RANDOM.standard_normal((8, 5)))).astype(dtype)
        assert compare_answers({"y": got}, {"y": wanted})["y"].ok


def test_small_values_are_held_to_their_own_scale():
    wanted = np.full((4,), 1e-6, np.float32)
    assert not compare_answers({"y": wanted * np.float32(1.1)}, {"y": wanted})["y"].ok
    assert tolerance_for(wanted).atol == pytest.approx(1e-10)


def test_what_the_user_gives_wins_over_the_default():
    assert tolerance_for(SCORES, 0.5, 0.0) == Tolerance(0.5, 0.0)
    assert tolerance_for(np.asarray([1]), None, None) == Tolerance(0, 0)
    assert compare_answers({"y": np.asarray([5])}, {"y": np.asarray([6])}, 1.0)["y"].ok


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_64_bit_integers_are_compared_exactly(dtype):
    wanted = np.asarray([2**62, 2**62], dtype)
    found = compare_answers({"y": wanted + np.asarray([0, 1], dtype)}, {"y": wanted})["y"]
    assert (found.wrong, found.wrong_at, found.max_abs) == (1, (1,), 1.0)


def test_the_extremes_of_an_integer_are_their_true_distance_apart():
    ends = np.asarray([np.iinfo(np.int64).min, 0], np.int64), np.asarray([np.iinfo(np.int64).max, 0], np.int64)
    assert compare_tensors(*ends, Tolerance()).max_abs == pytest.approx(2.0**64)


def test_nan_equals_nan_and_infinities_equal_themselves():
    wanted = np.asarray([[np.nan, np.inf, -np.inf, 1.0]], np.float32)
    assert compare_answers({"y": wanted.copy()}, {"y": wanted})["y"].ok
    assert compare_answers({"y": wanted[:, [0, 2, 1, 3]]}, {"y": wanted})["y"].wrong == 2


def test_top_1_is_a_share_of_rows_and_ties_agree():
    wanted = np.asarray([[0.1, 0.9], [0.5, 0.5], [0.9, 0.1], [np.nan, 0.0]], np.float32)
    got = np.asarray([[0.9, 0.1], [0.5, 0.5001], [0.9, 0.1], [0.1, 0.0]], np.float32)
    assert compare_tensors(got, wanted, Tolerance(1)).top1 == 0.5
    assert compare_tensors(wanted, wanted, Tolerance()).top1 == 1.0
    assert compare_tensors(np.zeros(1, np.float32), np.zeros(1, np.float32), Tolerance()).top1 is None


def test_texts_are_compared_as_bytes():
    wanted = np.asarray([["ü", b"\xff"]], object)
    assert compare_tensors(np.asarray([["ü".encode(), b"\xff"]], object), wanted, Tolerance()).ok
    found = compare_tensors(np.asarray([["ü", b"\xfe"]], object), wanted, Tolerance())
    assert (found.wrong_at, found.max_abs, found.top1) == ((0, 1), None, None)


def test_a_difference_behind_the_first_chunk_is_located(monkeypatch):
    monkeypatch.setattr("aegisrt.comparison.tensors._CHUNK", 7)
    wanted = RANDOM.standard_normal((3, 11)).astype(np.float32)
    got = wanted.copy()
    got[2, 4] += 1
    found = compare_tensors(got, wanted, Tolerance(1e-6))
    assert (found.wrong, found.wrong_at, found.max_abs_at) == (1, (2, 4), (2, 4))
    assert found.max_abs == pytest.approx(1, rel=1e-6)


def test_empty_and_scalar_outputs():
    assert compare_tensors(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), Tolerance()).ok
    found = compare_tensors(np.asarray(2.0), np.asarray(1.0), Tolerance())
    assert (found.wrong_at, found.max_abs, found.max_rel) == ((), 1.0, 1.0)
