"""`aegisrt init --example`: the files of README.md's commands, as files of the user."""

import json
from pathlib import Path

import numpy as np
import pytest

from aegisrt.cli.init.example import MANIFEST
from aegisrt.cli.main import main
from aegisrt.core.resources import configs_dir
from tests.docs.pages import ROOT, read_page

FILES = ["deploy.yaml", "digit.npy", "digits.images.npy", "digits.labels.npy", "digits.onnx"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_writes_what_the_readme_uses(folder, capsys):
    assert main(["init", "--example"]) == 0
    assert "next: aegisrt run deploy.yaml" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == FILES
    for name in FILES[2:]:
        assert Path(name).read_bytes() == (configs_dir() / "model" / name).read_bytes()
    digit = np.load("digit.npy")
    assert (digit.shape, digit.dtype) == ((1, 1, 8, 8), np.float32)
    assert (digit == np.load("digits.images.npy")[:1]).all()


def test_its_manifest_is_the_one_of_the_readme(folder):
    assert main(["init", "--example"]) == 0
    (shown,) = (block.text for block in read_page(ROOT / "README.md").blocks if block.file == "deploy.yaml")
    assert Path("deploy.yaml").read_text(encoding="utf-8") == shown + "\n" == MANIFEST


@pytest.mark.engine("onnx")
def test_it_runs(folder, capsys):
    main(["init", "--example"])
    capsys.readouterr()
    assert main(["run", "deploy.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] > 0.9


def test_no_file_of_the_user_is_overwritten_unless_asked(folder, capsys):
    Path("digits.labels.npy").write_text("mine")
    assert main(["init", "--example"]) == 2
    assert "digits.labels.npy exists already" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["digits.labels.npy"]
    assert main(["init", "--example", "--force"]) == 0
    assert np.load("digits.labels.npy").shape == (360,)


def test_into_another_folder_as_json(folder, capsys):
    Path("here").mkdir()
    assert main(["init", "--example", "--out", "here/my.yaml", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"]
    assert (document["manifest"], document["next"]) == ("here/my.yaml", "aegisrt run here/my.yaml")
    assert sorted(document["files"]) == sorted(str(path) for path in Path("here").iterdir())
    assert main(["validate", "here/my.yaml"]) == 0


@pytest.mark.parametrize(
    "words", [["digits.onnx"], ["--model", "m.onnx"], ["--backend", "tvm"], ["--shape", "image=1x1x8x8"]]
)
def test_it_takes_no_model(folder, capsys, words):
    with pytest.raises(SystemExit) as ended:
        main(["init", "--example", *words])
    assert ended.value.code == 2
    assert "--example has a model" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_named(folder, capsys):
    assert main(["init", "--example", "--out", "none/deploy.yaml"]) == 2
    assert "mkdir -p none" in capsys.readouterr().err
