"""Defaults lists: every entry checked, every error located."""

from __future__ import annotations

import pytest

from aegisrt.manifest.compose.compose import compose
from tests.manifest.composing import KINDS, MODEL, deploy_yaml, errors, values, write

pytestmark = pytest.mark.usefixtures("folder")


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ("[env: dev]", "env-in-defaults 1:12"),
        ("[env/dev]", "env-in-defaults 1:12"),
        ("[/env: dev]", "env-in-defaults 1:12"),
        ("[conformance: x]", "env-in-defaults 1:12"),
        ("[model: x, {override backend: onnx}, {device: cpu}]", "unknown-option 1:19|misplaced-override 1:23"),
        ("[override backend: onnx]", "misplaced-override 1:12"),
        ("[model: digits, {optional model@x: y}]", ""),
        ("[hydra: x]", "hydra-key 1:12"),
        ("[model@hydra.job: digits]", "hydra-key 1:12"),
        ("[model/digits@hydra: x]", "hydra-key 1:12"),
        ("['model/digits@hydra']", "hydra-key 1:12"),
        ("[../secret]", "unknown-group 1:12"),
        ("[model: ../../etc/passwd]", "unknown-option 1:19"),
        ("[model: '']", "unknown-option 1:19"),
        ("['']", "unknown-option 1:12"),
        ("[nowhere]", "unknown-option 1:12"),
        ("[model]", "defaults-syntax 1:12"),
        ("[model: 5]", "defaults-syntax 1:19"),
        ("[model: [5]]", "defaults-syntax 1:19"),
        ("[[model]]", "defaults-syntax 1:12"),
        ("[null]", "defaults-syntax 1:12"),
        ("model", "defaults-syntax 1:11"),
        ("[model: digits, model/digits]", ""),
        ("[model: null]", ""),
        ("[model: []]", ""),
        ("[model: '${device}']", "defaults-syntax 1:12"),
        ("[_manifest_]", "defaults-cycle 1:12"),
        ("[_self_, _self_]", "duplicate-choice 1:20"),
    ],
)
def test_every_entry_of_a_defaults_list_is_checked(entries, expected):
    deploy_yaml(f"defaults: {entries}\n{MODEL}")
    if not expected:
        assert values("deploy.yaml")
    else:
        found = errors("deploy.yaml", groups=("conformance",))
        assert "|".join(one.replace("deploy.yaml:", "") for one in found) == expected


def test_files_that_include_each_other_are_an_error(folder):
    write(folder, conf__model__a="defaults: [b]\n", conf__model__b="defaults:\n  - a\n")
    (found,) = errors("deploy.yaml", "model=a", config_dir="conf")
    assert found == "defaults-cycle conf/model/b.yaml:2:5"


def test_a_group_chosen_in_two_files_is_an_error_that_shows_both(folder):
    write(folder, conf__env__site="# @package _global_\ndefaults:\n  - /model: digits\n")
    deploy_yaml("defaults:\n  - model: digits\n")
    error = compose("deploy.yaml", ["env=site"], config_dir="conf", kinds=KINDS).unwrap_err()
    (found,) = error.diagnostics
    assert (found.id, len(found.notes)) == ("duplicate-choice", 1)
    assert {found.location.file, found.notes[0].location.file} == {"deploy.yaml", "conf/env/site.yaml"}


def test_the_errors_of_all_files_come_at_once(folder):
    write(
        folder, conf__env__site="# @package _global_\ndevices: {cpu: {kind: cpu, kind: cpu}}\n", conf__model__a="a: [\n"
    )
    deploy_yaml("defaults: [model: a, modle: b]\nhydra: {}\nmodels: {x: {_target_: y}}\n")
    assert [one.split()[0] for one in errors("deploy.yaml", "env=site", "evn=x", config_dir="conf")] == [
        "duplicate-key", "yaml-syntax", "unknown-group", "hydra-key", "target-key", "unknown-field",
    ]  # fmt: skip
