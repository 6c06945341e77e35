"""Names with dots, such as `input.1`, in the keys of overrides and interpolations."""

from __future__ import annotations

import pytest

from aegisrt.core.result import Err
from aegisrt.manifest.check.validate import validate
from aegisrt.manifest.compose.compose import compose
from aegisrt.manifest.explain import explain
from tests.manifest.composing import KINDS, composed, deploy_yaml, errors, values

pytestmark = pytest.mark.usefixtures("folder")
INPUTS = "models.digits.signature.inputs"


@pytest.fixture(autouse=True)
def _manifest(folder):
    deploy_yaml(
        "models:\n  digits:\n    path: digits.onnx\n    backend: mock\n    signature:\n      inputs:\n"
        "        input: {dtype: FP32, shape: [3]}\n        input.1: {dtype: FP32, shape: [1, 2]}\n"
        "        input.1.x: {dtype: INT8}\n        a.b: {dtype: FP64}\n"
    )


def inputs(*overrides):
    return values("deploy.yaml", *overrides)["models"]["digits"]["signature"]["inputs"]


@pytest.mark.parametrize(
    ("override", "name", "field", "expected"),
    [
        (f"{INPUTS}.input.1.dtype=INT8", "input.1", "dtype", "INT8"),
        (f"{INPUTS}.input.dtype=INT8", "input", "dtype", "INT8"),
        (f"{INPUTS}.input.1.x.dtype=BOOL", "input.1.x", "dtype", "BOOL"),
        (f"{INPUTS}.input.1.x.shape=[7]", "input.1.x", "shape", [7]),
        (f"{INPUTS}.input.1.shape.1=7", "input.1", "shape", [1, 7]),
        (f"++{INPUTS}.a.b.shape=[1]", "a.b", "shape", [1]),
        (f"++{INPUTS}={{a.b: {{dtype: BOOL}}}}", "a.b", "dtype", "BOOL"),
    ],
)
def test_an_override_reaches_it(override, name, field, expected):
    before, after = inputs(), inputs(override)
    assert after[name][field] == expected
    assert {key: value for key, value in after.items() if key != name} == {
        key: value for key, value in before.items() if key != name
    }


def test_a_deletion_reaches_it():
    assert list(inputs(f"~{INPUTS}.input.1")) == ["input", "input.1.x", "a.b"]
    assert inputs(f"~{INPUTS}.input.1.shape")["input.1"] == {"dtype": "FP32"}


def test_an_interpolation_reaches_it():
    warmup, instances = f"${{{INPUTS}.input.1.shape.1}}", "${.signature.inputs.input.shape.0}"
    got = values("deploy.yaml", f"models.digits.warmup={warmup}", f"models.digits.instances={instances}")
    assert (got["models"]["digits"]["warmup"], got["models"]["digits"]["instances"]) == (2, 3)
    assert errors("deploy.yaml", f"models.digits.warmup=${{{INPUTS}.input.2.shape}}")[0].startswith("interpolation")


def test_its_errors_are_at_its_segment():
    composition = composed("deploy.yaml", f"{INPUTS}.input.1.dtype=FP31")
    (found,) = validate(composition, KINDS, files=False).unwrap_err().diagnostics
    assert (found.id, found.path) == ("bad-value", f"{INPUTS}.input.1.dtype")
    composition = composed("deploy.yaml", f"{INPUTS}.input.1.dtyp=FP32")
    (found,) = validate(composition, KINDS, files=False).unwrap_err().diagnostics
    assert (found.id, found.location.column) == ("unknown-field", len(f"{INPUTS}.input.1.") + 1)


@pytest.mark.parametrize("name", ["input.2", "new.name", "new.long.name"])
def test_the_hint_for_a_new_one_works(name):
    result = compose("deploy.yaml", [f"{INPUTS}.{name}.dtype=FP16"], kinds=KINDS)
    assert isinstance(result, Err)
    (found,) = result.error.diagnostics
    assert (found.id, found.location.column) == ("unknown-name", len(INPUTS) + 2)
    override = found.hint.split("`")[1]
    assert inputs(override)[name] == {"dtype": "FP16"}


@pytest.mark.parametrize("name", ["input:0", "/model/conv", "serving_default_x:0"])
def test_the_hint_for_one_with_other_characters_works(name):
    result = compose("deploy.yaml", [f"{INPUTS}.{name}.dtype=FP16"], kinds=KINDS)
    (found,) = result.unwrap_err().diagnostics
    override = found.hint.split("`")[1].replace("...", "FP16")
    assert inputs(override)[name] == {"dtype": "FP16"}


def test_explain_finds_it():
    composition = composed("deploy.yaml")
    rows = explain(composition, None, f"{INPUTS}.input.1").unwrap()
    assert {row["path"] for row in rows} > {f"{INPUTS}.input.1.dtype", f"{INPUTS}.input.1.shape.0"}
