"""A built-in engine touches the places that CONTRIBUTING.md lists, counted for the engines that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.structure.imports import PACKAGE

ROOT = PACKAGE.parent
SECTION = "## A new engine"


def places() -> set[str]:
    """Return the files and folders that the section of CONTRIBUTING.md lists."""
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split(SECTION)[1].split("\n## ")[0]
    return set(re.findall(r"^- .*?`([^`]+)`", section, re.MULTILINE))


def named(file: Path) -> Iterator[str]:
    """Yield the modules that a file imports, and its texts without a blank: names, not prose."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            yield node.value
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_the_places_exist():
    assert [place for place in places() if not (ROOT / place).exists()] == []


@pytest.mark.parametrize(
    ("engine", "word", "shared"),
    [
        ("tvm", "tvm", ()),
        ("tensorrt", "tensorrt", ("backends/onnx/installation.py",)),  # ONNX Runtime has a provider on TensorRT
        # TVM folds constants with ONNX Runtime, and the benchmark of AegisRT's own overhead measures it
        ("onnx", "onnxruntime", ("backends/onnxruntime.py", "backends/tvm/", "bench/own/dispatch.py")),
    ],
)
def test_an_engine_is_named_in_its_folder_and_the_public_names_alone(engine: str, word: str, shared: tuple[str, ...]):
    pattern = re.compile(rf"(^|[^a-z]){word}([^a-z]|$)")
    own = PACKAGE / "backends" / engine
    files = [file for file in sorted(PACKAGE.rglob("*.py")) if not file.is_relative_to(own)]
    touched = {file.relative_to(PACKAGE).as_posix() for file in files if any(map(pattern.search, named(file)))}
    assert [name for name in touched if not name.startswith(("__init__.py", *shared))] == []
