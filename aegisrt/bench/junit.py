"""A benchmark's report as JUnit XML, so that a CI system shows its numbers and its failed requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from xml.etree import ElementTree as Xml

from aegisrt.bench.environment import environment

if TYPE_CHECKING:
    from aegisrt.bench.report import BenchReport
    from aegisrt.bench.summary import Summary


def junit_xml(report: BenchReport) -> bytes:
    """Return the document: one test case, which fails where a request was not answered; numbers are properties."""
    failed = sum(report.ours.errors.values())
    totals = {"tests": "1", "failures": str(int(failed > 0)), "errors": "0", "time": f"{report.load.seconds:.3f}"}
    root = Xml.Element("testsuites", {"name": "aegisrt bench", **totals})
    suite = Xml.SubElement(root, "testsuite", {"name": f"{report.model} on {report.backend}", **totals})
    properties = Xml.SubElement(suite, "properties")
    for name, value in _numbers(report):
        Xml.SubElement(properties, "property", {"name": name, "value": str(value)})
    where = {"classname": f"bench.{report.backend}.{report.model}", "name": report.scenario, "time": totals["time"]}
    case = Xml.SubElement(suite, "testcase", where)
    if failed:
        said = "; ".join(f"{count} {code}: {report.ours.words[code]}" for code, count in report.ours.errors.items())
        Xml.SubElement(case, "failure", {"message": f"{failed} requests failed", "type": "requests"}).text = said
    Xml.indent(root)
    return bytes(Xml.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _numbers(report: BenchReport) -> Iterator[tuple[str, object]]:
    yield from environment().items()
    yield from _of(report.ours, "")
    if report.bare is not None:
        yield from _of(report.bare, "bare.")
        for name, ratio in report.ours.over(report.bare).items():
            yield f"ratio.{name}", ratio


def _of(summary: Summary, prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in summary.latency_us.items():
        yield f"{prefix}latency_us.{name}", round(value, 3)
    yield f"{prefix}throughput_per_s", round(summary.throughput_per_s, 3)
    yield f"{prefix}count", summary.count
