from pathlib import Path

import pytest

from aegisrt.cli.arguments import is_manifest, parse, verb_parser


def parsed(*words: str, **how: bool):
    return parse(verb_parser("run", "..."), words, **how)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("deploy.yaml", True),
        ("a/b.yml", True),
        ("a/b=c.yaml", True),
        ("models.x.path=a/b.yaml", False),
        ("k=v.yaml", False),
        ("models.digits", False),
        ("deploy.json", False),
    ],
)
def test_a_manifest_is_told_from_an_override_by_its_first_slash(word, expected):
    assert is_manifest(word) is expected


@pytest.mark.parametrize("path", ["lr=0.1,m=2/deploy.yaml", "k=v.yaml", "+a=b.yml", "~a/b.yaml", "a=[1]/{b}.yaml"])
def test_the_path_of_an_existing_file_is_a_manifest_whatever_it_contains(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert path.startswith("~") or not is_manifest(path)
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).touch()
    assert is_manifest(path)
    arguments = parsed(path, "models.m.backend=mock")
    assert (arguments.manifest, arguments.overrides) == (path, ["models.m.backend=mock"])


@pytest.mark.parametrize("word", ["a=" + "b" * 5000 + ".yaml", "a=\0.yaml", "a=folder.yaml"])
def test_a_word_that_names_no_file_is_an_override(word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a=folder.yaml").mkdir()
    assert parsed(word).overrides == [word]


def test_words_and_options_stand_in_any_order():
    arguments = parsed("models.m.backend=mock", "--json", "deploy.yaml", "+a=1", "--config-dir", "mine", "~b")
    assert arguments.manifest == "deploy.yaml"
    assert arguments.overrides == ["models.m.backend=mock", "+a=1", "~b"]
    assert (arguments.format, arguments.config_dir, arguments.key) == ("json", "mine", None)


def test_a_key_path_is_taken_only_where_the_verb_has_one(capsys):
    assert parsed("models.m", takes_key=True).key == "models.m"
    with pytest.raises(SystemExit) as stop:
        parsed("models.m")
    assert stop.value.code == 2
    assert "`models.m` is neither a manifest" in capsys.readouterr().err


def test_two_manifests_are_a_usage_error(capsys):
    with pytest.raises(SystemExit):
        parsed("a.yaml", "b.yaml")
    assert "two manifests: a.yaml and b.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("--json", "x"), ("--format", "json", "x"), ("--format=json", "x"), ("x", "--json")])
def test_with_json_a_usage_error_is_one_document(words, capsys):
    import json

    with pytest.raises(SystemExit) as stop:
        parsed(*words)
    assert stop.value.code == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "INVALID_ARGUMENT"
