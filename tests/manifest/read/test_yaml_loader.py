"""The YAML of manifests is OmegaConf's: its loader and its dumper are the reference, on every text that is drawn."""

from __future__ import annotations

import json
import math

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf._utils import get_omega_conf_dumper, get_yaml_loader

from aegisrt.core.suggest import with_unseen_escaped
from aegisrt.manifest.read.yaml_loader import ManifestDumper, ManifestLoader

_PIECES = st.sampled_from(
    [*"+-._:0123456789eExXbBoO~=<yYnN", "inf", "nan", ".Inf", ".NaN", "true", "False", "yes", "No", "on", "OFF", "null",
     "2020-01-01", "T00:00:00Z", "1_000", "0b1", "0x", "<<", " ", "a"]
)  # fmt: skip
SCALARS = st.lists(_PIECES, min_size=1, max_size=5).map("".join)


def nodes(text, loader):
    """Return every node's tag and value, or the class of the error."""
    try:
        root = yaml.compose(text, Loader=loader)
    except yaml.YAMLError as error:
        return type(error)
    return _shape(root)


def _shape(node):
    if isinstance(node, yaml.MappingNode):
        return [node.tag, [(_shape(key), _shape(value)) for key, value in node.value]]
    if isinstance(node, yaml.SequenceNode):
        return [node.tag, [_shape(item) for item in node.value]]
    return [node.tag, node.value] if node is not None else None


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(SCALARS)
@example("1e3")
@example("2001-12-14t21:59:43.10-05:00")
@example("-.5e+1")
@example("1:30.5")
def test_a_scalar_has_the_tag_and_the_value_that_omegaconf_gives_it(text):
    assert nodes(f"a: {text}", ManifestLoader) == nodes(f"a: {text}", get_yaml_loader())
    for written in (f"[{text}]", f"? {text}\n: 1\n"):
        assert nodes(written, ManifestLoader) == nodes(written, get_yaml_loader())


@settings(max_examples=300, deadline=None, derandomize=True)
@given(SCALARS)
def test_a_scalar_is_made_as_omegaconf_makes_it(text):
    def made(loader):
        try:
            return yaml.load(f"- {text}", Loader=loader)
        except (yaml.YAMLError, ValueError, LookupError, OverflowError) as error:
            return type(error)

    ours, theirs = made(ManifestLoader), made(get_yaml_loader())
    assert repr(ours) == repr(theirs)


TEXTS = st.one_of(
    SCALARS, st.text(max_size=12), st.sampled_from(["y", "N", "08", "0o7", "1e3", "${a.b}", "a: b", "", "#"])
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.dictionaries(TEXTS, VALUES, max_size=3))
@example({"a": "2020-01-01", "b": "y", "c": "08", "d": "1e3", "y": 1})
def test_what_is_dumped_is_what_omegaconf_dumps_and_is_read_again(values):
    def dumped(dumper):
        return yaml.dump(values, Dumper=dumper, sort_keys=False, allow_unicode=True, width=2**16)

    text = dumped(ManifestDumper)
    plain = json.dumps(values, ensure_ascii=False)
    if "::" not in plain and with_unseen_escaped(plain) == plain:  # OmegaConf leaves them raw, or they become blanks
        assert text == dumped(get_omega_conf_dumper())
    assert _comparable(yaml.load(text, Loader=ManifestLoader)) == _comparable(values)


def _comparable(value):
    if isinstance(value, dict):
        return {key: _comparable(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_comparable(child) for child in value]
    return "nan" if isinstance(value, float) and math.isnan(value) else value


@pytest.mark.parametrize("text", ["a: !!python/name:os.system", "!!python/object/apply:os.getcwd []"])
def test_no_tag_makes_an_object(text):
    with pytest.raises(yaml.constructor.ConstructorError):
        yaml.load(text, Loader=ManifestLoader)
