"""`aegisrt artifacts` and `aegisrt build`: what the cache holds, with no engine installed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from aegisrt.artifacts.build import engine_file
from aegisrt.artifacts.cache import ArtifactCache
from aegisrt.cli.main import main
from tests.fakes.builder import FakeBackend


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the engine file of a cache with one entry."""
    monkeypatch.setenv("AEGISRT_CACHE_DIR", str(tmp_path / "cache"))
    source = tmp_path / "weights.txt"
    source.write_text("weights")
    return engine_file(FakeBackend(), source, ArtifactCache()).unwrap().path


def asked(capsys, *words):
    code = main(["artifacts", *words])
    return code, capsys.readouterr().out


def test_list_tells_model_options_version_and_target(file, capsys):
    code, said = asked(capsys, "list", "--json")
    (row,) = json.loads(said)
    assert code == 0
    assert row["ok"]
    assert (row["model"], row["backend"], row["engine"], row["target"]) == ("weights.txt", "fake", "1.0", "here")
    assert row["options"] == {"level": 1}
    assert row["file"] == str(file)


def test_list_as_text_shows_the_model(file, capsys):
    assert "weights.txt" in asked(capsys, "list")[1]


def test_verify_exits_with_1_where_a_byte_changed(file, capsys):
    assert asked(capsys, "verify") == (0, "1 verified, 0 damaged\n")
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    code, said = asked(capsys, "verify", "--json")
    assert code == 1
    assert json.loads(said)["entries"][0]["ok"] is False
    assert json.loads(asked(capsys, "prune", "--json")[1])["deleted"] == [file.parent.name]


def test_prune_by_age(file, capsys):
    assert asked(capsys, "prune", "--max-age", "1h")[1].startswith("0 deleted")
    os.utime(file.parent, (1000, 1000))
    assert asked(capsys, "prune", "--max-age", "1h")[1].startswith("1 deleted")
    assert not file.exists()


def test_prune_by_size(file, capsys):
    assert asked(capsys, "prune", "--max-size", "1M")[1].startswith("0 deleted")
    assert asked(capsys, "prune", "--max-size", "0")[1].startswith("1 deleted")


def test_path_is_the_folder(file, capsys):
    assert asked(capsys, "path") == (0, f"{file.parents[2]}\n")


@pytest.mark.parametrize(
    "words", [[], ["shrink"], ["list", "--max-size", "1M"], ["prune", "--max-age", "soon"], ["list", "a=b"]]
)
def test_usage_errors_exit_with_2(file, words):
    with pytest.raises(SystemExit) as caught:
        main(["artifacts", *words])
    assert caught.value.code == 2


def test_build_tells_what_loads_as_it_is(file, capsys):
    assert main(["build", "models.digits.backend=mock", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["files"]
    assert (row["model"], row["state"]) == ("digits", "as_it_is")


@pytest.mark.engine("tvm")
def test_build_builds_once_and_says_that_it_is_untuned(file, capsys):
    states = []
    for _ in range(2):
        assert main(["build", "models.digits.backend=tvm", "--json"]) == 0
        (row,) = json.loads(capsys.readouterr().out)["files"]
        states.append((row["state"], row["tuned"]))
    assert states == [("built", False), ("cached", False)]


def test_build_tells_what_is_not_installed(file, capsys):
    from aegisrt import TVMBackend

    if TVMBackend.availability().available:
        pytest.skip("TVM is installed here")
    assert main(["build", "models.digits.backend=tvm", "--json"]) == 1
    (row,) = json.loads(capsys.readouterr().out)["files"]
    assert row["error"]["code"] == "UNAVAILABLE"
    assert "aegisrt-runtime[tvm]" in row["error"]["hint"]
