"""The verdict of a check: it raises `Failed` or `Skipped`, or it returns and has passed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

from aegisrt.core.result import Err, Error, ErrorCode, Ok, Result

T = TypeVar("T")


class Failed(Exception):  # noqa: N818  (a verdict, not an error of the kit)
    """The backend breaks the rule; the text has what was wanted and what was returned."""


class Skipped(Exception):  # noqa: N818
    """The check does not apply here; the text has the reason."""


def that(holds: object, otherwise: str) -> None:
    """Fail with `otherwise` unless `holds`."""
    if not holds:
        raise Failed(otherwise)


def ok(result: Result[T], doing: str) -> T:
    """Return the value of an Ok; fail with the error of an Err, or with the type of anything else."""
    if isinstance(result, Ok):
        return result.value
    if isinstance(result, Err):
        raise Failed(f"{doing}: wanted Ok, got {result.error}")
    raise Failed(f"{doing}: wanted a Result, got {_kind(result)}")


def refused(result: Result[Any], codes: ErrorCode | Collection[ErrorCode], doing: str) -> Error:
    """Return the error of an Err with one of `codes`; fail for anything else."""
    wanted = (codes,) if isinstance(codes, ErrorCode) else tuple(codes)
    names = " or ".join(wanted)
    if isinstance(result, Ok):
        raise Failed(f"{doing}: wanted {names}, got Ok")
    if not isinstance(result, Err):
        raise Failed(f"{doing}: wanted an Err with {names}, got {_kind(result)}")
    if result.error.code not in wanted:
        raise Failed(f"{doing}: wanted {names}, got {result.error}")
    return result.error


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
