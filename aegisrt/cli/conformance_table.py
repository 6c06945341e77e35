"""A conformance report as text: counts by subject, then each failure with its fix, then the skipped checks."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

from aegisrt.cli.output import print_text
from aegisrt.cli.render import print_table
from aegisrt.conformance.catalogue import all_checks
from aegisrt.conformance.report import CheckResult, Report, Status


def print_report(report: Report) -> None:
    """Print the report to stdout."""
    for (backend, device), group in groupby(report.results, key=lambda result: (result.backend, result.device)):
        results = list(group)
        version = report.environment.engines.get(backend)
        print_table(
            ("subject", *_STATUSES), _rows(results), title=f"{backend} {version or ''} on {device}".replace("  ", " ")
        )
        print()
        _print_reasons(results)
    counts = report.counts
    seconds = sum(result.duration_ns for result in report.results) / 1e9
    summary = ", ".join(
        f"{getattr(counts, name)} {name.replace('_', ' ')}" for name in _STATUSES if getattr(counts, name)
    )
    print_text(f"{summary or 'no checks'}, in {seconds:.1f} s")


_STATUSES = tuple(status.value for status in Status)


def _rows(results: list[CheckResult]) -> list[tuple[str, ...]]:
    rows = []
    for subject, group in groupby(results, key=lambda result: result.check.partition(".")[0]):
        counts = Counter(result.status.value for result in group)
        rows.append((subject, *(str(counts[status] or "") for status in _STATUSES)))
    return rows


def _print_reasons(results: list[CheckResult]) -> None:
    checks = all_checks()
    for result in results:
        if result.status is Status.FAILED:
            print_text(f"FAILED {result.check}: {checks[result.check].rule}")
            print_text(f"   got: {result.reason}")
            print_text(f"   fix: {checks[result.check].fix}\n")
    for status, word in (
        (Status.XFAILED, "expected failure"),
        (Status.NOT_INSTALLED, "not installed"),
        (Status.SKIPPED, "skipped"),
    ):
        reasons: dict[str, list[str]] = {}
        for result in results:
            if result.status is status:
                reasons.setdefault(result.reason or "", []).append(result.check)
        for reason, ids in reasons.items():
            print_text(f"{word}: {reason} ({ids[0] if len(ids) == 1 else f'{len(ids)} checks'})")
