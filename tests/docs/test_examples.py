"""Every command and every example of the documentation runs, and prints what its page says."""

import importlib.util
from pathlib import Path

import pytest

from tests.docs.examples import differs, examples, run
from tests.docs.pages import ROOT, parse, read_page

PAGES = [
    read_page(path)
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "examples" not in path.parts  # test_example_folders.py
]
NOT_RUN = {
    ("README.md", "make demo"): "makes a virtual environment of its own",
    ("README.md", "make test"): "runs these tests",
    ("README.md", "pip install 'aegisrt-runtime[onnx,serve]'"): "installs; tests/release does it",
    ("docs/tutorial.md", "pip install 'aegisrt-runtime[onnx]'"): "installs; tests/release does it",
    ("docs/tutorial.md", "aegisrt run deploy.yaml models.digits.backend=trt --output trt.npz"): "needs a GPU",
}
"""Commands that a page shows and that are not run here, and why."""
NEEDS = {
    "gpu": pytest.mark.gpu,
    **{
        module: pytest.mark.skipif(
            importlib.util.find_spec(module) is None, reason=f"{module} is not installed: the extra `{extra}`"
        )
        for module, extra in {"matplotlib": "plot", "prometheus_client": "metrics", "uvicorn": "serve"}.items()
    },
}
"""What an example may need besides engines."""


def parameter(example):
    marks = [NEEDS.get(need) or pytest.mark.engine(need) for need in example.needs]
    return pytest.param(example, id=str(example), marks=marks)


def skipped(page: str) -> frozenset[str]:
    return frozenset(command for name, command in NOT_RUN if name == page)


@pytest.mark.parametrize("example", [parameter(example) for page in PAGES for example in examples(page)])
def test_the_page_is_right(example, tmp_path):
    wrong = run(example, tmp_path, skipped(example.block.page))
    assert not wrong, "\n\n".join(wrong)


def test_what_is_not_run_is_what_the_pages_show():
    shown = {(page.name, step.command) for page in PAGES for example in examples(page) for step in example.steps}
    assert set(NOT_RUN) <= shown
    on_a_gpu = [example for page in PAGES for example in examples(page) if "gpu" in example.needs]
    assert len(NOT_RUN) + len(on_a_gpu) <= 7, "a page whose commands are not run may be wrong"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("    aegisrt validat\n", "exits with 2, not 0"),
        ("```sh exit=2\naegisrt --version\n```\n", "exits with 0, not 2"),
        ("```console\n$ aegisrt --version\naegisrt 0.0.0\n```\n", "and not\naegisrt 0.0.0"),
        ("```sh\nrm -r digits.onnx\n```\n", "not a command that the tests run"),
        ("```python\n1 / 0\n```\n", "ZeroDivisionError"),
        ("```sh exit=0|1\npython -c 'raise SystemExit(3)'\n```\n", "exits with 3, not 0|1"),
        ("<!-- example: exit=1 -->\n\n    aegisrt --version\n", "exits with 0, not 1"),
        ("```sh\npython -c 'raise SystemExit(3)'\n```\n", "exits with 3, not 0"),
    ],
)
def test_a_page_that_is_wrong_is_found(text, said, tmp_path):
    (example,) = examples(parse(text, ROOT / "docs" / "x.md"))
    assert said in "\n".join(run(example, tmp_path))


def test_files_that_a_page_shows_are_there(tmp_path):
    text = (
        "```yaml\n# env/site.yaml\na: 1\n```\n```json file=m.json\n{}\n```\n"
        '```sh\npython -c \'open("env/site.yaml"), open("m.json")\'\n```\n'
    )
    (example,) = examples(parse(text, ROOT / "docs" / "x.md"))
    assert run(example, tmp_path) == []
    assert (tmp_path / "m.json").read_text() == "{}\n"
    assert not Path("digit.npy").exists()


def test_a_session_goes_on_in_its_folder(tmp_path):
    text = (
        '```sh session=1\npython -c \'open("a", "w").write("b")\'\n```\n'
        "```sh session=1 needs=tvm\npython -c '1 / 0'\n```\n"
        "```console session=1\n$ python -c 'print(open(\"a\").read())'\nb\n```\n"
        "```sh exit=1\npython -c 'open(\"a\")'\n```\n"
    )
    *_, last, other = examples(parse(text, ROOT / "docs" / "x.md"))
    assert run(last, tmp_path / "last") == []
    assert run(other, tmp_path / "other") == []


def test_an_example_can_show_a_file_with_a_change(tmp_path):
    text = "```yaml\n# a.yaml\nb: 1\n```\n```sh swap=1:2\npython -c 'print(open(\"a.yaml\").read())'\n```\n"
    (example,) = examples(parse(text, ROOT / "docs" / "x.md"))
    assert run(example, tmp_path) == []
    assert (tmp_path / "a.yaml").read_text() == "# a.yaml\nb: 2\n"


@pytest.mark.parametrize(
    ("printed", "expected", "same"),
    [
        ("a  b\nc\n", "a b\nc", True),
        ("a\nb\n", "a", False),
        ("a\nb\nc\n", "a\n...", True),
        ("a\nb\nc\n", "...\nc", True),
        ("took 3.1 ms\n", "took ... ms", True),
        ("took 3.1 ns\n", "took ... ms", False),
        ("a.b\n", "axb", False),
        ("a\nb\nc\n", "a\n...\nd", False),
    ],
)
def test_output_is_compared_line_by_line(printed, expected, same):
    assert differs(printed, expected) is not same
