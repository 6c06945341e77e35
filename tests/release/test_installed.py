"""A person with the wheel alone: the README's commands, and their own ONNX file in two commands."""

import json

import pytest

from tests.docs.examples import run_page
from tests.docs.pages import ROOT, read_page
from tests.docs.test_examples import skipped

pytestmark = [pytest.mark.slow, pytest.mark.network]
HERE = "import aegisrt.core.resources as r; print(r.__file__); print(r.configs_dir()); print(r.schemas_dir())"


def test_nothing_of_this_checkout_shows_through(installed, tmp_path):
    done = installed.run("python", "-c", HERE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        assert line.startswith(str(installed.binaries.parent)), line


def test_the_demo_runs_in_an_empty_folder(installed, tmp_path):
    done = installed.run("aegisrt", "run", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "accuracy 0.9" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["README.md", "docs/tutorial.md"])
def test_a_person_with_the_wheel_does_all_of_the_page(name, installed, tmp_path):
    page = read_page(ROOT / name)
    wrong = run_page(page, tmp_path, frozenset({"onnx"}), skipped(name), installed.binaries)
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("kind", ["cnn", "transformer", "several-inputs", "dynamic-shapes"])
def test_an_onnx_file_answers_after_two_commands(kind, installed, tmp_path):
    pytest.importorskip("onnx", reason="the package onnx, which makes the test models, is not installed")
    from tests.release.four_models import make

    make(kind, tmp_path / "my.onnx")
    for words in (["init", "--model", "my.onnx"], ["run", "aegisrt.yaml"]):
        done = installed.run("aegisrt", *words, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "my on onnx, device cpu" in done.stdout
    answer = json.loads(installed.run("aegisrt", "run", "aegisrt.yaml", "--json", cwd=tmp_path).stdout)
    assert answer["made_up_inputs"] is True
    assert "NaN" not in json.dumps(answer["outputs"])


def test_the_kit_proves_the_engine_from_the_wheel(installed, tmp_path):
    words = ["conformance", "conformance=quick", "--backend", "mock", "--json"]
    done = installed.run("aegisrt", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["counts"]["passed"] > 50


@pytest.mark.parametrize("words", [["schema"], ["completion", "bash"], ["doctor"], ["validate", "env=prod"]])
def test_what_lies_in_files_is_there(words, installed, tmp_path):
    done = installed.run("aegisrt", *words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout


def test_the_types_are_published(installed, tmp_path):
    """A checker finds the package's own types: `py.typed` is there, and `deploy` has a signature."""
    code = "from importlib import resources; assert (resources.files('aegisrt') / 'py.typed').is_file()"
    assert installed.run("python", "-c", code, cwd=tmp_path).returncode == 0
