"""Files that a manifest names: relative to what names them, in every field that is typed as a path."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aegisrt.manifest.check.validate import validate
from tests.manifest.composing import KINDS, MODEL, ThirdParty, composed, deploy_yaml, values, write

pytestmark = pytest.mark.usefixtures("folder")


def test_a_path_is_relative_to_what_says_it(folder):
    write(folder, conf__model__a="# @package models.a\npath: a.onnx\nbackend: mock\nsample: {inputs: ../x/a.npy}\n")
    (folder / "sub").mkdir()
    write(
        folder,
        sub__deploy="defaults: [model/a]\nmodels:\n"
        "  b: {path: b.onnx, backend: mock, sample: {inputs: '${models.a.path}'}}\n",
    )
    got = values(
        "sub/deploy.yaml", "+models.c={path: sub/c.onnx, backend: mock}", "+models.d.path='~/d.onnx'", config_dir="conf"
    )["models"]
    assert got["a"]["path"] == str(folder / "conf/model/a.onnx")
    assert got["a"]["sample"]["inputs"] == str(folder / "conf/x/a.npy")
    assert got["b"]["path"] == str(folder / "sub/b.onnx")
    assert got["b"]["sample"]["inputs"] == str(folder / "sub/a.onnx"), (
        "an interpolation's text is taken from where it stands"
    )
    assert got["c"]["path"] == str(folder / "sub/c.onnx")
    assert got["d"]["path"] == str(folder / "~/d.onnx")


def test_every_field_typed_as_a_path_is_a_path(folder):
    deploy_yaml("backends: {b: {kind: third-party, library: l.so, extras: {x: [p, /q]}, device: d}}\n" + MODEL)
    got = values("deploy.yaml", kinds={"third-party": ThirdParty})["backends"]["b"]
    assert got == {
        "kind": "third-party", "library": str(folder / "l.so"), "device": "d",
        "extras": {"x": [str(folder / "p"), "/q"]},
    }  # fmt: skip


def test_links_are_not_followed_and_dots_are_taken_out_only_where_that_is_the_same(folder):
    (folder / "real/deep").mkdir(parents=True)
    (folder / "link").symlink_to(folder / "real/deep")
    (folder / "real/other").write_text("")
    deploy_yaml("models:\n  a: {path: link/../other, backend: mock}\n  b: {path: real/deep/../other, backend: mock}\n")
    got = values("deploy.yaml")["models"]
    assert got["a"]["path"] == str(folder / "link/../other")
    assert got["b"]["path"] == str(folder / "real/other")
    assert Path(got["a"]["path"]).samefile(got["b"]["path"])


def test_a_mapping_s_paths_are_relative_to_the_current_folder(folder):
    got = composed({"models": {"a": {"path": Path("a.onnx"), "backend": "mock"}}})
    assert got.values["models"]["a"]["path"] == str(folder / "a.onnx")
    assert got.name == "<mapping>"


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems have no such names")
def test_a_folder_whose_name_is_not_utf_8_is_told_as_such(folder, monkeypatch):
    here = folder / "caf\udce9"
    here.mkdir()
    monkeypatch.chdir(here)
    (found,) = validate(composed(deploy_yaml(MODEL)), KINDS, files=False).unwrap_err().diagnostics
    assert found.id == "bad-value"
    assert "not UTF-8" in found.message
    assert "rename" in (found.hint or "")
