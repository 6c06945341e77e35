from __future__ import annotations

import sys
from types import ModuleType

import pytest

from aegisrt.backends import registry
from aegisrt.backends.mock import MockBackend, MockOptions
from aegisrt.backends.registry import BackendEntry, backend_class, collect, entries, options_by_kind
from aegisrt.core.result import ErrorCode


@pytest.fixture
def declare(monkeypatch):
    """Return a function that puts entries in place of the installed ones."""

    def put(*declared: BackendEntry) -> None:
        monkeypatch.setattr(registry, "_declared", lambda: declared)

    return put


@pytest.fixture
def module(monkeypatch):
    made = ModuleType("tests_registry_backend")
    monkeypatch.setitem(sys.modules, made.__name__, made)
    return made


def test_ours_are_known_and_sorted():
    kinds = list(entries().unwrap())
    assert {"mock", "onnx"} <= set(kinds)
    assert kinds == sorted(kinds)


def test_every_one_of_ours_imports_without_its_engine():
    for kind, entry in entries().unwrap().items():
        if entry.distribution == "aegisrt":
            assert backend_class(kind).unwrap().kind == kind


def test_the_class_of_a_kind():
    assert backend_class("mock").unwrap() is MockBackend


def test_an_unknown_kind_gets_a_suggestion():
    error = backend_class("mok").unwrap_err()
    assert (error.code, error.hint) == (ErrorCode.NOT_FOUND, "did you mean `mock`?")


def test_two_distributions_that_claim_one_kind_are_both_named():
    error = collect([BackendEntry("x", "a:A", "first"), BackendEntry("x", "b:B", "second")]).unwrap_err()
    assert error.code is ErrorCode.ALREADY_EXISTS
    for word in ("`x`", "`first`", "`second`", "a:A", "b:B"):
        assert word in error.message
    assert error.hint == "uninstall one: pip uninstall second"


def test_a_clash_is_told_wherever_kinds_are_asked_for(declare):
    declare(BackendEntry("mock", "a:A", "first"), BackendEntry("mock", "b:B", "second"))
    for answer in (entries(), backend_class("mock"), backend_class("other"), options_by_kind()):
        assert answer.unwrap_err().code is ErrorCode.ALREADY_EXISTS


def test_one_distribution_that_is_found_twice_is_one():
    assert list(collect([BackendEntry("x", "a:A", "one"), BackendEntry("x", "a:A", "one")]).unwrap()) == ["x"]


def test_a_module_that_does_not_import(declare):
    declare(BackendEntry("x", "no_such_module_at_all:X", "theirs"))
    error = backend_class("x").unwrap_err()
    assert error.code is ErrorCode.UNAVAILABLE
    assert "`theirs`" in error.message
    assert "no_such_module_at_all" in error.cause


def test_a_class_that_does_not_exist(declare, module):
    declare(BackendEntry("x", f"{module.__name__}:X", "theirs"))
    assert backend_class("x").unwrap_err().code is ErrorCode.UNAVAILABLE


@pytest.mark.parametrize("thing", [object(), dict, lambda: None])
def test_an_entry_point_that_is_no_backend(declare, module, thing):
    module.X = thing
    declare(BackendEntry("x", f"{module.__name__}:X", "theirs"))
    assert backend_class("x").unwrap_err().code is ErrorCode.INVALID_ARGUMENT


def test_the_entry_points_name_must_be_the_kind(declare, module):
    module.X = MockBackend
    declare(BackendEntry("x", f"{module.__name__}:X", "theirs"))
    error = backend_class("x").unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert "kind `mock`" in error.message


def test_options_of_each_kind(declare):
    declare(
        BackendEntry("mock", "aegisrt.backends.mock:MockBackend", "aegisrt"),
        BackendEntry("x", "no_such_module:X", "theirs"),
    )
    options = options_by_kind().unwrap()
    assert options["mock"] is MockOptions
    assert options["x"].parse({"anything": 1}).kind == "x"
