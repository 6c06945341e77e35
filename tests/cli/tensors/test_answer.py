"""What a person reads: predictions and pictures, of whatever a model answers."""

import numpy as np
import pytest

from aegisrt.cli.tensors.answer import accuracy, classes, print_answer
from aegisrt.core.request import ExecutionResult
from aegisrt.core.timing import StepTimes
from aegisrt.runtime.building.sample import Sample


def printed(capsys, outputs, inputs, labels=None):
    print_answer(ExecutionResult(outputs, StepTimes(), "m", "mock", "cpu"), Sample(inputs, labels), None)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((0, 1, 8, 8), np.float32),
        np.zeros((2, 1, 0, 0), np.float32),
        np.full((2, 1, 8, 8), np.nan, np.float32),
        np.full((2, 1, 8, 8), np.inf, np.float32),
        np.zeros((2, 1, 8, 8), np.float32),
        np.zeros((2, 1, 8, 8), bool),
    ],
    ids=["no-images", "no-pixels", "nan", "infinite", "blank", "bool"],
)
def test_images_of_every_sort_are_drawn_or_left_out(images, capsys):
    labels = np.arange(len(images))
    out = printed(capsys, {"y": np.eye(len(images), 3, dtype=np.float32)}, {"x": images}, labels)
    assert ("predicted 0 1" in out) == bool(len(images))


def test_a_picture_is_as_bright_as_its_pixels(capsys):
    image = np.zeros((1, 1, 2, 2), np.uint8)
    image[0, 0, 0, 1] = 255
    out = printed(capsys, {"y": np.zeros(1, np.int64)}, {"x": image}, np.zeros(1))
    assert "\n  @@\n    \n" in out


def test_long_texts_are_clipped(capsys):
    out = printed(capsys, {"y": np.asarray(["a" * 1000], object)}, {})
    assert "a" * 39 + "…" in out
    assert "a" * 41 not in out


def test_classes_are_integers_or_the_best_scores():
    scores = np.float32([[0.1, 0.9], [0.8, 0.2]])
    assert classes({"other": np.zeros((3, 3)), "scores": scores}, 2).tolist() == [1, 0]
    assert classes({"labels": np.int64([7, 8]), "scores": scores}, 2).tolist() == [7, 8]
    assert classes({"one": np.zeros((2, 1), np.float32)}, 2) is None
    assert accuracy({"scores": scores}, np.asarray([1, 1])) == 0.5
    assert accuracy({"scores": scores}, None) is None
    assert accuracy({}, np.asarray([1, 1])) is None
