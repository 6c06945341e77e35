"""The progress of a build, from TensorRT's `IProgressMonitor` (8.6 has it in C++ only, 10 and later in Python too)."""

from __future__ import annotations

from typing import Any

from aegisrt.backends.process.child import report_progress
from aegisrt.backends.tensorrt.distribution import TensorRT


def progress_monitor(trt: TensorRT, config: Any) -> Any:
    """Return the monitor, which must live as long as the build, or None if this version has none."""
    if not hasattr(trt.package, "IProgressMonitor"):
        report_progress("building the engine")
        return None
    config.progress_monitor = monitor = _monitor(trt.package)
    return monitor


def _monitor(package: Any) -> Any:
    class Monitor(package.IProgressMonitor):  # type: ignore[misc]
        """Reports the outer phases only; TensorRT calls it from any of its threads."""

        def __init__(self) -> None:
            package.IProgressMonitor.__init__(self)
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
