"""Inputs as JSON: nested lists, or lists by input name."""

from __future__ import annotations

import json
import os
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from aegisrt.core.result import ErrorCode, ResultError, fail
from aegisrt.core.system_error import system_error
from aegisrt.core.tensor import Array, DataType, TensorSpec
from aegisrt.runtime.building.input_budget import InputBudget

_NOT_FINITE = ("NaN", "Infinity", "-Infinity")
_TOKEN_BYTES = {b",": 64, b"[": 96, b"{": 256, b'"': 48}
"""The most memory for what begins at each of these characters: Python's objects, and their places in two arrays."""
_KINDS: dict[type, str] = {str: "strings", bool: "booleans", float: "floating-point numbers", int: "numbers"}


def read_json(path: Path, budget: InputBudget) -> Any:
    """Return the content of a JSON file; its size in memory is estimated before it is parsed.

    INVALID_ARGUMENT: if it is not valid JSON, or an empty object.
    RESOURCE_EXHAUSTED: if the budget is too small.
    """
    try:
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            budget.take(size, f"{path}")
            raw = stream.read(size)
        budget.take(_memory_bytes(raw), f"{path}: what it holds")
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} is not valid JSON", cause=str(error)) from None
    except OSError as error:
        raise system_error(
            error, f"{path} cannot be read", f"let this user read it: chmod +r {quote(str(path))}"
        ) from None
    if content == {}:
        raise fail(ErrorCode.INVALID_ARGUMENT, f"{path} holds no array", 'write arrays by name: {"NAME": [...]}')
    return content


def _memory_bytes(raw: bytes) -> int:
    """Return how much memory the parsed content needs at most; Python stores a text in 1 or in 4 bytes a character."""
    character_bytes = 1 if raw.isascii() and b"\\u" not in raw else 4
    return 2 * character_bytes * len(raw) + sum(raw.count(token) * cost for token, cost in _TOKEN_BYTES.items())


def typed(value: Any, spec: TensorSpec, path: Path) -> Array:
    """Return nested JSON lists as an array of the input's dtype.

    INVALID_ARGUMENT: if the lists do not form an array, or a value is not of the dtype.
    """
    target = spec.dtype.numpy
    try:
        array = np.asarray(value, object)  # an array of texts has room for the longest of them in each place
    except (ValueError, RecursionError) as error:
        raise _ragged(path, str(error)) from None
    items = array.ravel().tolist()
    if list in map(type, items):
        raise _ragged(path, None)
    is_float = target.kind in "fV"
    if is_float and str in map(type, items):
        items = [float(item) if isinstance(item, str) and item in _NOT_FINITE else item for item in items]
    _require_kinds(set(map(type, items)), spec, path)
    if spec.dtype is DataType.BYTES:
        return array
    try:
        with np.errstate(over="raise"):
            return np.asarray(items, target).reshape(array.shape)
    except (OverflowError, ValueError, FloatingPointError) as error:
        message = f"{path} holds a number outside the range of {spec.dtype}"
        raise fail(ErrorCode.INVALID_ARGUMENT, message, cause=str(error)) from None


def _require_kinds(kinds: set[type], spec: TensorSpec, path: Path) -> None:
    by_kind: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "O": {str}}
    wrong = kinds - by_kind.get(spec.dtype.numpy.kind, {int, float})
    if not wrong:
        return
    first = next((name for kind, name in _KINDS.items() if kind in wrong), "")
    name = first if wrong <= set(_KINDS) else "values that are not numbers"
    message = f"{path} holds {name}, but the input `{spec.name}` is {spec.dtype}"
    hint = "write strings" if spec.dtype is DataType.BYTES else "write values of that type: nothing is cast"
    raise fail(ErrorCode.INVALID_ARGUMENT, message, hint)


def _ragged(path: Path, cause: str | None) -> ResultError:
    message, hint = f"{path} is not an array of one shape", "give all lists of one level the same length"
    return fail(ErrorCode.INVALID_ARGUMENT, message, hint, cause=cause)
