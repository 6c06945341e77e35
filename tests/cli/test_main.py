import subprocess
import sys

import pytest

import aegisrt
from aegisrt.cli.main import VERBS, main


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


def test_every_public_name_imports_without_an_engine_hydra_or_rich_but_for_deploy():
    names = ", ".join(name for name in aegisrt.__all__ if name not in ("deploy", "__version__"))
    assert not loaded_after(f"from aegisrt import {names}") & HEAVY


def test_deploy_imports_without_an_engine_hydra_or_rich():
    assert not loaded_after("from aegisrt import deploy") & HEAVY


def test_help_loads_neither_numpy_nor_pydantic():
    assert not loaded_after("from aegisrt.cli.main import main\nmain(['--help'])") & (HEAVY | {"numpy", "pydantic"})
