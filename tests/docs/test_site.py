"""The site is made from the same files: links of the repository lead from page to page of it."""

import importlib.util
import re
from types import SimpleNamespace

import pytest

from tests.docs.pages import ROOT

REPOSITORY = "https://github.com/aegisrt-runtime/aegisrt-runtime"


@pytest.fixture(scope="module")
def site():
    spec = importlib.util.spec_from_file_location("site_hook", ROOT / ".ci" / "site.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("source", "target", "leads"),
    [
        ("docs/tutorial.md", "ERRORS.md#codes", "ERRORS.md#codes"),
        ("docs/tutorial.md", "engines/tvm.md", "engines/tvm.md"),
        ("docs/tutorial.md", "#tvm", "#tvm"),
        ("docs/tutorial.md", "https://onnx.ai/x", "https://onnx.ai/x"),
        ("docs/MANIFEST.md", "../SECURITY.md#a-manifest", "security.md#a-manifest"),
        ("docs/CONFORMANCE.md", "../schemas/x.json", f"{REPOSITORY}/blob/main/schemas/x.json"),
        (
            "docs/adding-a-backend.md",
            "examples/fastapi/README.md",
            f"{REPOSITORY}/blob/main/docs/examples/fastapi/README.md",
        ),
        ("docs/CI.md", "../tests", f"{REPOSITORY}/tree/main/tests"),
        ("docs/engines/tvm.md", "../BACKENDS.md#engine-files", "../BACKENDS.md#engine-files"),
        ("docs/engines/tvm.md", "../../README.md", "../index.md"),
        ("SECURITY.md", "docs/BACKENDS.md#isolation", "BACKENDS.md#isolation"),
        ("README.md", f"{REPOSITORY}/blob/main/docs/tutorial.md", "tutorial.md"),
        ("README.md", f"{REPOSITORY}/blob/main/CHANGELOG.md", "changelog.md"),
        (
            "README.md",
            f"{REPOSITORY}/blob/main/configs/model/DIGITS.md",
            f"{REPOSITORY}/blob/main/configs/model/DIGITS.md",
        ),
    ],
)
def test_links(site, source, target, leads):
    assert site.link(target, source, REPOSITORY) == leads


def test_what_only_tests_read_is_left_out(site):
    text = (
        "[a](MANIFEST.md) `[no](link)`\n\n<!-- example: needs=onnx -->\n\n    aegisrt run\n\n"
        "```console exit=2 swap=a:b\n$ aegisrt validate\n[not](a-link.md) <!-- x -->\n```\n\n[b]: ../README.md\n"
    )
    page = SimpleNamespace(file=SimpleNamespace(src_uri="tutorial.md"))
    made = site.on_page_markdown(text, page=page, config=SimpleNamespace(repo_url=REPOSITORY))
    assert "<!-- example" not in made
    assert "```console\n$ aegisrt validate\n[not](a-link.md) <!-- x -->\n```\n" in made
    assert made.endswith("[b]: index.md\n")


def test_its_addresses_are_those_of_the_project():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r"^repo_url: (.*)$", text, re.MULTILINE)[1] == REPOSITORY
    assert f'Repository = "{REPOSITORY}"' in project
    assert f'Documentation = "{re.search(r"^site_url: (.*)$", text, re.MULTILINE)[1]}"' in project


def test_every_page_is_in_its_navigation(site):
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[2]
    listed = re.findall(r"[\w/-]+\.md", text)
    docs = ROOT / "docs"
    pages = [page.relative_to(docs).as_posix() for page in docs.rglob("*.md") if "examples" not in page.parts]
    assert sorted(listed) == sorted([*pages, *site.PAGES.values()])
