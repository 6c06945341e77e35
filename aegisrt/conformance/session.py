"""`Session`: one backend on one device, judged check by check."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from types import TracebackType

from aegisrt.conformance.check import Check
from aegisrt.conformance.environment import environment
from aegisrt.conformance.options import ConformanceOptions
from aegisrt.conformance.processes.judge import Judge, Outcome
from aegisrt.conformance.processes.judge_process import JudgeProcess
from aegisrt.conformance.processes.probe import PROBE
from aegisrt.conformance.report import CheckResult, Environment, Status
from aegisrt.conformance.target import Backend, Target, fault, refusal
from aegisrt.conformance.unjudged import Unjudged
from aegisrt.conformance.xfails import Xfails, read_xfails
from aegisrt.devices.base import Device

_NO_FORK = "needs a process of its own, and this system cannot fork"


class Session:
    """Judges one backend on one device. A context manager; for one thread.

    Checks run in a process beside this one, and those that may kill it run each in a process of their own. If another
    process cannot import the backend's class, it is judged in this process: a crash then ends the whole run, and the
    checks that may cause one are skipped.
    """

    def __init__(self, target: Target, settings: ConformanceOptions, xfails: Xfails) -> None:
        self.target = target
        self._settings = settings
        self._xfails = xfails
        self._folder = Path(tempfile.mkdtemp(prefix="aegisrt-conformance-"))
        self._folder.chmod(0o755)
        self._process: JudgeProcess | None = None
        self._judge: Judge | None = None
        self._not_importable = _NO_FORK if sys.platform == "win32" else target.not_importable()
        self._absent = _absent(target)
        if self._absent is None and target.device.kind != "cpu":
            probed = self._outcome(PROBE)
            if probed.status is Status.FAILED and (self._process is None or self._process.alive):
                self._absent = Outcome(Status.NOT_INSTALLED, probed.reason)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes and remove the files of this session."""
        if self._process is not None:
            self._process.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def environment(self) -> Environment:
        """Return the environment block."""
        found = self.target.availability()
        return environment(self.target.kind, found.version if found else None, self.target.device)

    def run(self, check: Check) -> CheckResult:
        """Return the result of `check` on this backend, with expected failures applied."""
        started = perf_counter_ns()
        outcome = self._xfails.applied(self.target.kind, self.target.device, check.id, self._outcome(check))
        return CheckResult(
            backend=self.target.kind,
            device=self.target.device.name,
            check=check.id,
            status=outcome.status,
            reason=outcome.reason,
            duration_ns=perf_counter_ns() - started,
        )

    def _outcome(self, check: Check) -> Outcome:
        if self._absent is not None:
            return self._absent
        unmet = check.unmet(self.target.backend.capabilities)
        if unmet:
            return Outcome(Status.SKIPPED, unmet)
        if self._not_importable:
            return Outcome(Status.SKIPPED, self._not_importable) if check.isolated else self._in_thread(check)
        if check.isolated:
            process = JudgeProcess(self.target, self._settings, self._folder)
            try:
                return process.run(check)
            finally:
                process.close()
        return self._living_process().run(check)

    def _living_process(self) -> JudgeProcess:
        if self._process is not None and not self._process.alive:
            self._process.close()
            self._process = None
        if self._process is None:
            self._process = JudgeProcess(self.target, self._settings, self._folder)
        return self._process

    def _in_thread(self, check: Check) -> Outcome:
        """Return the check's outcome in a thread of this process; a thread that hangs is left running."""
        if self._judge is None:
            self._judge = Judge(self.target, self._settings, self._folder, lambda _: None)
        judge, outcomes = self._judge, list[Outcome]()
        thread = threading.Thread(target=lambda: outcomes.append(judge.judge(check)), daemon=True)
        thread.start()
        thread.join(self._settings.time_limit_s)
        if outcomes:
            return outcomes[0]
        frame = sys._current_frames().get(thread.ident or 0)
        where = traceback.extract_stack(frame)[-1] if frame else None
        at = f": in `{where.name}` at {Path(where.filename).name}:{where.lineno}" if where else ""
        return Outcome(Status.FAILED, f"did not return within {self._settings.time_limit_s:g} s{at}")


def session_of(
    backend: str | type[Backend] | Backend, settings: ConformanceOptions
) -> Callable[[], Session | Unjudged]:
    """Return a function that opens the session of a backend.

    ResultError: if the call has a mistake: an unknown kind, device or check, wrong options, a wrong file of xfails.
    """
    xfails, device = read_xfails(settings.xfails), Device.parse(settings.device)
    refused = refusal(backend) if isinstance(backend, str) else None
    if isinstance(backend, str) and refused is not None:
        return partial(Unjudged, backend, device, str(refused), settings, xfails)
    target = Target.of(backend, device=settings.device, options=settings.options, instances=settings.instances)
    reason = fault(target.backend)
    if reason is not None:
        return partial(Unjudged, target.kind, device, reason, settings, xfails)
    return partial(Session, target, settings, xfails)


def _absent(target: Target) -> Outcome | None:
    """Return the outcome of every check if the engine or the device is missing, else None."""
    can = target.backend.capabilities
    if target.device.kind not in can.devices:
        return Outcome(Status.SKIPPED, f"declares devices={', '.join(can.devices)}, not {target.device.kind}")
    found = target.availability()
    if found is None or found.available:
        return None
    return Outcome(Status.NOT_INSTALLED, f"{found.reason}; run: {found.install}" if found.install else found.reason)
