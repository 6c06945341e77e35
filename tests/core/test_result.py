from __future__ import annotations

import pickle

import pytest

from aegisrt.core.diagnostic import Diagnostic, Location
from aegisrt.core.result import Err, Error, ErrorCode, Ok, ResultError, fail, is_ok

HERE, THERE = Location("deploy.yaml", 3, 5, 9), Location("env.yaml", 1, 1, 2)


def test_ok():
    result = Ok(5)
    assert (result.is_ok(), result.is_err(), result.unwrap()) == (True, False, 5)
    with pytest.raises(TypeError, match="Ok"):
        result.unwrap_err()


def test_err():
    error = Error(ErrorCode.NOT_FOUND, "gone")
    result = Err(error)
    assert (result.is_ok(), result.is_err(), result.unwrap_err()) == (False, True, error)
    with pytest.raises(ResultError) as caught:
        result.unwrap()
    assert caught.value.error is error


def test_the_function_is_ok():
    assert is_ok(Ok(None))
    assert not is_ok(Err(Error(ErrorCode.INTERNAL, "")))


def test_match():
    def told(result) -> str:
        match result:
            case Ok(value):
                return f"ok {value}"
            case Err(error):
                return f"err {error.code}"
        return "neither"

    assert told(Ok(1)) == "ok 1"
    assert told(Err(Error(ErrorCode.INTERNAL, ""))) == "err INTERNAL"


@pytest.mark.parametrize("code", list(ErrorCode))
def test_a_codes_value_is_its_name(code):
    assert code.value == code.name == str(code)


def test_all_of_grpcs_codes_that_fit_and_not_loaded():
    assert set(ErrorCode.__members__) == {
        "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "NOT_LOADED", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED",
        "UNAVAILABLE", "UNIMPLEMENTED", "DEADLINE_EXCEEDED", "CANCELLED", "DATA_LOSS", "PERMISSION_DENIED", "INTERNAL",
    }  # fmt: skip


def test_errors_and_results_pickle():
    diagnostic = Diagnostic("unknown-field", "no", HERE)
    error = Error(ErrorCode.DATA_LOSS, "bad", "copy it", HERE, "EOF", (diagnostic,))
    for value in (error, Ok({"a": 1}), Err(error)):
        assert pickle.loads(pickle.dumps(value)) == value
    raised = pickle.loads(pickle.dumps(ResultError(error)))
    assert raised.error == error


def test_errors_do_not_change():
    error = Error(ErrorCode.INTERNAL, "x")
    with pytest.raises(AttributeError):
        error.message = "y"


def test_at_sets_a_location_once():
    error = Error(ErrorCode.NOT_FOUND, "gone")
    assert error.at(None) is error
    assert error.at(HERE).location == HERE
    assert error.at(HERE).at(THERE).location == HERE


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Error(ErrorCode.NOT_FOUND, "gone"), "NOT_FOUND: gone"),
        (Error(ErrorCode.INTERNAL, "gone", log="l"), "INTERNAL: gone (the log is l)"),
        (Error(ErrorCode.INTERNAL, "gone", "again", log="l"), "INTERNAL: gone (again; the log is l)"),
        (Error(ErrorCode.NOT_FOUND, "gone", "look"), "NOT_FOUND: gone (look)"),
        (Error(ErrorCode.NOT_FOUND, "gone", "look", HERE), "deploy.yaml:3:5: NOT_FOUND: gone (look)"),
    ],
)
def test_text(error, text):
    assert str(error) == str(ResultError(error)) == text


def test_fail_is_to_be_raised():
    with pytest.raises(ResultError) as caught:
        raise fail(ErrorCode.UNAVAILABLE, "no", "run x", location=HERE, cause="why")
    assert caught.value.error == Error(ErrorCode.UNAVAILABLE, "no", "run x", HERE, "why")
