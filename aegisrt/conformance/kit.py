"""`run`: the conformance kit from Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from aegisrt.conformance.catalogue import select
from aegisrt.conformance.check import Check
from aegisrt.conformance.options import ConformanceOptions
from aegisrt.conformance.report import CheckResult, Report
from aegisrt.conformance.session import session_of
from aegisrt.conformance.target import Backend


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a run: reported before each check, with `result` None, and again after it."""

    check: Check
    index: int
    """How many checks are done."""
    total: int
    result: CheckResult | None = None


Progress = Callable[[Step], None]


def run(
    backend: str | type[Backend] | Backend,
    *,
    checks: str | Sequence[str] | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    **settings: Any,
) -> Report:
    """Return the report on `backend`: a kind, a RuntimeBackend subclass, or an instance.

    From an instance only the class and the options are used: the kit makes fresh backends. `checks` is a glob over
    check ids, or several; `settings` are other fields of `ConformanceOptions`, such as `options={"threads": 1}` or
    `cycles=50`. The checks run in processes beside this one, so a crash of the engine is a failed check.

    ResultError: if the call has a mistake: an unknown kind, device or check, or wrong options.
    ValidationError (pydantic's): if the settings are wrong.
    """
    globs = ("*",) if checks is None else (checks,) if isinstance(checks, str) else tuple(checks)
    kind = backend if isinstance(backend, str) else None
    return judge(backend, ConformanceOptions(backend=kind, device=device, checks=globs, **settings), progress)


def judge(
    backend: str | type[Backend] | Backend, settings: ConformanceOptions, progress: Progress | None = None
) -> Report:
    """Return the report of one backend under `settings`; raises as `run` does."""
    chosen = select(settings.checks, settings.exclude)
    opened = session_of(backend, settings)
    report_progress = progress or (lambda _: None)
    results: list[CheckResult] = []
    with opened() as session:
        for index, check in enumerate(chosen):
            report_progress(Step(check, index, len(chosen)))
            results.append(session.run(check))
            report_progress(Step(check, index + 1, len(chosen), results[-1]))
        return Report.of(session.environment(), results)
