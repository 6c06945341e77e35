"""`deploy()`: every form of a manifest, and what is wrong with one as an answer."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from aegisrt import Err, ErrorCode, ExecutionRequest, Manifest, Ok, ResultError, deploy
from aegisrt.deployment import resolve
from tests.runtime.models import affine

X = np.arange(8, dtype=np.float32).reshape(2, 4)
pytestmark = pytest.mark.smoke
MANIFEST = "models:\n  double: {path: affine.mock.json, backend: mock}\n"


@pytest.fixture
def deploy_yaml(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    affine(tmp_path)
    Path("deploy.yaml").write_text(MANIFEST)
    return Path("deploy.yaml")


def made_by_hand(**changed):
    plain = {
        "devices": {"cpu": {"kind": "cpu"}},
        "backends": {"mock": {"kind": "mock"}},
        "models": {"double": {"path": "affine.mock.json", "backend": "mock"}},
    }
    return Manifest.model_validate_json(json.dumps(plain | changed))


def resolved():
    return resolve("deploy.yaml").unwrap().manifest


@pytest.mark.parametrize(
    "form",
    [
        str,
        Path.absolute,
        lambda _: {"models": {"double": {"path": Path("affine.mock.json"), "backend": "mock"}}},
        lambda _: resolved(),
        lambda _: pickle.loads(pickle.dumps(resolved())),
        lambda _: made_by_hand(),
    ],
    ids=["str", "Path", "mapping", "Manifest", "pickled", "made-by-hand"],
)
def test_a_manifest_may_come_as(deploy_yaml, form):
    with deploy(form(deploy_yaml)).unwrap() as context:
        assert context.models == ("double",)
        match context.execute(ExecutionRequest(inputs={"x": X})):
            case Ok(result):
                np.testing.assert_array_equal(result.outputs["y"], 2 * X)
            case Err(error):
                pytest.fail(str(error))


def test_overrides_change_a_resolved_manifest(deploy_yaml):
    with deploy(resolved(), ["models.double.instances=3"]).unwrap() as context:
        assert context.graph.models[0].instances == 3


def test_text_of_a_resolved_manifest_is_not_interpolated_again(deploy_yaml):
    affine(deploy_yaml.parent.absolute(), "${x}")
    deploy_yaml.write_text(MANIFEST.replace("affine.mock.json", r"'\${x}.mock.json'"))
    assert resolved().models["double"].path.name == "${x}.mock.json"
    assert deploy(resolved(), ["env=dev"]).is_ok()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"backends": {}}, "backend `mock` is not declared"),
        ({"devices": {}}, "device `cpu`"),
        ({"models": {"m": {"path": "nope.onnx", "backend": "mock"}}}, "does not exist"),
        ({"backends": {"mock": {"kind": "nope"}}}, "`nope` is not a backend kind"),
    ],
)
def test_a_manifest_that_was_made_by_hand_is_checked(deploy_yaml, changed, said):
    error = deploy(made_by_hand(**changed)).unwrap_err()
    assert said in error.message
    assert error.diagnostics


def test_a_model_given_as_a_manifest_is_told_as_one(tmp_path):
    path = tmp_path / "digits.onnx"
    path.write_bytes(b"\x08\x08:\xa5\x01")
    error = deploy(path).unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert f"aegisrt init --model {path}" in error.diagnostics[0].hint


def test_errors_are_an_answer_with_a_place(deploy_yaml):
    deploy_yaml.write_text(MANIFEST.replace("backend: mock", "backend: mokc"))
    error = deploy(deploy_yaml).unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert str(error.location) == "deploy.yaml:2:45"
    assert [found.label for found in error.diagnostics] == ["did you mean `mock`?"]
    with pytest.raises(ResultError) as caught:
        deploy(deploy_yaml).unwrap()
    assert caught.value.error == pickle.loads(pickle.dumps(caught.value)).error == error


def test_an_engine_s_error_has_the_place_of_what_asked_for_it(deploy_yaml):
    deploy_yaml.write_text(MANIFEST + "backends:\n  mock: {fail_load: RESOURCE_EXHAUSTED}\n")
    error = deploy(deploy_yaml).unwrap_err()
    assert error.code is ErrorCode.RESOURCE_EXHAUSTED
    assert str(error.location) == "deploy.yaml:2:18"
    assert "`double`" in error.message


@pytest.mark.parametrize("overrides", ["env=prod", None, [5], iter(["env=prod"])])
def test_overrides_that_are_no_list_are_refused_not_dropped(deploy_yaml, overrides):
    assert deploy(deploy_yaml, overrides).unwrap_err().diagnostics[0].id == "bad-override"


@pytest.mark.parametrize("manifest", [3, b"deploy.yaml", ["deploy.yaml"]])
def test_what_can_be_no_manifest_is_an_answer(manifest):
    error = deploy(manifest).unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert "a manifest is the path of a YAML file" in error.message


@pytest.mark.parametrize("folder", [5, ["conf"], b"conf"])
def test_a_folder_of_groups_that_is_not_a_path(folder):
    error = deploy({}, config_dir=folder).unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert "`config_dir` is the path of a folder" in error.message
