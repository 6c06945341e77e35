"""Every relative link leads to a file of the repository, and every anchor to a heading."""

import tomllib

import pytest

from tests.docs.pages import ROOT, Page, parse, read_page

PAGES = [read_page(path) for path in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")),
                                      *sorted((ROOT / "configs").rglob("*.md"))]]  # fmt: skip

URLS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
FILES = f"{URLS['Repository']}/blob/main/"
"""What the address of each file of the repository begins with: README.md is read on the package index too."""


def dead_links(page: Page) -> list[str]:
    return [f"{page.name}:{line}: {target}" for line, target in page.links if not _leads(target, page)]


def _leads(target: str, page: Page) -> bool:
    if target.startswith(FILES):
        target, page = target.removeprefix(FILES), read_page(ROOT / "README.md")
    if target.startswith(("https://", "http://", "mailto:")):
        return True
    name, _, anchor = target.partition("#")
    if not name:
        return anchor in page.anchors
    file = page.path.parent / name
    if not file.resolve().is_relative_to(ROOT) or not file.exists():
        return False
    return not anchor or anchor in read_page(file).anchors


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    assert dead_links(page) == []


def test_links_of_the_readme_lead_somewhere_from_the_package_index_too():
    links = [target for _, target in read_page(ROOT / "README.md").links]
    assert [target for target in links if not target.startswith("https://")] == []
    assert [target for target in links if "aegisrt" in target and not target.startswith(FILES)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_are_not_too_long(page):
    lines = page.path.read_text(encoding="utf-8").split("\n")
    shown = {line for block in page.blocks for line in block.text.split("\n")}
    prose = [line for line in lines if not {line, line.removeprefix("    ")} & shown and not line.startswith("|")]
    assert [line for line in prose if len(line) > 120] == []


@pytest.mark.parametrize(
    ("target", "dead"),
    [
        ("../README.md", False),
        ("../README.md#two-commands", False),
        ("#a-b-c", False),
        ("#code-1", False),
        ("https://example.org", False),
        ("../READ.md", True),
        ("../README.md#two", True),
        ("#a-b", True),
        ("../../outside.md", True),
        (f"{FILES}README.md#two-commands", False),
        (f"{FILES}docs/none.md", True),
    ],
)
def test_a_dead_link_is_found(target, dead):
    text = f"# A, B: `c`\n\n## Code\n\n## Code\n\n[there]({target}) and `[not](a-link)`\n"
    assert bool(dead_links(parse(text, ROOT / "docs" / "x.md"))) is dead
