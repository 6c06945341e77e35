"""`diagnose`: every check over one machine."""

from __future__ import annotations

from collections.abc import Iterator

from aegisrt.backends.base.installation import DoctorCheck
from aegisrt.doctor import base_checks, gpu_checks
from aegisrt.doctor.environment import MachineFacts


def diagnose(env: MachineFacts) -> tuple[DoctorCheck, ...]:
    """Return all findings, in the order in which to fix them; engines with the same finding share it."""
    checks = (
        base_checks.packages,
        gpu_checks.driver,
        gpu_checks.gpus,
        gpu_checks.device_files,
        gpu_checks.cuda_version,
        gpu_checks.pycuda,
        engines,
        base_checks.cache,
    )
    return tuple(dict.fromkeys(found for check in checks for found in check(env)))


def engines(env: MachineFacts) -> Iterator[DoctorCheck]:
    """Yield what each backend finds about its engine, and the kinds that cannot be used."""
    for kind, error in env.refused.items():
        detail = f"{error.message}: {error.cause}" if error.cause else error.message
        yield DoctorCheck(kind, "fail", detail, error.hint)
    for kind, engine in env.engines.items():
        try:
            found = tuple(engine.checks(env))
            wrong = next((item for item in found if not isinstance(item, DoctorCheck)), None)
            problem = None if wrong is None else f"yields {wrong!r}, not a DoctorCheck"
        except (Exception, SystemExit) as error:  # noqa: BLE001  (a third party's method may raise anything)
            problem = f"raises {type(error).__name__}: {error}"
        if problem is None:
            yield from found
        else:
            detail = f"`{type(engine).__name__}.checks` of backend `{kind}` {problem}"
            yield DoctorCheck(kind, "warn", detail, f"report it to the author of backend `{kind}`")
