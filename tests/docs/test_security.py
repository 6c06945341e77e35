"""SECURITY.md is true: what has no test elsewhere is tried here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aegisrt import ExecutionRequest, deploy
from aegisrt.artifacts.cache import ArtifactCache
from aegisrt.artifacts.location import VARIABLE
from aegisrt.core.result import ErrorCode
from aegisrt.core.sidecar import file_sha256, verified_file
from aegisrt.deployment import resolve
from aegisrt.runtime.building.engine_files import loadable_file
from tests.fakes.builder import FakeBackend
from tests.runtime.building.test_pins import built, pinned

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
READ = {"path", "inputs", "labels", "certificate", "key", "client_ca", "token_file"}
WRITTEN = {"optimized_folder", "profile_folder", "timing_cache"}


def paths(schema: Any, name: str = "") -> Iterator[str]:
    """Yield the fields of a JSON Schema that name a file or a folder."""
    if isinstance(schema, dict):
        if schema.get("format") == "path":
            yield name
        for key, inner in schema.items():
            yield from paths(inner, name if key == "anyOf" else key)
    elif isinstance(schema, list):
        for inner in schema:
            yield from paths(inner, name)


def test_a_manifest_names_no_other_files_than_those_of_the_page():
    found = set(paths(json.loads((ROOT / "schemas" / "manifest.schema.json").read_text(encoding="utf-8"))))
    assert found == READ | WRITTEN
    section = PAGE.partition("## A manifest")[2].partition("\n## ")[0]
    assert {name for name in WRITTEN if re.search(rf"`(build\.)?{name}`", section)} == WRITTEN


def test_every_option_that_the_page_names_exists():
    schema = (ROOT / "schemas" / "manifest.schema.json").read_text(encoding="utf-8")
    options = set(re.findall(r"`([a-z][a-z_.]*_[a-z_]+)`", PAGE))
    assert options >= {"isolation_memory_bytes", "isolation_output_bytes", "limits.input_bytes"}
    assert {name for name in options if f'"{name.rpartition(".")[2]}"' not in schema} == set()


def test_the_mode_of_a_manifest_and_of_a_model_is_not_checked(tmp_path):
    model, manifest = tmp_path / "m.onnx", tmp_path / "m.yaml"
    model.write_bytes((ROOT / "aegisrt" / "conformance" / "models" / "affine.onnx").read_bytes())
    manifest.write_text("models:\n  m: {path: m.onnx, backend: mock}\n")
    for path in (model, manifest):
        path.chmod(0o666)
    deploy(manifest).unwrap().close()


def test_whoever_writes_both_files_has_a_library_that_matches(tmp_path):
    """A digest shows damage and is no signature; the pin is what refuses the other file."""
    path = built(tmp_path)
    pin = path.read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    forged = built(other)
    (other / "m.txt").write_text("other weights")
    FakeBackend({"trailer": True}).build(other / "m.txt", forged).unwrap()
    assert verified_file(forged).sha256 == file_sha256(forged)
    assert pinned(forged, file_sha256(path)).code is ErrorCode.PERMISSION_DENIED
    assert path.read_bytes() == pin


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_cache_that_others_can_write_to_is_refused_before_a_load(tmp_path, monkeypatch, mode):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    source = tmp_path / "m.txt"
    source.write_text("weights")
    backend = FakeBackend()
    options = type("Options", (), {"path": source, "sha256": None, "on_damage": "rebuild"})()
    file = loadable_file("m", options, backend).unwrap()
    folders = (ArtifactCache().root, *(one for one in file.parents if tmp_path / "cache" in one.parents))
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}
    assert {one.stat().st_mode & 0o777 for one in file.parent.iterdir()} == {0o600}
    for folder in folders:
        folder.chmod(mode)
        answer = loadable_file("m", options, backend)
        if folder == file.parent:  # it is built again, in a folder of this user alone
            assert answer.unwrap() == file
            assert folder.stat().st_mode & 0o777 == 0o700
        else:
            assert answer.unwrap_err().code is ErrorCode.PERMISSION_DENIED, folder
        folder.chmod(0o700)
    assert loadable_file("m", options, backend).unwrap() == file


def test_an_isolated_model_answers_as_one_that_is_not(tmp_path):
    """`isolation: process` on a manifest of the packaged mock, end to end."""
    manifest = {
        "models": {"m": {"path": str(ROOT / "aegisrt/conformance/models/affine.mock.json"), "backend": "b"}},
        "backends": {"b": {"kind": "mock", "isolation": "process", "isolation_memory_bytes": 1 << 28}},
    }
    assert resolve(manifest).is_ok()
    with deploy(manifest).unwrap() as context:
        spec = context.signature("m").inputs[0]
        shape = tuple(dim if isinstance(dim, int) else 2 for dim in spec.shape)
        request = ExecutionRequest(inputs={spec.name: np.ones(shape, spec.dtype.numpy)})
        assert context.execute(request).is_ok()
