"""`Page`: a page of the documentation as its code blocks, headings and links."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_ATTRIBUTES = re.compile(r"<!-- example: (.*) -->")
_FILE_NAME = re.compile(r"# ([\w./-]+\.\w+)")
_HEADING = re.compile(r"#{1,6} (.*)")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)")
"""A link, or the definition of one that is used by its label."""
_INDENT = "    "


@dataclass(frozen=True)
class Block:
    """A block of code. Its attributes are words `name=value` after a fence's language, or in a comment before it."""

    page: str
    line: int
    """Of its first line of code, from 1."""
    language: str
    """The fence's, or "" for an indented block."""
    text: str
    attributes: dict[str, str] = field(default_factory=dict)

    @property
    def file(self) -> str | None:
        """Return the file that the block shows: its attribute `file`, or its first line where that is a comment."""
        named = _FILE_NAME.fullmatch(self.text.split("\n", 1)[0])
        return self.attributes.get("file") or (named[1] if named else None)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Page:
    """A page, parsed."""

    path: Path
    blocks: tuple[Block, ...]
    anchors: frozenset[str]
    links: tuple[tuple[int, str], ...]
    """Line, and target."""

    @property
    def name(self) -> str:
        """Return the path from the repository's root."""
        return self.path.relative_to(ROOT).as_posix()


def read_page(path: Path) -> Page:
    """Return the page at `path`."""
    return parse(path.read_text(encoding="utf-8"), path)


def parse(text: str, path: Path) -> Page:
    """Return the page of a Markdown text, as much of Markdown as these pages use."""
    name = path.relative_to(ROOT).as_posix()
    lines = text.split("\n")
    blocks: list[Block] = []
    headings: list[str] = []
    links: list[tuple[int, str]] = []
    attributes = ""
    at = 0
    while at < len(lines):
        line, start = lines[at], at
        if fence := _FENCE.match(line):
            at = next(i for i in range(at + 1, len(lines)) if lines[i].strip() == fence[1])
            language, _, words = fence[2].strip().partition(" ")
            code = lines[start + 1 : at]
            blocks.append(Block(name, start + 2, language, "\n".join(code), _parsed(f"{words} {attributes}")))
        elif line.startswith(_INDENT) and (at == 0 or not lines[at - 1].strip()):
            while at + 1 < len(lines) and (lines[at + 1].startswith(_INDENT) or _goes_on(lines, at + 1)):
                at += 1
            code = [one.removeprefix(_INDENT) for one in lines[start : at + 1]]
            blocks.append(Block(name, start + 1, "", "\n".join(code), _parsed(attributes)))
        elif found := _ATTRIBUTES.fullmatch(line):
            attributes = found[1]
            at += 1
            continue
        else:
            links += [(at + 1, found[1] or found[2]) for found in _LINK.finditer(re.sub(r"`[^`]*`", "", line))]
            headings += [heading[1] for heading in [_HEADING.fullmatch(line)] if heading]
        attributes = attributes if not line.strip() else ""
        at += 1
    return Page(path, tuple(blocks), frozenset(_slugs(headings)), tuple(links))


def _goes_on(lines: list[str], at: int) -> bool:
    """Return True for an empty line inside of an indented block."""
    return not lines[at].strip() and at + 1 < len(lines) and lines[at + 1].startswith(_INDENT)


def _parsed(words: str) -> dict[str, str]:
    pairs = (word.partition("=") for word in shlex.split(words))
    return {name: value for name, _, value in pairs}


def _slugs(headings: list[str]) -> list[str]:
    """Return the anchors that GitHub gives to headings."""
    slugs: list[str] = []
    for heading in headings:
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        same = sum(slug == other or re.fullmatch(rf"{re.escape(slug)}-\d+", other) is not None for other in slugs)
        slugs.append(f"{slug}-{same}" if same else slug)
    return slugs
