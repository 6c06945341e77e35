"""The Python of the documentation passes mypy in strict mode and pyright: what a user copies, an editor accepts."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, read_page

PAGES = [read_page(path) for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]]
NOT_INSTALLED = ("torch",)
"""Packages that pages import and that no environment of the tests has; they are Any."""
NARROWED = """
from aegisrt import Err, ExecutionContext, ExecutionRequest, Ok, deploy, is_ok

result = deploy("deploy.yaml")
if isinstance(result, Ok):
    by_class: ExecutionContext = result.value
if is_ok(result):
    by_function: ExecutionContext = result.value
else:
    print(result.error.code, result.error.hint)
match result:
    case Ok(context):
        by_match: ExecutionContext = context
    case Err(error):
        print(error.message)
if result.is_ok():
    by_method: ExecutionContext = result.unwrap()
"""
WRONG = """
from aegisrt import deploy

print(deploy("deploy.yaml").value)
deploy(5)
"""
"""Lines 4 and 5 are errors: a `value` that an `Err` does not have, and an argument of a wrong type."""


@pytest.fixture(scope="module")
def snippets(tmp_path_factory):
    """Return a folder with each block of Python in a file; those that show a file, under its name."""
    folder = tmp_path_factory.mktemp("snippets")
    for page in PAGES:
        name = re.sub(r"\W", "_", page.name.removesuffix(".md"))
        for block in page.blocks:
            if block.language == "python":
                file = folder / name / (block.file or f"line_{block.line}.py")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text + "\n", encoding="utf-8")
    (folder / "narrowed.py").write_text(NARROWED)
    (folder / "wrong.py").write_text(WRONG)
    stubs = folder / "stubs"
    stubs.mkdir()
    for package in NOT_INSTALLED:
        (stubs / f"{package}.pyi").write_text("from typing import Any\ndef __getattr__(name: str) -> Any: ...\n")
    return folder


def needs(module):
    return pytest.mark.skipif(
        importlib.util.find_spec(module) is None, reason=f"{module} is not installed: the extra `lint`"
    )


def pages_of(snippets):
    """Return the folders of the pages; each is checked by itself, since two pages may show files of one name."""
    return sorted(path for path in snippets.iterdir() if path.is_dir() and path.name != "stubs")


@pytest.mark.slow
@needs("mypy")
def test_mypy_accepts_the_documentation(snippets):
    cache = ["--cache-dir", str(ROOT / ".mypy_cache" / "docs"), "--config-file", os.devnull]
    options = [*cache, "--strict", "--follow-imports", "silent", "--scripts-are-modules"]
    found = []
    for page in pages_of(snippets):
        files = sorted(map(str, page.rglob("*.py")))
        found += _mypy([*options, *files], [ROOT, snippets / "stubs", page])
    found += _mypy([*options, str(snippets / "narrowed.py")], [ROOT])
    assert not found, "\n".join(found)
    wrong = _mypy([*options, str(snippets / "wrong.py")], [ROOT])
    assert [_line(one) for one in wrong if "error:" in one] == [4, 5], "\n".join(wrong)


def _mypy(arguments, search):
    environment = {**os.environ, "MYPYPATH": os.pathsep.join(map(str, search))}
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()


def _line(message):
    return int(re.search(r"\.py:(\d+)", message)[1])


@pytest.mark.slow
@needs("basedpyright")
def test_pyright_accepts_the_documentation(snippets):
    environments = [{"root": str(page), "extraPaths": [str(ROOT)]} for page in [*pages_of(snippets), snippets]]
    settings = {"typeCheckingMode": "standard", "stubPath": "stubs", "executionEnvironments": environments}
    (snippets / "pyrightconfig.json").write_text(json.dumps(settings))
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(snippets)],
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    errors = [one for one in report["generalDiagnostics"] if one["severity"] == "error"]
    expected = [one for one in errors if Path(one["file"]).name == "wrong.py"]
    others = [f"{one['file']}:{one['range']['start']['line'] + 1}: {one['message']}" for one in errors
              if one not in expected]  # fmt: skip
    assert not others, "\n".join(others)
    assert [one["range"]["start"]["line"] + 1 for one in expected] == [4, 5]
    assert report["summary"]["filesAnalyzed"] >= len(list(snippets.rglob("*.py")))
