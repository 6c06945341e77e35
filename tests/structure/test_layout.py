"""The shape of the package: small files, folders that a reader can hold, names that search finds."""

from __future__ import annotations

import ast
from collections import defaultdict
from difflib import SequenceMatcher
from pathlib import Path

from tests.structure.imports import PACKAGE

FILES = sorted(PACKAGE.rglob("*.py"))


def shown(file: Path) -> str:
    return file.relative_to(PACKAGE.parent).as_posix()


def test_no_file_is_longer_than_300_lines():
    assert {shown(file): n for file in FILES if (n := len(file.read_text().splitlines())) > 300} == {}


def test_no_function_is_longer_than_50_lines():
    long = {
        f"{shown(file)}:{node.lineno} {node.name}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= 50
    }
    assert long == set()


def test_no_folder_holds_more_than_18_files():
    """Except `cli/verbs`, which has a file for each verb, named as the verb is."""
    folders = {file.parent for file in FILES} - {PACKAGE / "cli" / "verbs"}
    assert {shown(folder): n for folder in folders if (n := len(list(folder.glob("*.py")))) > 18} == {}


def test_events_are_logged_by_log_only():
    """`Log` escapes and masks. The command's own handlers are the other part that knows `logging`."""
    others = (PACKAGE / "core" / "shown" / "log.py", PACKAGE / "cli" / "logs.py", PACKAGE / "cli" / "output.py")
    raw = {
        shown(file)
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Import) and any(name.name.split(".")[0] == "logging" for name in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "logging")
        if file not in others
    }
    assert raw == set()


def test_no_two_files_of_a_folder_differ_by_one_letter():
    near = [
        (shown(first), shown(second))
        for first in FILES
        for second in FILES
        if first.parent == second.parent and first.stem < second.stem and _one_letter(first.stem, second.stem)
    ]
    assert near == []


def test_no_class_name_stands_twice():
    homes: dict[str, list[str]] = defaultdict(list)
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(shown(file))
    assert {name: files for name, files in homes.items() if len(files) > 1} == {}


def test_no_banner_divides_a_file():
    banners = [f"{shown(file)}: {line}" for file in FILES for line in file.read_text().splitlines() if "# --" in line]
    assert banners == []


def _one_letter(first: str, second: str) -> bool:
    """Whether one inserted, dropped or changed letter makes one name of the other."""
    if abs(len(first) - len(second)) > 1:
        return False
    same = sum(block.size for block in SequenceMatcher(None, first, second, autojunk=False).get_matching_blocks())
    return max(len(first), len(second)) - same <= 1
