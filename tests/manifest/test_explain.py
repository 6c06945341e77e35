"""`explain`: one row a leaf, defaults too."""

from __future__ import annotations

import pytest

from aegisrt.core.result import ErrorCode
from aegisrt.manifest.check.validate import validate
from aegisrt.manifest.explain import explain
from tests.manifest.composing import KINDS, MODEL, composed


@pytest.fixture
def rows(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deploy.yaml").write_text(MODEL + "    \n")
    (tmp_path / "digits.onnx").write_text("x")

    def rows(*overrides, key=None):
        composition = composed("deploy.yaml", *overrides)
        manifest = validate(composition, KINDS).unwrap()
        return explain(composition, manifest, key)

    return rows


def test_a_value_of_a_file_an_override_and_a_default(rows, tmp_path):
    found = {row["path"]: row for row in rows("models.digits.instances=2", "env=prod").unwrap()}
    assert found["models.digits.path"] == {
        "path": "models.digits.path", "value": str(tmp_path / "digits.onnx"), "source": "file", "file": "deploy.yaml",
        "line": 2, "column": 18, "override": None, "set_by": None,
    }  # fmt: skip
    assert found["models.digits.instances"] == {
        "path": "models.digits.instances", "value": 2, "source": "override", "file": None, "line": None, "column": 25,
        "override": "models.digits.instances=2", "set_by": None,
    }  # fmt: skip
    assert found["models.digits.warmup"] == {
        "path": "models.digits.warmup", "value": 0, "source": "default", "file": None, "line": None, "column": None,
        "override": None, "set_by": None,
    }  # fmt: skip
    assert found["models.digits.sample"]["value"] is None
    assert found["backends.onnx.providers"]["source"] == "default"
    assert found["backends.onnx.allow_spinning"]["set_by"] == "env=prod"


def test_the_order_is_the_manifest_s(rows):
    heads = [row["path"].split(".")[0] for row in rows().unwrap()]
    assert list(dict.fromkeys(heads)) == ["api_version", "devices", "streams", "backends", "models", "limits", "server"]
    paths = [row["path"] for row in rows(key="models.digits").unwrap()]
    assert paths[:3] == ["models.digits.path", "models.digits.backend", "models.digits.sha256"]


def test_a_key_leaves_what_is_under_it(rows):
    assert [row["path"] for row in rows(key="models.digits.path").unwrap()] == ["models.digits.path"]
    assert {row["path"].split(".")[1] for row in rows(key="backends").unwrap()} == {"mock", "onnx"}
    text = "models.digits.signature={inputs:{input.1:{dtype:FP32,shape:[1,2]}}}"
    found = rows(text, key="models.digits.signature.inputs.input.1").unwrap()
    assert [row["path"].rpartition("input.1.")[2] for row in found] == ["dtype", "shape.0", "shape.1", "optional"]


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("models.digts.path", "did you mean `digits`?"),
        ("modles", "did you mean `models`?"),
        ("models.digits.pth", "did you mean `path`?"),
        ("models.digits.path.x", "`models.digits.path` is one value"),
        ("zzz", "keys are `api_version`, `devices`, `streams`, `backends`, `models`, `limits`, `server`"),
        ("", "keys are `api_version`, `devices`, `streams`, `backends`, `models`, `limits`, `server`"),
        ("streams.nothing-like-it", "`streams` contains `default`"),
    ],
)
def test_an_unknown_key_is_answered(rows, key, hint):
    error = rows(key=key).unwrap_err()
    assert (error.code, error.hint) == (ErrorCode.NOT_FOUND, hint)


def test_without_a_valid_manifest_the_rows_are_of_what_was_said(rows):
    composition = composed("deploy.yaml", "models.digits.instances=many")
    found = explain(composition, None, "models.digits").unwrap()
    assert [(row["path"], row["source"]) for row in found] == [
        ("models.digits.path", "file"),
        ("models.digits.backend", "file"),
        ("models.digits.instances", "override"),
    ]
