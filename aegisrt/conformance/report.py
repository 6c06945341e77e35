"""`Report`: the results of a run of the kit; its JSON form is in schemas/conformance-report.schema.json."""

from __future__ import annotations

import json
from collections import Counter
from enum import StrEnum
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic import Field

from aegisrt.core.fresh_file import write_file
from aegisrt.core.options import StrictModel
from aegisrt.core.result import ErrorCode, fail
from aegisrt.reports.junit import JUnitCase, JUnitSuite, junit_xml


class Status(StrEnum):
    """The outcome of a check; only `passed` is a pass."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    """It does not apply: the backend does not declare what it needs."""
    NOT_INSTALLED = "not_installed"
    """The engine or the device is not there."""
    XFAILED = "xfailed"
    """It failed, and a file of expected failures lists it."""


class CheckResult(StrictModel):
    """One check on one backend and device."""

    backend: str
    """The backend's kind."""
    device: str
    """The device as requested, such as `cpu` or `cuda:1`."""
    check: str
    """The check's id."""
    status: Status
    """Its outcome."""
    reason: str | None = None
    """Why it is not `passed`."""
    duration_ns: int = Field(default=0, ge=0)
    """How long it took."""


class Environment(StrictModel):
    """Where a run took place."""

    aegisrt: str
    """Version of this package."""
    python: str
    """Version of Python."""
    numpy: str
    """Version of numpy."""
    platform: str
    """Operating system and machine."""
    cpu: str
    """The processor's name."""
    cores: int = Field(ge=1)
    """Processors that this process may use."""
    engines: dict[str, str | None]
    """Version of each backend's engine by backend kind; null if it has none or is not installed."""
    devices: dict[str, str]
    """Name of each device by the name under which it was requested."""


class Counts(StrictModel):
    """How many checks have each status."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    not_installed: int = 0
    xfailed: int = 0


class Report(StrictModel):
    """All results of a run, in the order in which the checks ran."""

    environment: Environment
    """Where it ran."""
    results: tuple[CheckResult, ...]
    """One entry for each check, backend and device."""
    counts: Counts
    """Results by status."""

    @classmethod
    def of(cls, environment: Environment, results: list[CheckResult]) -> Report:
        """Return the report of `results`, with their counts."""
        counts = Counter(result.status.value for result in results)
        return cls(environment=environment, results=tuple(results), counts=Counts(**counts))

    @classmethod
    def merged(cls, reports: list[Report]) -> Report:
        """Return several reports as one, in their order."""
        first = reports[0].environment
        engines = {kind: version for report in reports for kind, version in report.environment.engines.items()}
        devices = {name: text for report in reports for name, text in report.environment.devices.items()}
        environment = first.model_copy(update={"engines": engines, "devices": devices})
        return cls.of(environment, [result for report in reports for result in report.results])

    @property
    def failed(self) -> tuple[CheckResult, ...]:
        """Return the results that failed."""
        return tuple(result for result in self.results if result.status is Status.FAILED)

    @property
    def not_run(self) -> str | None:
        """Return why no check ran: the engine or the device is missing, or no check applies; None if one ran."""
        absent = next((result for result in self.results if result.status is Status.NOT_INSTALLED), None)
        nothing_ran = all(result.status is Status.SKIPPED for result in self.results)
        first = absent or (self.results[0] if nothing_ran and self.results else None)
        return None if first is None else f"{first.backend} on {first.device}: {first.reason}"

    @property
    def exit_code(self) -> int:
        """Return 1 if a check failed, else 0."""
        return 1 if self.failed else 0

    def result(self, check: str) -> CheckResult:
        """Return the result of one check, the first if several backends have it. KeyError: if none has it."""
        for result in self.results:
            if result.check == check:
                return result
        raise KeyError(check)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, as `aegisrt conformance --json` prints them."""
        return self.model_dump(mode="json")

    def _suites(self) -> list[JUnitSuite]:
        """Return one test suite for each backend and device, in it one test case for each check."""
        common = self.environment.model_dump(mode="json", exclude={"engines", "devices"})
        return [
            JUnitSuite(
                f"{backend} on {device}",
                [_case(result) for result in results],
                {**common, "engine": self.environment.engines.get(backend) or "none"},
            )
            for (backend, device), results in groupby(self.results, lambda result: (result.backend, result.device))
        ]

    def write(self, path: str | Path) -> None:
        """Write the report to a .json or .xml (JUnit) file.

        INVALID_ARGUMENT: if the file has another ending.
        """
        path = Path(path)
        if path.suffix == ".json":
            content = (json.dumps(self.to_json(), indent=2) + "\n").encode()
        elif path.suffix == ".xml":
            content = junit_xml("aegisrt conformance", self._suites())
        else:
            raise fail(ErrorCode.INVALID_ARGUMENT, f"report file {path} ends in neither .json nor .xml")
        write_file(path, content)


_SKIPS = {Status.SKIPPED: "", Status.NOT_INSTALLED: "not installed: ", Status.XFAILED: "expected failure: "}


def _case(result: CheckResult) -> JUnitCase:
    subject, _, name = result.check.partition(".")
    classname, seconds = f"conformance.{result.backend}.{result.device}.{subject}", result.duration_ns / 1e9
    reason = result.reason or ""
    if result.status is Status.FAILED:
        return JUnitCase(classname, name, seconds, "failed", reason, result.check, reason)
    if result.status in _SKIPS:
        return JUnitCase(classname, name, seconds, "skipped", _SKIPS[result.status] + reason)
    return JUnitCase(classname, name, seconds)
