"""Attacks on the secrets of a CI job: no value of an environment variable reaches any output."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aegisrt import deploy
from aegisrt.cli.main import main
from tests.manifest.composing import write

SECRET = "hunter2-token"
ENV = "${oc.env:AEGISRT_TEST_SECRET}"
LEAKS = [
    f"models: {{m: {{path: '{ENV}', backend: mock}}}}",
    f"models: {{m: {{path: '/x/{ENV}/y.onnx', backend: mock}}}}",
    f"models: {{m: {{path: x.onnx, backend: '{ENV}'}}}}",
    f"models: {{m: {{path: x.onnx, backend: mock, instances: '{ENV}'}}}}",
    f"models: {{m: {{path: x.onnx, backend: mock, instances: 'a{ENV}b'}}}}",
    "models: {m: {path: x.onnx, backend: mock, instances: '${models.m.on_damage}', on_damage: '" + ENV + "'}}",
    f"models: {{m: {{path: x.onnx, backend: mock, on_damage: '{ENV}', sha256: '{ENV}'}}}}",
    f"models: {{m: {{path: x.onnx, backend: mock, sample: '{ENV}', signature: '{ENV}', queue: '{ENV}'}}}}",
    f"models: {{m: {{path: x.onnx, backend: mock, signature: {{inputs: {{x: {{dtype: '{ENV}', shape: '{ENV}'}}}}}}}}}}",
    f"backends: {{b: {{kind: '{ENV}'}}}}",
    f"backends: {{b: {{kind: mock, device: '{ENV}', stream: '{ENV}', delay_ms: '{ENV}'}}}}",
    f"devices: '{ENV}'",
    f"api_version: '{ENV}'",
    "api_version: '${models." + ENV + "}'",
    "api_version: '${" + ENV + "}'",
    "api_version: '${oc.env:" + ENV + "}'",
    "api_version: '${oc.decode:" + ENV + "[}'",
    "api_version: '${oc.decode:${oc.env:AEGISRT_TEST_BROKEN}}'",
    "models: '${oc.decode:${oc.env:AEGISRT_TEST_MAPPING}}'",
    "models: {m: '${oc.decode:${oc.env:AEGISRT_TEST_MAPPING}}'}",
    "models: {m: {x: '${oc.dict.keys:y}'}}\ny: '${oc.decode:${oc.env:AEGISRT_TEST_MAPPING}}'",
    f"defaults: [backend: '{ENV}']",
    f"defaults: ['backend/{ENV}']",
    f"models: {{m: {{path: '{ENV}', backend: mock, sha256: {'ab' * 32}}}}}",
    f"backends: {{b: {{kind: onnx, providers: ['{ENV}'], session_config: {{'a.b': '{ENV}'}}}}}}",
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AEGISRT_TEST_SECRET", SECRET)
    monkeypatch.setenv("AEGISRT_TEST_BROKEN", f"[{SECRET}")
    monkeypatch.setenv("AEGISRT_TEST_MAPPING", f"{{{SECRET}: {SECRET}, hunter2: 1}}")
    (tmp_path / "digits.onnx").write_bytes(b"weights")
    return tmp_path


def output(capsys, *argv):
    code = main(list(argv))
    return code, "".join(capsys.readouterr())


@pytest.mark.parametrize("text", LEAKS)
def test_no_error_has_a_value_of_the_environment(capsys, text):
    Path("deploy.yaml").write_text(text + "\n")
    for form in ("text", "json", "github"):
        code, printed = output(capsys, "validate", "deploy.yaml", "--format", form)
        assert (code, "hunter2" in printed) == (2, False), printed
    for verb in ("config", "explain", "graph", "run"):
        code, printed = output(capsys, verb, "deploy.yaml", "--json")
        assert (code, "hunter2" in printed) == (2, False), printed
    assert "hunter2" not in repr(deploy("deploy.yaml").unwrap_err())


@pytest.mark.parametrize("text", LEAKS)
def test_no_env_refuses_a_manifest_that_reads_the_environment(capsys, text):
    Path("deploy.yaml").write_text(text + "\n")
    code, printed = output(capsys, "validate", "deploy.yaml", "--no-env", "--json")
    ids = {one["id"] for one in json.loads(printed)["diagnostics"]}
    assert (code, "hunter2" in printed) == (2, False)
    assert ids & {"reads-environment", "defaults-syntax", "interpolation"}


VALID = "models:\n  digits: {path: '${oc.env:AEGISRT_TEST_FOLDER}/digits.onnx', backend: mock, warmup: '${oc.decode:\
${oc.env:AEGISRT_TEST_N,3}}'}\n  other: {path: '${models.digits.path}', backend: mock}\n"


@pytest.fixture
def valid(folder, monkeypatch):
    hidden = folder / "hunter2"
    hidden.mkdir()
    (hidden / "digits.onnx").write_bytes(b"weights")
    monkeypatch.setenv("AEGISRT_TEST_FOLDER", str(hidden))
    monkeypatch.setenv("AEGISRT_TEST_N", "7")
    Path("deploy.yaml").write_text(VALID)


@pytest.mark.usefixtures("valid")
@pytest.mark.parametrize("verb", ["config", "explain"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_values_are_shown_only_on_request(capsys, verb, form):
    code, printed = output(capsys, verb, "deploy.yaml", "--format", form)
    assert (code, "hunter2" in printed, "***" in printed) == (0, False, True)
    code, printed = output(capsys, verb, "deploy.yaml", "--format", form, "--show-env")
    assert (code, "hunter2" in printed, "***" in printed) == (0, True, False)


@pytest.mark.usefixtures("valid")
def test_each_value_that_is_of_the_environment_is_hidden_and_no_other(capsys, monkeypatch):
    rows = {row["path"]: row["value"] for row in json.loads(output(capsys, "explain", "deploy.yaml", "--json")[1])}
    assert rows["models.digits.warmup"] == rows["models.digits.path"] == rows["models.other.path"] == "***"
    assert rows["models.digits.backend"] == "mock"
    monkeypatch.delenv("AEGISRT_TEST_N")
    rows = {row["path"]: row["value"] for row in json.loads(output(capsys, "explain", "deploy.yaml", "--json")[1])}
    assert rows["models.digits.warmup"] == 3  # the default, which is the manifest's own


@pytest.mark.usefixtures("valid")
def test_a_printed_manifest_with_hidden_values_cannot_be_deployed(capsys):
    printed = output(capsys, "config", "deploy.yaml")[1]
    assert "--show-env" in printed.split("\n")[1]
    Path("composed.yaml").write_text(printed)
    code, errors = output(capsys, "validate", "composed.yaml", "--json")
    assert (code, {one["id"] for one in json.loads(errors)["diagnostics"]}) == (2, {"missing-value"})
    Path("composed.yaml").write_text(output(capsys, "config", "deploy.yaml", "--show-env")[1])
    assert output(capsys, "validate", "composed.yaml")[0] == 0


@pytest.mark.usefixtures("valid")
def test_an_engine_s_error_hides_the_path(capsys):
    code, printed = output(capsys, "run", "deploy.yaml", "models.digits.backend=onnx", "--model", "digits", "--json")
    assert (code != 0, "hunter2" in printed) == (True, False)


def test_no_env_says_where_and_ignores_what_an_override_replaced(capsys):
    Path("deploy.yaml").write_text("models:\n  digits: {path: '${oc.env:NOT_SET,digits.onnx}', backend: mock}\n")
    code, printed = output(capsys, "validate", "deploy.yaml", "--no-env")
    assert (code, "deploy.yaml:2:18: error[reads-environment]" in printed) == (2, True)
    assert output(capsys, "validate", "deploy.yaml", "--no-env", "models.digits.path=digits.onnx")[0] == 0
    default = "models:\n  digits: {path: digits.onnx, backend: mock, warmup: '${oc.select:x,1}'}\nx: 1\n"
    Path("deploy.yaml").write_text(default.replace("x: 1\n", ""))
    assert output(capsys, "validate", "deploy.yaml", "--no-env")[0] == 0


def test_no_env_refuses_a_group_s_file_too(capsys):
    Path("deploy.yaml").write_text("models:\n  digits: {path: digits.onnx, backend: mock}\n")
    write(Path("groups"), env__site="models: {digits: {warmup: '${oc.select:models.digits.x,${oc.env:HOME}}'}}\n")
    code, printed = output(capsys, "validate", "deploy.yaml", "env=site", "--config-dir", "groups", "--no-env")
    assert (code, "groups/env/site.yaml:1:27: error[reads-environment]" in printed) == (2, True)


def test_no_hint_names_what_is_near_to_a_hidden_value(folder, monkeypatch, capsys):
    monkeypatch.setenv("SECRET", "ghp_0123456789")
    (folder / "digits.onnx").write_bytes(b"x")
    near = "".join(f"  ghp_012345678{digit}: {{kind: mock}}\n" for digit in "18")
    text = "models:\n  m: {path: digits.onnx, backend: '${oc.env:SECRET}'}\nbackends:\n" + near
    (folder / "deploy.yaml").write_text(text)
    for form in ("text", "json", "github"):
        assert main(["validate", "deploy.yaml", "--format", form]) == 2
        assert "did you mean" not in capsys.readouterr().out
