"""The kit as pytest tests, one test id for each check.

    pytest -p aegisrt.conformance.plugin --pyargs aegisrt.conformance --backend mine [--device cpu] [--check GLOB]

Tests are named `kit.py::mine on cpu::lifecycle.load-valid-model`, so `-k lifecycle` chooses among them too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aegisrt.conformance import kit
from aegisrt.conformance.catalogue import select
from aegisrt.conformance.check import Check
from aegisrt.conformance.configured import configured
from aegisrt.conformance.options import ConformanceOptions
from aegisrt.conformance.report import CheckResult, Status
from aegisrt.conformance.session import Session, session_of
from aegisrt.conformance.unjudged import Unjudged
from aegisrt.core.result import Err, ResultError

_KIT = Path(kit.__file__)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the kit."""
    group = parser.getgroup("aegisrt conformance")
    group.addoption(
        "--backend", action="append", default=[], metavar="KIND", help="a backend kind to check; may be repeated"
    )
    group.addoption("--device", default=None, metavar="KIND", help="the device kind that it runs on (default: cpu)")
    group.addoption(
        "--check", action="append", default=[], metavar="GLOB", help="checks by id; may be repeated (default: all)"
    )
    group.addoption(
        "--conformance",
        action="append",
        default=[],
        metavar="OVERRIDE",
        help="such as `conformance=quick`; may be repeated",
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Return the collector of the checks for the kit's own file."""
    if file_path != _KIT:
        return None
    collector: pytest.Collector = _Kit.from_parent(parent, path=file_path)
    return collector


class _Kit(pytest.File):
    def collect(self) -> Iterator[pytest.Collector]:
        given = self.config.option
        options = configured(given.conformance)
        if isinstance(options, Err):
            raise pytest.UsageError(str(options.error))
        chosen = {"device": given.device} if given.device else {}
        if given.check:
            chosen["checks"] = tuple(given.check)
        settings = options.value.model_copy(update=chosen)
        kinds = given.backend or ([settings.backend] if settings.backend else [])
        if not kinds:
            raise pytest.UsageError("name the backend to check: --backend KIND")
        for kind in kinds:
            yield _Backend.from_parent(self, name=f"{kind} on {settings.device}", kind=kind, settings=settings)


class _Backend(pytest.Collector):
    def __init__(self, *, kind: str, settings: ConformanceOptions, **rest: Any) -> None:
        super().__init__(**rest)
        self._session: Session | Unjudged | None = None
        try:
            self._checks = select(settings.checks, settings.exclude)
            self._open = session_of(kind, settings)
        except ResultError as mistake:
            raise pytest.UsageError(str(mistake)) from None

    def collect(self) -> Iterator[pytest.Item]:
        for check in self._checks:
            yield _Item.from_parent(self, name=check.id, check=check)

    def judged(self, check: Check) -> CheckResult:
        if self._session is None:
            self._session = self._open()
        return self._session.run(check)

    def teardown(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None


class _FailedError(Exception):
    pass


class _Item(pytest.Item):
    def __init__(self, *, check: Check, **rest: Any) -> None:
        super().__init__(**rest)
        self.check = check

    def runtest(self) -> None:
        assert isinstance(self.parent, _Backend)
        result = self.parent.judged(self.check)
        reason = result.reason or ""
        match result.status:
            case Status.FAILED:
                raise _FailedError(reason)
            case Status.SKIPPED:
                pytest.skip(reason)
            case Status.NOT_INSTALLED:
                pytest.skip(f"not installed: {reason}")
            case Status.XFAILED:
                pytest.xfail(reason)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if not isinstance(excinfo.value, _FailedError):
            return super().repr_failure(excinfo, style)
        return f"{self.check.rule}\n   got: {excinfo.value}\n   why: {self.check.why}\n   fix: {self.check.fix}"

    def reportinfo(self) -> tuple[Path, None, str]:
        return _KIT, None, f"{self.parent.name if self.parent else ''}: {self.check.id}"
