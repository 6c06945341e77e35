"""`Judge`: runs checks in this process, and turns their results and exceptions into an `Outcome`."""

from __future__ import annotations

import shutil
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aegisrt.conformance.check import Check
from aegisrt.conformance.options import ConformanceOptions
from aegisrt.conformance.references.supply import Supply
from aegisrt.conformance.report import Status
from aegisrt.conformance.subject import Subject
from aegisrt.conformance.target import Target
from aegisrt.conformance.verdict import Failed, Skipped

_LONGEST = 2000


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one check. Pickles."""

    status: Status
    reason: str | None = None


class Judge:
    """Runs checks on one backend, one after the other, in this process."""

    def __init__(
        self, target: Target, settings: ConformanceOptions, folder: Path, announce: Callable[[str], None]
    ) -> None:
        """Judge `target`; `folder` keeps the built files for the whole run, `announce` is called before each build."""
        self._target = target
        self._settings = settings
        self._folder = folder
        self._supply = Supply(target, folder / "built", announce)
        self._memo: dict[str, Any] = {}

    def judge(self, check: Check) -> Outcome:
        """Return the outcome of `check`; raises only KeyboardInterrupt."""
        scratch = Path(tempfile.mkdtemp(prefix="check-", dir=self._folder))
        subject = Subject(self._target, self._settings, self._supply, scratch, self._memo)
        try:
            check.body(subject)
        except Skipped as skipped:
            return Outcome(Status.SKIPPED, str(skipped))
        except Failed as failed:
            return Outcome(Status.FAILED, str(failed)[:_LONGEST])
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  (a backend may raise anything, SystemExit too)
            return Outcome(Status.FAILED, _exception(error)[:_LONGEST])
        finally:
            subject.close()
            shutil.rmtree(scratch, ignore_errors=True)
        return Outcome(Status.PASSED)


def _exception(error: BaseException) -> str:
    """Return an exception in one line, with the place that raised it and the backend's line that led there."""
    frames = traceback.extract_tb(error.__traceback__)
    at = frames[-1] if frames else None
    where = f" (at {Path(at.filename).name}:{at.lineno}, in `{at.name}`)" if at else ""
    return f"an exception was raised instead of a returned Result: {type(error).__name__}: {error}{where}"
