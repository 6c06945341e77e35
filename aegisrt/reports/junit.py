"""`junit_xml`: rows as JUnit XML, as Jenkins, GitLab and GitHub's test reporters read it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from xml.etree import ElementTree as Xml

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class JUnitCase:
    """One test case."""

    classname: str
    name: str
    seconds: float
    outcome: Literal["passed", "failed", "skipped"] = "passed"
    message: str = ""
    """Why it failed or was skipped."""
    type: str = ""
    """Of a failure: what failed."""
    text: str = ""
    """Of a failure: the details."""


@dataclass(frozen=True, slots=True)
class JUnitSuite:
    """One test suite."""

    name: str
    cases: Sequence[JUnitCase]
    properties: Mapping[str, object] = field(default_factory=dict)


def junit_xml(name: str, suites: Sequence[JUnitSuite]) -> bytes:
    """Return the document. Characters that XML 1.0 does not allow are replaced."""
    every = [case for suite in suites for case in suite.cases]
    root = Xml.Element("testsuites", {"name": name, **_totals(every)})
    for suite in suites:
        element = Xml.SubElement(root, "testsuite", {"name": _clean(suite.name), **_totals(suite.cases)})
        properties = Xml.SubElement(element, "properties")
        for key, value in suite.properties.items():
            Xml.SubElement(properties, "property", {"name": key, "value": _clean(str(value))})
        for case in suite.cases:
            _add(element, case)
    Xml.indent(root)
    return bytes(Xml.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _add(suite: Xml.Element, case: JUnitCase) -> None:
    attributes = {"classname": _clean(case.classname), "name": _clean(case.name), "time": _time(case.seconds)}
    element = Xml.SubElement(suite, "testcase", attributes)
    if case.outcome == "failed":
        failure = Xml.SubElement(element, "failure", {"message": _clean(case.message), "type": case.type})
        failure.text = _clean(case.text)
    elif case.outcome == "skipped":
        Xml.SubElement(element, "skipped", {"message": _clean(case.message)})


def _totals(cases: Sequence[JUnitCase]) -> dict[str, str]:
    outcomes = [case.outcome for case in cases]
    return {
        "tests": str(len(cases)),
        "failures": str(outcomes.count("failed")),
        "errors": "0",
        "skipped": str(outcomes.count("skipped")),
        "time": _time(sum(case.seconds for case in cases)),
    }


def _time(seconds: float) -> str:
    return f"{seconds:.6f}"


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
