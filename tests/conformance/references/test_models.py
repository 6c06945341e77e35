import numpy as np
import pytest

from aegisrt.backends.files.onnx import read_onnx
from aegisrt.conformance.references.convnet import conv_net
from aegisrt.conformance.references.models import REFERENCES, SLOW_SIDES
from aegisrt.conformance.references.supply import MODELS
from aegisrt.core.tensor import DataType
from tests.conformance.references import make_models

SMALL = [name for name in REFERENCES if not name.startswith("slow-") or name == f"slow-{SLOW_SIDES[0]}"]


def test_the_shipped_files_are_what_the_script_makes():
    pytest.importorskip("onnx", reason="the package onnx, which makes the models, is not installed")
    made = make_models.files()
    shipped = {file.name: file.read_bytes() for file in MODELS.iterdir()}
    assert shipped.keys() == made.keys(), "run: python -m tests.conformance.references.make_models"
    assert [name for name in made if made[name] != shipped[name]] == [], (
        "run: python -m tests.conformance.references.make_models"
    )


def test_the_files_are_small():
    assert sum(file.stat().st_size for file in MODELS.iterdir()) < 300_000


@pytest.mark.parametrize("name", REFERENCES)
def test_every_engine_of_the_last_years_reads_the_file(name):
    file = read_onnx(MODELS / f"{name}.onnx")
    assert file.ir_version <= 10
    assert file.opset <= 17
    assert file.signature == REFERENCES[name].signature
    assert bool(file.external_files) == REFERENCES[name].external


@pytest.mark.parametrize("name", SMALL)
def test_goldens_agree_with_the_reference_evaluator_of_onnx(name):
    evaluator = pytest.importorskip("onnx.reference", reason="the package onnx is not installed").ReferenceEvaluator
    reference = REFERENCES[name]
    inputs = reference.inputs(3)
    got = evaluator(str(MODELS / f"{name}.onnx")).run(None, inputs)
    for value, (output, golden) in zip(got, reference.goldens(inputs).items(), strict=True):
        value = np.asarray(value)
        if golden.dtype == object:
            assert value.tolist() == golden.tolist()
            continue
        close = 1e-2 if golden.dtype == np.float16 else 1e-5
        wide = (array.astype(np.float64) for array in (value, golden))
        np.testing.assert_allclose(*wide, rtol=close, atol=close, err_msg=output)


def test_inputs_come_from_the_seed_alone():
    for name in set(SMALL) - {"identity-bf16"}:
        first, again, other = (REFERENCES[name].inputs(seed) for seed in (1, 1, 2))
        for key in first:
            assert first[key].tolist() == again[key].tolist()
            assert first[key].size <= 1 or first[key].tolist() != other[key].tolist()


def test_goldens_of_different_models_differ():
    x = REFERENCES["affine"].inputs()
    answers = [REFERENCES[name].goldens(x)["y"].tolist() for name in ("affine", "affine-other")]
    assert answers[0] != answers[1]


def test_there_is_an_identity_model_of_each_dtype():
    assert {f"identity-{dtype.lower()}" for dtype in DataType} <= set(REFERENCES)


def test_the_conv_net_tells_images_apart():
    images = np.random.default_rng(1).normal(size=(8, 1, 8, 8))
    probabilities = conv_net(images)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert len(np.unique(probabilities.round(6), axis=0)) == 8
