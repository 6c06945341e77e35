"""Interpolations: OmegaConf's grammar, no resolver but those listed, each error at its place."""

from __future__ import annotations

import pytest

from tests.manifest.composing import MODEL, deploy_yaml, errors, values

pytestmark = pytest.mark.usefixtures("folder")


def test_interpolations_see_everything(monkeypatch):
    monkeypatch.setenv("AEGISRT_TEST_N", "3")
    deploy_yaml(
        "backends:\n  fast: {kind: onnx, log_severity: '${.kind}', device: '${..onnx.kind}-${oc.env:AEGISRT_TEST_N}'}\n"
        "  copy: ${backends.fast}\n"
        "models:\n  digits:\n    path: x\n    backend: ${oc.select:backends.none,onnx}\n"
        "    instances: ${oc.decode:${oc.env:AEGISRT_TEST_N}}\n    warmup: ${models.digits.instances}\n"
        "    sha256: \\${kept}\n    signature: ${oc.env:AEGISRT_UNSET,null}\n"
    )
    got = values("deploy.yaml", "models.digits.instances=5")
    assert got["backends"]["fast"] == {"kind": "onnx", "log_severity": "onnx", "device": "onnx-3"}
    assert got["backends"]["copy"] == got["backends"]["fast"]
    assert got["models"]["digits"] | {"path": ""} == {
        "path": "",
        "backend": "onnx",
        "instances": 5,
        "warmup": 5,
        "sha256": "${kept}",
        "signature": None,
    }
    assert values("deploy.yaml")["models"]["digits"]["instances"] == 3


def test_a_mapping_over_an_interpolation_is_laid_over_what_it_stands_for():
    deploy_yaml("backends:\n  copy: ${backends.onnx}\n" + MODEL)
    got = values("deploy.yaml", "backends.copy.log_severity=info")["backends"]
    assert got["copy"] == {"kind": "onnx", "log_severity": "info"}
    assert got["onnx"] == {"kind": "onnx"}


UNRESOLVED = [
    "${a.b}",
    "${oc.env:AEGISRT_UNSET}",
    "${oc.env:}",
    "${oc.env:a\\0b}",
    "${shell:ls}",
    "${hydra:job}",
    "${oc.create:x}",
    "${${a}:b}",
    "${x",
    "${models}",
    "${models.digits.backend}",
    "${models.digits.sample.x}",
    "${.....x}",
    "${oc.decode:'${shell:ls}'}",
    "${oc.decode:'[1'}",
    "${oc.dict.keys:nope}",
]


@pytest.mark.parametrize("text", UNRESOLVED)
def test_what_cannot_be_resolved_is_an_error_at_its_place(text):
    quoted = text.replace("'", "''")
    deploy_yaml(f"models:\n  digits:\n    path: x\n    backend: '{quoted}'\n")
    assert errors("deploy.yaml") == ["interpolation deploy.yaml:4:14"]


def test_a_resolver_of_this_process_is_code_and_out_of_reach():
    from omegaconf import OmegaConf

    calls = []
    OmegaConf.register_new_resolver("aegisrt_test", lambda *args: calls.append(args) or "x")
    try:
        for text in ("${aegisrt_test:1}", "${oc.decode:'${aegisrt_test:1}'}", '${oc.decode:"\\${aegisrt_test:1}"}'):
            assert errors(
                "deploy.yaml", f"models.digits.backend={text}" if '"' not in text else f"models.digits.backend='{text}'"
            )
        deploy_yaml("backends: {a: '${aegisrt_test:1}'}\n" + MODEL)
        assert errors("deploy.yaml", "++backends.a={kind: mock}") == ["interpolation deploy.yaml:1:15"]
    finally:
        OmegaConf.clear_resolver("aegisrt_test")
    assert calls == []
