"""What a manifest, its groups, an environment and overrides are together."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from aegisrt import deploy
from aegisrt.core.resources import configs_dir
from aegisrt.core.result import ErrorCode
from aegisrt.manifest.check.validate import validate
from aegisrt.manifest.compose.base import option_sets
from aegisrt.manifest.compose.compose import compose
from tests.manifest.composing import KINDS, MODEL, ThirdParty, composed, deploy_yaml, errors, values, write

pytestmark = pytest.mark.usefixtures("folder")


# The base


def test_the_demo_is_base_and_digits():
    got = values()
    assert list(got) == ["backends", "devices", "streams", "models"]
    assert got["backends"] == {"mock": {"kind": "mock"}, "onnx": {"kind": "onnx"}}
    assert got["devices"] == {"cpu": {"kind": "cpu"}}
    assert got["streams"] == {"default": {"device": "cpu"}}
    assert Path(got["models"]["digits"]["path"]).is_file()
    assert Path(got["models"]["digits"]["sample"]["inputs"]).is_file()


def test_a_manifest_lies_over_the_base_alone():
    got = values("deploy.yaml")
    assert list(got["models"]) == ["digits"]
    assert set(got["backends"]) == {"mock", "onnx"}
    assert "sample" not in got["models"]["digits"]


def test_the_base_follows_the_kinds():
    assert values("deploy.yaml", kinds={"mock": KINDS["mock"]})["backends"] == {"mock": {"kind": "mock"}}
    composition = composed("deploy.yaml", kinds={"third-party": ThirdParty})
    assert composition.values["backends"] == {"third-party": {"kind": "third-party"}}
    assert composition.origins.of(("backends", "third-party", "kind")).source == "default"


# The order: base, manifest, environment, overrides


def test_an_environment_wins_over_the_manifest_and_an_override_over_both():
    deploy_yaml("devices: {cpu: {kind: cpu, threads: 8}}\n" + MODEL)
    threads = [
        values("deploy.yaml", *given)["devices"]["cpu"]["threads"]
        for given in ([], ["env=dev"], ["env=dev", "devices.cpu.threads=3"])
    ]
    assert threads == [8, 1, 3]
    assert values("deploy.yaml", "devices.cpu.threads=3", "env=dev")["devices"]["cpu"]["threads"] == 3


def test_environments_build_on_each_other():
    got = values("deploy.yaml", "env=staging")
    assert got["backends"]["onnx"] == {"kind": "onnx", "allow_spinning": False, "log_severity": "warning"}
    assert got["streams"]["default"]["priority"] == "high"


def test_an_environment_chooses_groups_of_its_own(folder):
    write(folder, conf__env__site="# @package _global_\ndefaults:\n  - /model: [a, b]\nmodels: {a: {instances: 5}}\n")
    write(folder, conf__model__a="# @package models.a\npath: a.onnx\nbackend: mock\n")
    write(folder, conf__model__b="# @package models.b\npath: b.onnx\nbackend: mock\n")
    got = values("deploy.yaml", "env=site", config_dir="conf")["models"]
    assert got["a"] == {"path": str(folder / "conf/model/a.onnx"), "backend": "mock", "instances": 5}
    assert set(got) == {"digits", "a", "b"}


@pytest.mark.parametrize(
    "form", ["- model: digits", "- /model: digits", "- model/digits", "- model: [digits]", "- config"]
)
def test_a_manifest_adds_groups_to_the_base(form):
    deploy_yaml(f"defaults:\n  {form}\nmodels: {{digits: {{instances: 7}}}}\n")
    digits = values("deploy.yaml")["models"]["digits"]
    assert (digits["instances"], digits["backend"]) == (7, "onnx"), "the manifest's own values lie over its groups"


def test_self_says_where_the_manifest_s_own_values_lie():
    deploy_yaml("defaults:\n  - _self_\n  - model: digits\nmodels: {digits: {backend: mock, instances: 7}}\n")
    digits = values("deploy.yaml")["models"]["digits"]
    assert (digits["instances"], digits["backend"]) == (7, "onnx")


def test_a_choice_of_what_the_base_has_already_is_no_conflict():
    deploy_yaml("defaults:\n  - backend: onnx\n  - device: cpu\n" + MODEL)
    assert set(values("deploy.yaml", "+backend=mock")["backends"]) == {"mock", "onnx"}


def test_a_package_makes_a_second_option_set():
    deploy_yaml("defaults:\n  - backend@backends.second: onnx\n" + MODEL)
    got = values("deploy.yaml", "+backend@backends.third=mock")["backends"]
    assert (got["second"], got["third"]) == ({"kind": "onnx"}, {"kind": "mock"})


def test_a_group_s_override_replaces_a_choice_and_adds_where_there_is_none(folder):
    write(folder, conf__model__other="# @package models.other\npath: o.onnx\nbackend: mock\n")
    assert set(values(None, "model=other", config_dir="conf")["models"]) == {"other"}
    assert set(values(None, "+model=other", config_dir="conf")["models"]) == {"digits", "other"}
    assert set(values("deploy.yaml", "model=other", config_dir="conf")["models"]) == {"digits", "other"}
    assert set(values("deploy.yaml", "model=[other,digits]", config_dir="conf")["models"]) == {"digits", "other"}
    assert "models" not in values(None, "~model")


def test_an_override_in_a_defaults_list_replaces_a_choice_below(folder):
    write(folder, conf__env__site="# @package _global_\ndefaults:\n  - override /model: other\n")
    write(folder, conf__model__other="# @package models.other\npath: o.onnx\nbackend: mock\n")
    deploy_yaml("defaults:\n  - model: digits\n")
    assert set(values("deploy.yaml", "env=site", config_dir="conf")["models"]) == {"other"}


def test_a_user_s_file_wins_over_a_packaged_one_of_its_name(folder):
    write(folder, conf__device__cpu="# @package devices.cpu\nkind: cpu\nthreads: 3\n")
    assert values("deploy.yaml", config_dir="conf")["devices"]["cpu"]["threads"] == 3


def test_the_manifest_s_folder_is_no_search_path(folder):
    write(folder, env__dev="# @package _global_\ndevices: {cpu: {threads: 99}}\n", backend__onnx="kind: mock\n")
    got = values("deploy.yaml", "env=dev")
    assert (got["devices"]["cpu"]["threads"], got["backends"]["onnx"]["kind"]) == (1, "onnx")


def test_a_command_s_groups_are_chosen_as_the_environment_is(folder):
    write(folder, conf__conformance__quick="checks: [a]\n")
    composition = composed("deploy.yaml", "conformance=quick", config_dir="conf", groups=("conformance",))
    assert composition.values["conformance"] == {"checks": ["a"]}
    assert "conformance" not in yaml.safe_load(composition.yaml())
    assert "conformance" not in values("deploy.yaml", config_dir="conf", groups=("conformance",))


# Changing a kind


def test_what_is_packaged_for_one_kind_is_not_asked_of_another():
    got = values("deploy.yaml", "env=prod", "backends.onnx.kind=mock", "backends.onnx.delay_ms=3")["backends"]["onnx"]
    assert got == {"kind": "mock", "delay_ms": 3}


def test_what_the_user_says_of_another_kind_stays_for_validation_to_refuse():
    deploy_yaml("backends: {onnx: {allow_spinning: true}}\n" + MODEL)
    assert values("deploy.yaml", "backends.onnx.kind=mock")["backends"]["onnx"] == {
        "kind": "mock",
        "allow_spinning": True,
    }


# What comes out


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["env=staging"],
        ["~backends.mock"],
        ["~streams.default", "~models.digits.backend"],
        ["+models.a={path: a, backend: mock}"],
    ],
)
def test_the_yaml_of_a_composition_gives_the_same_again(overrides):
    deploy_yaml(
        MODEL + "  odd:\n    path: 'x\\${y}'\n    backend: '1e3'\n"
        "    signature:\n      inputs: {'on': {dtype: '0x1', shape: ['1:30', 2, null, '~', é]}}\n"
        "      outputs: {'2020-01-01': {dtype: '\\\\\\${z}'}}\n"
    )
    first = composed("deploy.yaml", *overrides)
    Path("again.yaml").write_text(first.yaml())
    assert values("again.yaml") == first.values
    assert composed("again.yaml").yaml() == first.yaml()


def test_the_error_s_code_is_of_files_only_where_files_are_all():
    for manifest, overrides, code in (
        ("gone.yaml", [], ErrorCode.NOT_FOUND),
        ("gone.yaml", ["a"], ErrorCode.INVALID_ARGUMENT),
        (".", [], ErrorCode.INVALID_ARGUMENT),
        ("deploy.yaml", ["a"], ErrorCode.INVALID_ARGUMENT),
    ):
        assert compose(manifest, overrides, kinds=KINDS).unwrap_err().code == code
    assert compose("deploy.yaml", config_dir="gone", kinds=KINDS).unwrap_err().code == ErrorCode.NOT_FOUND


def test_a_file_or_a_folder_without_permission(folder, monkeypatch):
    def refuse(path, *rest):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("aegisrt.manifest.read.source.read_at_most", refuse)
    assert compose("deploy.yaml", kinds=KINDS).unwrap_err().code == ErrorCode.PERMISSION_DENIED
    is_dir = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", lambda path: refuse(path) if path.name == "conf" else is_dir(path))
    error = compose("deploy.yaml", config_dir="conf", kinds=KINDS).unwrap_err()
    assert {one.id for one in error.diagnostics} == {"file-not-found", "unreadable-file"}


def test_partly_leaves_out_what_is_wrong_and_says_so():
    got = composed("deploy.yaml", "models.digts.warmup=1", "models.digits.warmup=2", partly=True)
    assert got.values["models"]["digits"]["warmup"] == 2
    assert [one.id for one in got.diagnostics] == ["unknown-name"]
    assert compose("deploy.yaml", ["env=nope"], kinds=KINDS, partly=True).is_err()


def test_validation_adds_to_what_a_partly_made_composition_found():
    deploy_yaml(
        "models:\n  digits:\n    path: deploy.yaml\n    backend: mock\n    instances: 0\n    warmup: ${nowhere}\n"
    )
    found = validate(composed("deploy.yaml", "models.digts.warmup=1", partly=True), KINDS).unwrap_err().diagnostics
    assert [one.id for one in found] == ["out-of-range", "interpolation", "unknown-name"]


@pytest.mark.parametrize("overrides", ["env=dev", ["env=dev", 1]])
def test_overrides_are_a_list_of_texts(overrides):
    (found,) = compose("deploy.yaml", overrides, kinds=KINDS).unwrap_err().diagnostics
    assert (found.id, found.hint) == ("bad-override", 'write `["env=prod"]`')


def test_a_group_of_another_command_is_refused():
    assert errors("deploy.yaml", "conformance=quick") == ["unknown-group override conformance=quick:1:1"]


def test_a_current_folder_that_is_gone_is_an_error(folder, monkeypatch):
    (folder / "gone").mkdir()
    monkeypatch.chdir(folder / "gone")
    (folder / "gone").rmdir()
    assert errors(folder / "deploy.yaml") == ["file-not-found .:1:1"]


def test_what_an_environment_says_of_a_backend_that_is_not_known_is_left_out():
    assert set(values("deploy.yaml", "env=prod", kinds={"mock": KINDS["mock"]})["backends"]) == {"mock"}


def test_an_environment_without_a_package_is_at_the_top(folder):
    write(folder, groups__env__site="models: {digits: {instances: 3}}\n", groups__env__none="# later\n")
    groups = folder / "groups"
    assert values("deploy.yaml", "env=site", config_dir=groups)["models"]["digits"]["instances"] == 3
    assert values("deploy.yaml", "env=none", config_dir=groups) == values("deploy.yaml")


def test_only_files_are_offered(folder):
    (folder / "groups" / "env" / "folder.yaml").mkdir(parents=True)
    (folder / "groups" / "env" / "loop.yaml").symlink_to("loop.yaml")
    error = compose("deploy.yaml", ["env=loop"], kinds=KINDS, config_dir=folder / "groups").unwrap_err()
    assert error.diagnostics[0].id == "unknown-option"
    assert error.diagnostics[0].hint == "`env` offers `dev`, `prod`, `staging`"


def test_a_group_s_file_in_the_wrong_place_is_told_how_to_name_its_own(folder):
    write(folder, groups__site__here="path: digits.onnx\n")
    composition = composed("deploy.yaml", "+site=here", config_dir=folder / "groups")
    (found,) = validate(composition, KINDS, files=False).unwrap_err().diagnostics
    assert (found.id, str(found.location)) == ("unknown-field", "groups/site/here.yaml:1:1")
    assert (
        found.hint == "its package places this file under `site`; begin it with `# @package models.NAME`, or the like"
    )


def test_a_file_that_no_defaults_list_finds_is_told_of_groups():
    error = compose(deploy_yaml("defaults: [base]\n" + MODEL), kinds=KINDS).unwrap_err()
    assert error.hint.startswith("write `- GROUP: NAME`; groups are `backend`, ")


def test_a_kind_that_is_not_a_name_is_left_out_of_the_base():
    kinds = {**KINDS, "Third.Party": ThirdParty, "UPPER": ThirdParty, "": ThirdParty, "a\nb": ThirdParty}
    assert list(values("deploy.yaml", kinds=kinds)["backends"]) == list(values("deploy.yaml")["backends"])
    assert "Third.Party" not in option_sets(kinds, configs_dir())


def test_errors_of_a_mapping_come_at_once():
    models = {"a": {"path": object(), "backend": "mock", "instances": 0}, "b": {"path": "x", "backend": "nothing"}}
    error = deploy({"models": models}).unwrap_err()
    assert [(one.id, one.path) for one in error.diagnostics] == [
        ("dangling-reference", "models.b.backend"),
        ("missing-file", "models.b.path"),
        ("not-plain-data", "models.a.path"),
        ("out-of-range", "models.a.instances"),
    ]
