from xml.etree import ElementTree

from aegisrt.reports.junit import JUnitCase, JUnitSuite, junit_xml


def document(*suites):
    return ElementTree.fromstring(junit_xml("a report", suites))


def test_totals_are_those_of_the_suites():
    first = JUnitSuite("first", [JUnitCase("c", "a", 0.25), JUnitCase("c", "b", 0.5, "failed", "m", "t", "x")])
    second = JUnitSuite("second", [JUnitCase("c", "a", 1.0, "skipped", "not here")])
    root = document(first, second)
    assert root.attrib == {
        "name": "a report", "tests": "3", "failures": "1", "errors": "0", "skipped": "1", "time": "1.750000",
    }  # fmt: skip
    assert [suite.get("tests") for suite in root] == ["2", "1"]
    assert [suite.get("time") for suite in root] == ["0.750000", "1.000000"]


def test_a_case_has_its_outcome():
    passed, failed, skipped = document(
        JUnitSuite(
            "s",
            [
                JUnitCase("c", "a", 0.0),
                JUnitCase("c", "b", 0.0, "failed", "short", "kind", "long"),
                JUnitCase("c", "d", 0.0, "skipped", "not here"),
            ],
        )
    ).iter("testcase")
    assert list(passed) == []
    assert (failed[0].tag, failed[0].attrib, failed[0].text) == (
        "failure",
        {"message": "short", "type": "kind"},
        "long",
    )
    assert (skipped[0].tag, skipped[0].attrib) == ("skipped", {"message": "not here"})


def test_properties_are_text_and_what_xml_cannot_hold_is_replaced():
    case = JUnitCase("c\0", "n\x1b", 0.0, "failed", "m\x08", "t", "x\ufffe<&>")
    root = document(JUnitSuite("s\0", [case], {"cores": 2, "cpu": "a\0b"}))
    values = {item.get("name"): item.get("value") for item in root.iter("property")}
    assert values == {"cores": "2", "cpu": "a\ufffdb"}
    (found,) = root.iter("testcase")
    assert (found.get("classname"), found.get("name")) == ("c\ufffd", "n\ufffd")
    assert (found[0].get("message"), found[0].text) == ("m\ufffd", "x\ufffd<&>")


def test_a_report_of_nothing_is_a_document():
    assert document().get("tests") == "0"
