"""`Result[T]`: the answer of every call that can fail because of a user, a file, a device or an engine."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, NoReturn, TypeAlias, TypeVar, Union

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from aegisrt.core.diagnostic import Diagnostic, Location

T = TypeVar("T", covariant=True)


class ErrorCode(StrEnum):
    """Why a call failed: gRPC's canonical codes, and NOT_LOADED. Each value equals its name."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    NOT_LOADED = "NOT_LOADED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    UNAVAILABLE = "UNAVAILABLE"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    CANCELLED = "CANCELLED"
    DATA_LOSS = "DATA_LOSS"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Error:
    """A failure, with what to do about it. Immutable; can be pickled."""

    code: ErrorCode
    """Why it failed, for programs."""
    message: str
    """What failed, in a sentence."""
    hint: str | None = None
    """What to do about it: a command to run or a line to change."""
    location: Location | None = None
    """The place in a manifest, or in an override, that requested what failed."""
    cause: str | None = None
    """The engine's or the operating system's own message."""
    diagnostics: tuple[Diagnostic, ...] = ()
    """Every error of a manifest, if the manifest is what failed."""
    log: str | None = None
    """The file with the output of the process that failed."""
    retry: bool = False
    """Whether the same call may succeed a little later: something is full, and nothing is wrong."""

    def at(self, location: Location | None) -> Error:
        """Return this error with `location`, unless it has one already."""
        return self if self.location or location is None else replace(self, location=location)

    def __str__(self) -> str:
        where = f"{self.location}: " if self.location else ""
        more = "; ".join(filter(None, (self.hint, self.log and f"the log is {self.log}")))
        return f"{where}{self.code}: {self.message}" + (f" ({more})" if more else "")


class ResultError(Exception):
    """Raised by `unwrap()` of an `Err`, and by an engine's hook that chooses the error's code itself."""

    def __init__(self, error: Error) -> None:
        super().__init__(error)
        self.error = error

    def __str__(self) -> str:
        return str(self.error)


@dataclass(frozen=True, slots=True)
class Ok(Generic[T]):
    """Success, holding `value`."""

    value: T
    """What the call returns."""

    def is_ok(self) -> bool:
        """Return True."""
        return True

    def is_err(self) -> bool:
        """Return False."""
        return False

    def unwrap(self) -> T:
        """Return the value."""
        return self.value

    def unwrap_err(self) -> NoReturn:
        """Raise TypeError: there is no error."""
        raise TypeError(f"unwrap_err() of {self!r}")


@dataclass(frozen=True, slots=True)
class Err:
    """Failure, holding `error`."""

    error: Error
    """Why the call failed, and what to do about it."""

    def is_ok(self) -> bool:
        """Return False."""
        return False

    def is_err(self) -> bool:
        """Return True."""
        return True

    def unwrap(self) -> NoReturn:
        """Raise `ResultError` with `.error`."""
        raise ResultError(self.error)

    def unwrap_err(self) -> Error:
        """Return the error."""
        return self.error


Result: TypeAlias = Union[Ok[T], Err]  # noqa: UP007  (a subscriptable alias: Result[int])
"""`Ok` or `Err`. `match`, `isinstance` and `is_ok(result)` narrow its type; the methods `is_ok` and `is_err` cannot."""


def is_ok(result: Result[T]) -> TypeIs[Ok[T]]:
    """Return whether a result is `Ok`; a type checker then knows it as `Ok`, and as `Err` otherwise."""
    return isinstance(result, Ok)


def fail(
    code: ErrorCode,
    message: str,
    hint: str | None = None,
    *,
    location: Location | None = None,
    cause: str | None = None,
) -> ResultError:
    """Return a `ResultError` to raise; the nearest Result boundary turns it into an `Err`."""
    return ResultError(Error(code, message, hint, location, cause))
