"""`PROBE`: tests whether the engine can use the device at all, so that no check fails on a machine without one."""

from __future__ import annotations

from aegisrt.conformance.check import Check
from aegisrt.conformance.references.supply import BuildFailed
from aegisrt.conformance.subject import Subject
from aegisrt.conformance.verdict import Failed
from aegisrt.core.result import Err, ErrorCode


def _usable(subject: Subject) -> None:
    try:
        file = subject.model("affine")
    except BuildFailed as failed:
        if failed.code == ErrorCode.UNAVAILABLE:
            raise
        return  # the checks report a broken build
    result = subject.fresh().load(file)
    if isinstance(result, Err) and result.error.code is ErrorCode.UNAVAILABLE:
        raise Failed(str(result.error))


PROBE = Check("kit.probe", "The engine can use the device.", "", "", (), False, _usable)
