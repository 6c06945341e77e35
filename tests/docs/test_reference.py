"""What the documentation lists is what the code has: fields, verbs, backends, error codes, ids of diagnostics."""

import re
from pathlib import Path

import pytest

import aegisrt
from aegisrt.core.result import ErrorCode
from tests.docs import reference
from tests.docs.api import undocumented
from tests.docs.diagnostic_ids import diagnostic_ids
from tests.docs.pages import ROOT
from tests.docs.reference import ENGINES, PAGES, new_pages, own_backends, regions, render

PACKAGE = Path(aegisrt.__file__).parent
ERRORS = (ROOT / "docs" / "ERRORS.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### `([a-z0-9-]+)`\n(.*?)(?=^##|\Z)", ERRORS, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tables_are_what_the_code_makes(page):
    text = page.read_text(encoding="utf-8")
    assert render(text, page) == text, "write them again: python -m tests.docs.reference"


def test_every_table_stands_on_a_page():
    shown = {name for page in PAGES for name in re.findall(r"<!-- generated: (.+?) -->", page.read_text())}
    assert shown == set(regions()), "a page needs `<!-- generated: NAME -->` and `<!-- end -->`, or has one too many"


def test_a_page_that_has_drifted_is_found():
    text = PAGES[0].read_text(encoding="utf-8")
    assert render(text.replace("| `instances` |", "| `instance` |"), PAGES[0]) == text


def test_every_backend_has_a_page():
    assert {page.stem for page in ENGINES.glob("*.md")} == set(own_backends())
    assert new_pages() == {}


@pytest.mark.parametrize("kind", ["mock", "onnx", "tvm", "tensorrt"])
def test_the_page_of_a_backend_says_all_that_a_user_asks(kind):
    section = (ENGINES / f"{kind}.md").read_text(encoding="utf-8")
    for point in ("- Install: ", "- Loads: ", "- Devices: ", "- Builds and caches: ", "- Versions: ", "Limits:"):
        assert point in section, point
    assert "| symptom | cause | what to do |" in section
    assert f"<!-- generated: backend {kind} -->" in section


def test_a_backend_without_a_page_gets_one(monkeypatch, tmp_path):
    folder = tmp_path / "docs" / "engines"
    monkeypatch.setattr(reference, "ENGINES", folder)
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    pages = reference.new_pages()
    assert set(pages) == {folder / f"{kind}.md" for kind in own_backends()}
    made = render(pages[folder / "mock.md"], folder / "mock.md")
    assert "# The backend `mock`\n\nLoads a mock model's JSON" in made
    assert "| `fail_every` |" in made


def test_links_of_a_table_are_relative_to_its_page():
    text = "<!-- generated: tensor -->\n<!-- end -->\n"
    assert "[data type](MANIFEST.md#data-types)" in render(text, ROOT / "docs" / "x.md")
    assert "[data type](../MANIFEST.md#data-types)" in render(text, ROOT / "docs" / "engines" / "x.md")


def test_every_public_name_and_member_has_a_docstring():
    assert undocumented() == []


def test_the_reference_of_the_api_has_every_public_name():
    shown = re.findall(r"^## (\w+)$", (ROOT / "docs" / "API.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert shown == [name for name in aegisrt.__all__ if not name.startswith("__")]


def test_every_id_of_a_diagnostic_has_a_section():
    assert set(SECTIONS) == set(diagnostic_ids(PACKAGE))


@pytest.mark.parametrize("id", SECTIONS)
def test_the_section_of_an_id_shows_it(id):  # noqa: A002
    assert f"[{id}]: " in SECTIONS[id] or f'"{id}"' in SECTIONS[id], "give an example of it"


def test_every_error_code_is_in_the_table():
    assert re.findall(r"^\| `([A-Z_]+)` \|", ERRORS, re.MULTILINE) == [code.value for code in ErrorCode]


@pytest.mark.parametrize(
    ("code", "ids"),
    [
        ('Diagnostic("a-b", "it", place)', {"a-b"}),
        ('at_key(path, "c", "it")', {"c"}),
        ('Diagnostic(message="it", id="d")', {"d"}),
        ('Diagnostic("e" if x else "f", "it")', {"e", "f"}),
        ('_IDS = {1: "g"}\nDiagnostic(_IDS[x], "it")', {"g"}),
        ('take = at_key if False else at_key\nat = self.at_key if x else self.at_key\nat(path, "h", "it")', {"h"}),
        ('def made(text, id): Diagnostic(id, text)\nmade("it", "i")', {"i"}),
    ],
)
def test_ids_are_found_in_code(code, ids, tmp_path):
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "diagnostic.py").write_text(
        "class Diagnostic:\n    id: str\n    message: str\n"
        "def at_key(self, path, id, message): Diagnostic(id, message)\n"
    )
    (tmp_path / "core" / "user.py").write_text(code)
    assert set(diagnostic_ids(tmp_path, ("core",))) == ids


def test_an_id_that_is_made_up_at_run_time_is_refused(tmp_path):
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "user.py").write_text('class Diagnostic:\n    id: str\nDiagnostic(f"{x}-y")\n')
    with pytest.raises(AssertionError, match="the id of a diagnostic is"):
        diagnostic_ids(tmp_path, ("core",))
