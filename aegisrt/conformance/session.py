"""`Session`: one backend on one device, judged check by check."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from time import perf_counter_ns
from types import TracebackType

from aegisrt.conformance.check import Check
from aegisrt.conformance.options import ConformanceOptions
from aegisrt.conformance.processes.judge import Judge, Outcome
from aegisrt.conformance.processes.probe import PROBE
from aegisrt.conformance.processes.worker import JudgeProcess
from aegisrt.conformance.report import CheckResult, Status
from aegisrt.conformance.target import Target
from aegisrt.conformance.xfails import Xfails

_NO_FORK = "needs a process of its own, and this system cannot fork"


class Session:
    """Judges one backend on one device. A context manager; for one thread.

    Checks run in a process beside this one, and those that may kill it each in one of their own. A backend class that
    another process cannot import is judged in this process, where a crash is a crash; then those are skipped.
    """

    def __init__(self, target: Target, settings: ConformanceOptions, xfails: Xfails) -> None:
        self.target = target
        self._settings = settings
        self._xfails = xfails
        self._folder = Path(tempfile.mkdtemp(prefix="aegisrt-conformance-"))
        self._folder.chmod(0o755)
        self._worker: JudgeProcess | None = None
        self._judge: Judge | None = None
        self._here = _NO_FORK if sys.platform == "win32" else target.not_importable()
        self._absent = _absent(target)
        if self._absent is None and target.device.kind != "cpu":
            probed = self._outcome(PROBE)
            if probed.status is Status.FAILED and (self._worker is None or self._worker.alive):
                self._absent = Outcome(Status.NOT_INSTALLED, probed.reason)

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the processes and remove the files of this session."""
        if self._worker is not None:
            self._worker.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, check: Check) -> CheckResult:
        """Return what `check` comes to on this backend, expected failures taken into account."""
        started = perf_counter_ns()
        outcome = self._xfails.applied(self.target, check.id, self._outcome(check))
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
        if self._here:
            return Outcome(Status.SKIPPED, self._here) if check.isolated else self._in_thread(check)
        if check.isolated:
            worker = JudgeProcess(self.target, self._settings, self._folder)
            try:
                return worker.run(check)
            finally:
                worker.close()
        return self._living_worker().run(check)

    def _living_worker(self) -> JudgeProcess:
        if self._worker is not None and not self._worker.alive:
            self._worker.close()
            self._worker = None
        if self._worker is None:
            self._worker = JudgeProcess(self.target, self._settings, self._folder)
        return self._worker

    def _in_thread(self, check: Check) -> Outcome:
        """Return what the check comes to in a thread of this process, which is left behind where it hangs."""
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
        return Outcome(Status.FAILED, f"did not come back within {self._settings.time_limit_s:g} s{at}")


def _absent(target: Target) -> Outcome | None:
    """Return the outcome of every check where the engine or the device is not there, or None."""
    can = target.backend.capabilities
    if target.device.kind not in can.devices:
        return Outcome(Status.SKIPPED, f"declares devices={', '.join(can.devices)}, not {target.device.kind}")
    found = target.backend.availability()
    if found.available:
        return None
    return Outcome(Status.NOT_INSTALLED, f"{found.reason}; run: {found.install}" if found.install else found.reason)
