"""Hydra itself, given the same files as one application, composes the same values."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import pytest
import yaml
from hydra.errors import ConfigCompositionException
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from tests.manifest.composing import values

SCALARS = st.sampled_from([None, True, 0, 12, 1.5, "text", "on", "1e3", "???", "a b", "é"])
NAMES = st.sampled_from(["a", "b", "c-d"])
TREES = st.recursive(
    SCALARS, lambda inner: st.dictionaries(NAMES, inner, max_size=3) | st.lists(inner, max_size=2), max_leaves=8
)
FILES = st.dictionaries(st.sampled_from(["backends", "models"]), st.dictionaries(NAMES, TREES, max_size=3), max_size=2)
OVERRIDES = st.tuples(
    st.sampled_from(["backends", "models", "backends.a", "backends.a.b", "models.c-d", "models.new.deep"]),
    st.sampled_from(["1", "null", "text", "[1,{a: 2}]", "{a: 1}", "{}", "{b: {c-d: x}}", "'quoted, text'", "1.5"]),
).map(lambda pair: f"++{pair[0]}={pair[1]}")


def of_hydra(folder, overrides):
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(folder), version_base="1.3"):
        return OmegaConf.to_container(compose("root", overrides=["env=site", *overrides]))


@settings(
    max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
)
@given(FILES, FILES, FILES, FILES, st.lists(OVERRIDES, max_size=3), st.booleans())
def test_values_are_those_of_hydra(manifest, env, base_env, model, overrides, self_first):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for group in ("env", "model"):
            (folder / group).mkdir()
        defaults = ["_self_", {"model": "m"}] if self_first else [{"model": "m"}]
        text = yaml.safe_dump({"defaults": defaults} | manifest, allow_unicode=True)
        (folder / "deploy.yaml").write_text(f"# @base none\n{text}")
        (folder / "env/site.yaml").write_text("# @package _global_\n" + yaml.safe_dump({"defaults": ["below"]} | env))
        (folder / "env/below.yaml").write_text("# @package _global_\n" + yaml.safe_dump(base_env))
        (folder / "model/m.yaml").write_text("# @package _global_\n" + yaml.safe_dump(model))
        (folder / "root.yaml").write_text("defaults: [deploy, {env: null}, _self_]\n")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                expected = of_hydra(folder, overrides)
            except (ConfigCompositionException, ValueError):
                assume(False)  # lists and mappings in each other's place: replaced here, for validation to judge
        assert values(folder / "deploy.yaml", "env=site", *overrides, config_dir=folder, kinds={}) == expected


@pytest.mark.parametrize(
    ("group_package", "header"),
    [
        ("model", None),
        ("model@x.y", None),
        ("model", "p.q"),
        ("model@x", "p.q"),
        ("model@_global_", "p"),
        ("model@_here_", None),
    ],
)
def test_packages_are_those_of_hydra(tmp_path, group_package, header):
    (tmp_path / "model").mkdir()
    (tmp_path / "env").mkdir()
    (tmp_path / "model/m.yaml").write_text(f"# @package {header}\na: 1\n" if header else "a: 1\n")
    (tmp_path / "env/site.yaml").write_text("# @package env\ndefaults: [{/model@inner: m}]\nb: 2\n")
    (tmp_path / "deploy.yaml").write_text(f"# @base none\ndefaults: [{{{group_package}: m}}]\n")
    (tmp_path / "root.yaml").write_text("defaults: [deploy, {env: null}, _self_]\n")
    got = values(tmp_path / "deploy.yaml", "env=site", config_dir=tmp_path, kinds={})
    assert got == of_hydra(tmp_path, [])
