"""A benchmark's report as text: what was measured on what, the table, and the errors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aegisrt.bench.report import BenchReport
from aegisrt.cli.init.inputs import GENERATED
from aegisrt.cli.output import print_text
from aegisrt.cli.render import print_table

_NAMES = ("p50", "p90", "p99", "mean")


def print_bench(report: BenchReport) -> None:
    """Print the report to stdout."""
    print_text(f"sends:   {report.sent}{_made_up(report.options)}")
    print_text(f"engine:  {report.served_by}")
    print_text(f"machine: {report.measured_on}")
    print_text(f"options: {_options(report)}\n")
    print_table(("", *(f"{name} us" for name in _NAMES), "per second", "count"), _rows(report), title=_title(report))
    for failure in report.failures:
        count, _, error = failure.partition(" ")
        print_text(f"{count} requests failed with {error}")


def _made_up(options: Mapping[str, Any]) -> str:
    """Return a note if the sample is not data of the user, but was made up by `aegisrt init`."""
    sample = (options.get("model") or {}).get("sample") or {}
    file = "" if options.get("shapes") else str(sample.get("inputs", ""))
    return " (made up by `aegisrt init`)" if file.endswith(GENERATED) else ""


_SHOWN_ELSEWHERE = frozenset({"path", "sample", "backend", "sha256", "signature", "instances"})


def _options(report: BenchReport) -> str:
    """Return the options that the manifest declares of the model and its backend, and those of the command line."""
    model, backend = report.options.get("model") or {}, report.options.get("backend") or {}
    parts = {key: value for key, value in model.items() if key not in _SHOWN_ELSEWHERE}
    parts |= {f"backend.{key}": value for key, value in backend.items()}
    parts |= report.load.to_json()
    return ", ".join(f"{key}={_plain(value)}" for key, value in parts.items() if value not in (None, {}))


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_plain(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_plain, value))}]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rows(report: BenchReport) -> list[tuple[str, ...]]:
    sides = [("aegisrt", report.ours), *([("bare", report.bare)] if report.bare is not None else [])]
    rows = [
        (
            kind,
            *(_shown(summary.latency_us[name], 1) for name in _NAMES),
            f"{summary.throughput_per_s:.0f}",
            str(summary.count),
        )
        for kind, summary in sides
    ]
    if report.bare is not None and report.ours.count:
        ratio = report.ours.over(report.bare)
        rows.append(("ratio", *(_shown(ratio[name], 3) for name in (*_NAMES, "throughput")), ""))
    return rows


def _title(report: BenchReport) -> str:
    rate = f" at {report.load.qps:.0f} requests per second" if report.load.qps is not None else ""
    return f"{report.scenario}{rate}, model {report.model} on {report.backend}, {report.load.seconds:g} s"


def _shown(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
