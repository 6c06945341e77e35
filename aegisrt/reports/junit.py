"""A report as JUnit XML, as Jenkins, GitLab and GitHub's test reporters read it."""

from __future__ import annotations

import re
from itertools import groupby
from typing import TYPE_CHECKING
from xml.etree import ElementTree as Xml

if TYPE_CHECKING:
    from aegisrt.conformance.report import CheckResult, Report

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SKIPS = {"skipped": "", "not_installed": "not installed: ", "xfailed": "expected failure: "}


def junit_xml(report: Report) -> bytes:
    """Return the document: one test suite for each backend and device, one test case a check."""
    root = Xml.Element("testsuites", {"name": "aegisrt conformance", **_totals(report.results)})
    for (backend, device), group in groupby(report.results, key=lambda result: (result.backend, result.device)):
        results = tuple(group)
        suite = Xml.SubElement(root, "testsuite", {"name": f"{backend} on {device}", **_totals(results)})
        _properties(suite, report, backend)
        for result in results:
            _case(suite, result)
    Xml.indent(root)
    return bytes(Xml.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _case(suite: Xml.Element, result: CheckResult) -> None:
    subject, _, name = result.check.partition(".")
    where = f"conformance.{result.backend}.{_clean(result.device)}.{subject}"
    case = Xml.SubElement(suite, "testcase", {"classname": where, "name": name, "time": _seconds(result.duration_ns)})
    reason = _clean(result.reason or "")
    if result.status.value == "failed":
        Xml.SubElement(case, "failure", {"message": reason, "type": result.check}).text = reason
    elif result.status.value in _SKIPS:
        Xml.SubElement(case, "skipped", {"message": _SKIPS[result.status.value] + reason})


def _properties(suite: Xml.Element, report: Report, backend: str) -> None:
    values = report.environment.model_dump(mode="json", exclude={"engines", "devices"})
    values["engine"] = report.environment.engines.get(backend) or "none"
    properties = Xml.SubElement(suite, "properties")
    for name, value in values.items():
        Xml.SubElement(properties, "property", {"name": name, "value": _clean(str(value))})


def _totals(results: tuple[CheckResult, ...]) -> dict[str, str]:
    statuses = [result.status.value for result in results]
    return {
        "tests": str(len(results)),
        "failures": str(statuses.count("failed")),
        "errors": "0",
        "skipped": str(sum(status in _SKIPS for status in statuses)),
        "time": _seconds(sum(result.duration_ns for result in results)),
    }


def _seconds(duration_ns: int) -> str:
    return f"{duration_ns / 1e9:.6f}"


def _clean(text: str) -> str:
    """Return `text` without the characters that XML 1.0 does not allow."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
