"""The diagram of docs/architecture.md is true to the imports."""

import re

import pytest

pytest.importorskip("grimp", reason="grimp, which reads the imports, is not installed; run: pip install -e '.[lint]'")

from tests.docs.diagram import PACKAGE, PAGE, imports, layers, mermaid, reduced, render
from tests.docs.pages import ROOT


def arrows(text: str) -> set[tuple[str, str]]:
    return set(re.findall(r"^    (\w+) --> (\w+)$", text, re.MULTILINE))


def test_the_page_shows_what_is_imported():
    text = PAGE.read_text(encoding="utf-8")
    assert render(text) == text, "write it again: python -m tests.docs.diagram"
    assert len(arrows(text)) >= len(layers())


def test_every_folder_is_in_it():
    folders = {path.parent.name for path in (ROOT / PACKAGE).glob("*/__init__.py")}
    assert folders <= set(layers()), "place it in import-linter's layers"


def test_every_import_follows_from_arrows_that_go_down():
    order = layers()
    drawn = arrows(mermaid(imports()))
    assert all(order.index(here) < order.index(there) for here, there in drawn)
    for here, after in imports().items():
        assert after <= reached(drawn, here), here


def reached(drawn: set[tuple[str, str]], start: str) -> set[str]:
    after = {there for here, there in drawn if here == start}
    return after.union(*(reached(drawn, there) for there in after))


def test_what_follows_from_other_arrows_is_left_out():
    graph = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}, "d": set(), "e": {"d"}}
    assert reduced(graph) == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": set(), "e": {"d"}}


def test_a_page_that_has_drifted_is_found():
    text = PAGE.read_text(encoding="utf-8")
    here, there = sorted(arrows(text))[0]
    drifted = text.replace(f"    {here} --> {there}\n", "")
    assert drifted != text
    assert render(drifted) == text
