from __future__ import annotations

import errno
import os
import sys
from types import ModuleType

import pytest

from aegisrt.backends import registry
from aegisrt.backends.base.description import availability_of
from aegisrt.backends.mock import MockBackend, MockOptions
from aegisrt.backends.registry import BackendEntry, backend_class, collect, entries, options_by_kind
from aegisrt.core.optional import DISTRIBUTION
from aegisrt.core.options import BackendOptions
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
        if entry.distribution == DISTRIBUTION:
            assert backend_class(kind).unwrap().kind == kind


def test_the_class_of_a_kind():
    assert backend_class("mock").unwrap() is MockBackend


def test_an_unknown_kind_gets_a_suggestion():
    error = backend_class("mok").unwrap_err()
    assert (error.code, error.hint) == (ErrorCode.NOT_FOUND, "did you mean `mock`?")


def test_two_distributions_that_claim_one_kind_are_both_named():
    error = collect([BackendEntry("x", "a:A", "first"), BackendEntry("x", "b:B", "second")])["x"].problem
    assert error.code is ErrorCode.ALREADY_EXISTS
    for word in ("`x`", "`first`", "`second`", "a:A", "b:B"):
        assert word in error.message
    assert error.hint == "uninstall one: pip uninstall second"


def test_a_clash_is_of_its_kind_alone(declare):
    mock = BackendEntry("mock", "aegisrt.backends.mock:MockBackend", "aegisrt")
    declare(BackendEntry("x", "a:A", "first"), mock, BackendEntry("x", "b:B", "second"))
    assert backend_class("x").unwrap_err().code is ErrorCode.ALREADY_EXISTS
    assert backend_class("mock").unwrap() is MockBackend
    assert options_by_kind().unwrap()["mock"] is MockOptions
    assert options_by_kind().unwrap()["x"].parse({"anything": 1}).kind == "x", "its error is reported when it is used"


@pytest.mark.parametrize("kind", ["Abacus", "my.abacus", "a b", "-x", "../x", ""])
def test_a_kind_that_no_manifest_can_name_is_refused_with_its_distribution(declare, kind):
    declare(BackendEntry(kind, "a:A", "theirs"), BackendEntry("mock", "aegisrt.backends.mock:MockBackend", "aegisrt"))
    error = backend_class(kind).unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert "`theirs`" in error.message
    assert list(options_by_kind().unwrap()) == ["mock"]


def test_one_distribution_that_is_found_twice_is_one():
    assert list(collect([BackendEntry("x", "a:A", "one"), BackendEntry("x", "a:A", "one")])) == ["x"]


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


def broken(**members):
    """Return a mock's class under the kind `x`, with its members replaced."""
    return type("Broken", (MockBackend,), {"kind": "x", **members})


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"Options": None}, "`Options` is None"),
        ({"Options": dict}, "`Options` is <class 'dict'>"),
        ({"capabilities": None}, "`capabilities` is None"),
        ({"capabilities": {}}, "`capabilities` is {}"),
        ({"kind": None}, "kind `None`"),
        ({}, "its options have the kind `mock`"),
        (
            {"Options": type("Needy", (BackendOptions,), {"__annotations__": {"kind": str, "host": str}, "kind": "x"})},
            "its options have no valid defaults",
        ),
    ],
)
def test_a_class_that_lacks_what_everything_reads_is_refused(declare, module, members, named):
    module.X = broken(**members)
    declare(BackendEntry("x", f"{module.__name__}:X", "theirs"))
    error = backend_class("x").unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert named in error.message
    assert "`theirs`" in error.message


@pytest.mark.parametrize("raised", [SystemExit(3), RuntimeError("odd"), ZeroDivisionError()])
def test_an_availability_that_raises_is_not_available(raised):
    class Broken(MockBackend):
        @classmethod
        def availability(cls, *, probe=False):
            raise raised

    state = availability_of(Broken)
    assert not state.available
    assert type(raised).__name__ in state.reason


def test_an_availability_of_another_type_is_not_available():
    class Broken(MockBackend):
        @classmethod
        def availability(cls, *, probe=False):
            return True

    assert "returns True" in availability_of(Broken).reason


def test_packages_that_cannot_be_read_are_an_error(monkeypatch):
    def refuse():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(registry, "_declared", refuse)
    for answer in (entries(), backend_class("mock"), options_by_kind()):
        assert answer.unwrap_err().code is ErrorCode.RESOURCE_EXHAUSTED
