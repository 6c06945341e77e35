"""How far a build is, from TensorRT's `IProgressMonitor` (8.6 in C++, from 10 on in Python too)."""

from __future__ import annotations

from typing import Any

from aegisrt.backends.process.child import report_progress
from aegisrt.backends.tensorrt.distribution import TensorRT


def progress_monitor(engine: TensorRT, config: Any) -> Any:
    """Return the monitor, which must live while the build runs, or None where this version has none."""
    if not hasattr(engine.module, "IProgressMonitor"):
        report_progress("building the engine")
        return None
    config.progress_monitor = monitor = _monitor(engine.module)
    return monitor


def _monitor(module: Any) -> Any:
    class Monitor(module.IProgressMonitor):  # type: ignore[misc]
        """Tells the outer phases alone; each call comes from whichever thread builds."""

        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None or parent_phase in self._steps:
                self._steps[phase_name] = num_steps
            if parent_phase is None:
                report_progress(phase_name)

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

        def step_complete(self, phase_name: str, step: int) -> bool:
            steps = self._steps.get(phase_name)
            if steps:
                report_progress(f"{phase_name}: {step + 1} of {steps}")
            return True

    return Monitor()
