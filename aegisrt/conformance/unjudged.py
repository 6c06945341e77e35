"""`Unjudged`: stands in for a backend whose declaration is broken, so that no check can run."""

from __future__ import annotations

from types import TracebackType

from aegisrt.conformance.catalogue import select
from aegisrt.conformance.check import Check
from aegisrt.conformance.environment import environment
from aegisrt.conformance.options import ConformanceOptions
from aegisrt.conformance.processes.judge import Outcome
from aegisrt.conformance.report import CheckResult, Environment, Status
from aegisrt.conformance.xfails import Xfails
from aegisrt.devices.base import Device

WELL_FORMED = "capabilities.well-formed"


class Unjudged:
    """In place of a `Session`: `capabilities.well-formed` fails with the reason, the other checks are skipped.

    If the run has chosen other checks alone, those fail: a run in which nothing could be judged must not be green.
    """

    def __init__(self, kind: str, device: Device, reason: str, settings: ConformanceOptions, xfails: Xfails) -> None:
        self._kind = kind
        self._device = device
        self._reason = reason
        self._xfails = xfails
        chosen = {check.id for check in select(settings.checks, settings.exclude)}
        self._failing = {WELL_FORMED} if WELL_FORMED in chosen else chosen

    def __enter__(self) -> Unjudged:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hold nothing, so release nothing."""

    def environment(self) -> Environment:
        """Return the environment block."""
        return environment(self._kind, None, self._device)

    def run(self, check: Check) -> CheckResult:
        """Return the failure or the skip of a check."""
        outcome = Outcome(Status.SKIPPED, f"not judged: {self._reason}")
        if check.id in self._failing:
            outcome = Outcome(Status.FAILED, self._reason)
        outcome = self._xfails.applied(self._kind, self._device, check.id, outcome)
        return CheckResult(
            backend=self._kind, device=self._device.name, check=check.id, status=outcome.status, reason=outcome.reason
        )
