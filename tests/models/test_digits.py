"""The packaged digits model and its sample, looked at without AegisRT."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.models import train_digits

FOLDER = Path(__file__).parents[2] / "configs" / "model"
ONNX_FILE = FOLDER / "digits.onnx"
OPERATORS = {"Conv", "Relu", "MaxPool", "Flatten", "Gemm", "Softmax"}


@pytest.fixture(scope="module")
def images():
    return np.load(FOLDER / "digits.images.npy")


@pytest.fixture(scope="module")
def labels():
    return np.load(FOLDER / "digits.labels.npy")


@pytest.fixture(scope="module")
def model():
    onnx = pytest.importorskip("onnx", reason="the package onnx is not installed")
    onnx.checker.check_model(str(ONNX_FILE), full_check=True)
    return onnx.load(ONNX_FILE)


@pytest.fixture(scope="module")
def session():
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    return ort.InferenceSession(ONNX_FILE, providers=["CPUExecutionProvider"])


def test_any_engine_of_the_last_years_can_read_it(model):
    assert ONNX_FILE.stat().st_size < 200_000
    assert model.ir_version <= 10
    assert [(entry.domain, entry.version <= 17) for entry in model.opset_import] == [("", True)]
    assert {node.op_type for node in model.graph.node} <= OPERATORS
    assert model.producer_name == "aegisrt"


def test_its_batch_is_dynamic_and_its_tensors_are_named(model):
    def described(value):
        kind = value.type.tensor_type
        return value.name, kind.elem_type, [dim.dim_param or dim.dim_value for dim in kind.shape.dim]

    fp32 = 1
    assert [described(value) for value in model.graph.input] == [("image", fp32, ["batch", 1, 8, 8])]
    assert [described(value) for value in model.graph.output] == [("probabilities", fp32, ["batch", 10])]


def test_the_sample_is_real_images_of_every_digit(images, labels):
    assert images.dtype == np.float32
    assert images.shape == (360, 1, 8, 8)
    assert labels.dtype == np.int64
    assert labels.shape == (360,)
    assert np.array_equal(images * 16, (images * 16).round()), "the data set has 17 shades"
    assert (images.min(), images.max()) == (0, 1)
    assert np.bincount(labels, minlength=10).min() >= 34


@pytest.mark.engine("onnx")
def test_it_reads_images_that_it_was_not_trained_on(session, images, labels):
    (probabilities,) = session.run(None, {"image": images})
    assert probabilities.sum(axis=1) == pytest.approx(1, abs=1e-5)
    accuracy = np.mean(probabilities.argmax(axis=1) == labels)
    assert accuracy >= 0.97, f"accuracy {accuracy:.4f} on the held-out images, wanted 0.97"


@pytest.mark.engine("onnx")
@pytest.mark.parametrize("batch", [0, 1, 7])
def test_every_batch_size_gives_the_same_answers(session, images, batch):
    (whole,) = session.run(None, {"image": images})
    (part,) = session.run(None, {"image": images[:batch]})
    assert part.shape == (batch, 10)
    assert part == pytest.approx(whole[:batch], abs=1e-6)


def test_the_sample_is_the_held_out_part_and_shares_no_image_with_training(images, labels):
    pytest.importorskip("sklearn", reason="scikit-learn, which holds the data set, is not installed")
    every_image, every_label = train_digits.load()
    training, held_out = train_digits.split(every_label)
    assert sorted([*training, *held_out]) == list(range(len(every_label)))
    assert np.array_equal(images, every_image[held_out])
    assert np.array_equal(labels, every_label[held_out])
    trained_on = {image.tobytes() for image in every_image[training]}
    assert not any(image.tobytes() in trained_on for image in images)
