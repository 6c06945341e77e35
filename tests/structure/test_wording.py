"""Phrases of a dialect that the project does not write: phrases.txt, one regular expression a line.

The list catches what can be caught by a search. CONTRIBUTING.md has the guide itself.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.structure.imports import PACKAGE

ROOT = Path(__file__).parents[2]
PHRASES = re.compile("|".join(Path(__file__).with_name("phrases.txt").read_text(encoding="utf-8").split("\n")[:-1]))
GUIDE = "## Wording"
"""The section of CONTRIBUTING.md that names such phrases to forbid them."""
PAGES = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md"), *ROOT.glob("configs/**/*.yaml"), *ROOT.glob("configs/**/*.md")]
FILES = [*sorted(PACKAGE.rglob("*.py")), *sorted(page for page in PAGES if page.name != "CHANGELOG.md")]


def test_plain_english():
    found = []
    for file in FILES:
        text = file.read_text(encoding="utf-8").partition(GUIDE)[0]
        for number, line in enumerate(text.splitlines(), 1):
            found += [f"{file.relative_to(ROOT)}:{number}: {match[0]}" for match in PHRASES.finditer(line)]
    assert found == []
