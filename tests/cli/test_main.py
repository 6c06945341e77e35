import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import aegisrt
from aegisrt.cli.main import VERBS, main
from aegisrt.core.resources import configs_dir


def test_no_arguments_print_the_help(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in VERBS)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"aegisrt {aegisrt.__version__}\n"


def test_an_unknown_verb_is_a_usage_error_with_the_near_one(capsys):
    assert main(["valdate"]) == 2
    assert "did you mean `validate`?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["deploy.yaml"], "did you mean `aegisrt run deploy.yaml`?"),
        (["net.onnx"], "did you mean `aegisrt init --model net.onnx`?"),
        (["run", "net.onnx"], "`aegisrt init --model net.onnx` writes a manifest"),
        (["run", "--outptu", "x.npz"], "did you mean `--output`? see `aegisrt run --help`"),
        (["run", "--outptu=x.npz"], "did you mean `--output`?"),
        (["bench", "--scenario", "fast"], "invalid choice"),
    ],
)
def test_what_was_meant_is_told(words, said, capsys):
    try:
        code = main(words)
    except SystemExit as stop:
        code = stop.code
    assert (code, said in " ".join(capsys.readouterr().err.split())) == (2, True)


def test_help_of_a_verb_by_either_name(capsys):
    shown = []
    for words in (["help", "run"], ["run", "--help"]):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]


@pytest.mark.parametrize("words", [["valdate", "--json"], ["--json"], ["nope", "--format", "json"]])
def test_an_unknown_verb_is_one_document_where_json_is_asked_for(words, capsys):
    assert main(words) == 2
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert (told["ok"], told["error"]["code"], err) == (False, "INVALID_ARGUMENT", "")


def test_options_may_stand_before_the_verb(capsys):
    assert main(["--json", "validate", "models.digits.backend=mock"]) == 0
    assert json.loads(capsys.readouterr().out) == {"ok": True, "diagnostics": []}


@pytest.mark.parametrize("words", [["graph"], ["validate", "--json"], ["explain", "models", "--json"]])
def test_a_terminal_without_unicode_gets_its_answer(words, tmp_path):
    model = "{path: é.onnx, backend: mock}"
    (tmp_path / "d.yaml").write_text(f"models:\n  m: {model}\n", encoding="utf-8")
    (tmp_path / "é.onnx").write_bytes(b"x")
    program = [sys.executable, "-m", "aegisrt", words[0], "d.yaml", *words[1:]]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    assert "--json" not in words or json.loads(done.stdout)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the device /dev/full is Linux's")
@pytest.mark.parametrize("words", [["validate"], ["explain"], ["validate", "--json"], ["--help"]])
def test_a_full_disk_is_told(words):
    with Path("/dev/full").open("wb") as full:
        program = [sys.executable, "-m", "aegisrt", *words]
        done = subprocess.run(program, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (1, b"aegisrt: cannot write to stdout: No space left on device\n")


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_error(closed, tmp_path):
    for verb, code in (("validate", 0), ("validate nope.yaml", 2), ("--help", 0)):
        done = subprocess.run(
            ["sh", "-c", f"exec '{sys.executable}' -m aegisrt {verb} {closed}"],
            cwd=tmp_path,
            capture_output=True,
            check=False,
        )
        assert (done.returncode, b"Traceback" in done.stderr) == (code, False)


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_helps(verb, capsys):
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert "exit codes:" in capsys.readouterr().out


def loaded_after(code: str) -> set[str]:
    program = f"{code}\nimport sys\nprint('\\n'.join(sys.modules))"
    return set(
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    )


HEAVY = {"hydra", "omegaconf", "rich", "onnxruntime", "onnx", "tvm", "tensorrt", "pycuda", "PIL"}


def test_import_loads_no_engine_no_hydra_no_rich():
    assert not loaded_after("import aegisrt") & (HEAVY | {"numpy", "pydantic"})


def test_the_names_that_type_checkers_read_are_those_that_load():
    assert aegisrt.__all__ == [*aegisrt._HOME, "__version__"]
    assert dir(aegisrt) == sorted(aegisrt.__all__)


def test_every_public_name_imports_without_an_engine_hydra_or_rich_but_for_deploy():
    names = ", ".join(name for name in aegisrt.__all__ if name not in ("deploy", "deploy_async", "__version__"))
    assert not loaded_after(f"from aegisrt import {names}") & HEAVY


def test_deploy_imports_without_an_engine_hydra_or_rich():
    assert not loaded_after("from aegisrt import deploy") & HEAVY


def test_help_loads_neither_numpy_nor_pydantic():
    assert not loaded_after("from aegisrt.cli.main import main\nmain(['--help'])") & (HEAVY | {"numpy", "pydantic"})


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["$(x) a.yaml"], "aegisrt run '$(x) a.yaml'"),
        (["a'b.onnx"], """aegisrt init --model 'a'"'"'b.onnx'"""),
        (["run", "a; b.onnx"], "aegisrt init --model 'a; b.onnx'"),
        (["init", "--model", "m.onnx", "--out", "$(x)/d.yaml"], "mkdir -p '$(x)'"),
    ],
)
def test_paths_in_commands_are_quoted_for_the_shell(words, command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(configs_dir() / "model" / "digits.onnx", "m.onnx")
    try:
        code = main([*words, "--json"])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert command in f"{error['message']} {error['hint']}"


def test_no_memory_anywhere_is_a_message_and_no_traceback(monkeypatch, capsys):
    monkeypatch.setattr("aegisrt.cli.verbs.validate.main", lambda words: bytearray(2**62))
    assert main(["validate"]) == 1
    assert capsys.readouterr().err.startswith("aegisrt: RESOURCE_EXHAUSTED: no memory is left; free memory")
