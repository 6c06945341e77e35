import pytest

from aegisrt.manifest.compose.sweep import expand_sweep


@pytest.mark.parametrize(
    ("overrides", "cells"),
    [
        ([], [[]]),
        (["a=1", "~b", "env=prod"], [["a=1", "~b", "env=prod"]]),
        (["a=1,2"], [["a=1"], ["a=2"]]),
        (["a=x,y", "k=0", "b=1,2"], [[f"a={a}", "k=0", f"b={b}"] for a in "xy" for b in (1, 2)]),
        (["a=range(1,4)"], [["a=1"], ["a=2"], ["a=3"]]),
        (["+a=[1,2],[3]"], [["+a=[1,2]"], ["+a=[3]"]]),
        (["a='1,2'", "b=[1,2]"], [["a='1,2'", "b=[1,2]"]]),
        (["a='x, y',z"], [["a='x, y'"], ["a=z"]]),
    ],
)
def test_a_sweep_is_every_combination_in_order(overrides, cells):
    assert expand_sweep(overrides).unwrap() == cells


@pytest.mark.parametrize("override", ["a=((", "a=interval(0,1)", "a=glob(*)", "a=1,,2", "a"])
def test_what_cannot_be_expanded_is_a_diagnostic_with_its_place(override):
    (found,) = expand_sweep(["b=1,2", override]).unwrap_err().diagnostics
    assert found.id == "bad-override"
    assert found.location.file == f"override {override}"
