"""Completion as the shells do it: their own functions run, in bash on a terminal too."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aegisrt.cli.completion.complete import candidates
from aegisrt.cli.completion.keys import COMMAND_GROUPS, REFERENCES, Keys
from aegisrt.cli.main import VERBS, main
from aegisrt.cli.verbs.completion import SHELLS
from aegisrt.manifest.check import links
from aegisrt.manifest.compose import choices
from tests.cli.test_main import HEAVY, loaded_after
from tests.terminal import typed

MANIFEST = """\
models:
  first: {path: a.onnx, backend: fast}
  second: {path: b.onnx, backend: mock}
backends:
  fast: {kind: onnx}
devices:
  gpu0: {kind: cuda}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return the current folder, and put an `aegisrt` of this interpreter on the PATH."""
    binary = tmp_path / "bin" / "aegisrt"
    binary.parent.mkdir()
    binary.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m aegisrt "$@"\n')
    binary.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("PATH", f"{binary.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(Path(__file__).parents[3]), *sys.path])))
    Path("deploy.yaml").write_text(MANIFEST)
    Path("groups/env").mkdir(parents=True)
    Path("groups/env/site.yaml").touch()
    Path("my data.npz").touch()
    Path("net.onnx").touch()
    return work


QUEUE = ("max_queue_size", "when_full", "default_timeout_ms", "on_close", "close_timeout_ms")
CASES = [
    ("val", ["validate"]),
    ("", list(VERBS)),
    ("--v", ["--version"]),
    ("run --out", ["--output"]),
    ("run --format ", ["text", "json"]),
    ("run --format=j", ["--format=json"]),
    ("graph --format m", ["mermaid"]),
    ("run dep", ["deploy.yaml"]),
    ("run env=", ["env=dev", "env=prod", "env=staging"]),
    ("run env=p", ["env=prod"]),
    ("run --config-dir groups env=si", ["env=site"]),
    ("run --config-dir gr", ["groups/"]),
    ("run models.digits.backend=", [f"models.digits.backend={name}" for name in ("mock", "onnx", "trt", "tvm")]),
    ("run deploy.yaml models.", ["models.first.", "models.second."]),
    ("run deploy.yaml models.fir", ["models.first."]),
    ("run deploy.yaml models.first.backend=f", ["models.first.backend=fast"]),
    ("run deploy.yaml backends.fast.device=", ["backends.fast.device=cpu", "backends.fast.device=gpu0"]),
    ("run deploy.yaml backends.fast.allow_s", ["backends.fast.allow_spinning="]),
    ("run deploy.yaml +backends.fast.allow_spinning=t", ["+backends.fast.allow_spinning=true"]),
    ("run backends.trt.precision=b", ["backends.trt.precision=bf16"]),
    ("run models.digits.queue.", [f"models.digits.queue.{name}=" for name in QUEUE]),
    ("run models.digits.queue.when", ["models.digits.queue.when_full="]),
    ("run +models.digits.queue.when_full=", [f"+models.digits.queue.when_full={how}" for how in ("reject", "wait")]),
    ("run models.digits.path=net", ["models.digits.path=net.onnx"]),
    ("run deploy.yaml --model s", ["second"]),
    ("run --input x=my", ["x=my data.npz"]),
    ("explain deploy.yaml models.first.back", ["models.first.backend=", "models.first.backend"]),
    ("conformance --backend te", ["tensorrt"]),
    ("conformance --device c", ["cpu", "cuda"]),
    ("conformance conf", ["conformance="]),
    ("conformance conformance=q", ["conformance=quick"]),
    ("run conf", []),
    ("artifacts pr", ["prune"]),
    ("artifacts prune pr", []),
    ("init n", ["net.onnx"]),
    ("completion z", ["zsh"]),
    ("doctor m", []),
    ("run nothing.", []),
    ("run models.digits.backend.x=", []),
    ("run 'mod", ["models.", "model="]),
    ("--json run env=pr", ["env=prod"]),
]  # fmt: skip


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_what_a_word_may_become(line, expected, folder, capsys):
    words = line.split(" ")
    assert main(["__complete", *words]) == 0
    found = [one.partition("\t")[0] for one in capsys.readouterr().out.splitlines()]
    assert sorted(found) == sorted(expected)


@pytest.mark.parametrize("verb", list(VERBS))
def test_each_verb_offers_its_options_with_their_meaning(verb):
    found = dict(candidates([verb], "-", VERBS))
    assert {"--help", "--format", "--json"} <= set(found)
    assert all(found.values()), found


def test_a_broken_manifest_completes_what_it_can(folder, capsys):
    odd = b"models: {a: 1, 2: {}}\nbackends: []\ndefaults: [model: [digits, 3], {a: }, 4]"
    for content in (b"models: [", b"\xff", b"- a", odd):
        Path("deploy.yaml").write_bytes(content)
        assert main(["__complete", "run", "deploy.yaml", "models.digits.backend=mo"]) == 0
        assert capsys.readouterr().out == "models.digits.backend=mock\n"


def test_it_agrees_with_what_the_manifest_checks():
    assert links._REFERENCES == REFERENCES
    assert choices.COMMAND_GROUPS == COMMAND_GROUPS


def test_it_loads_nothing_that_takes_long(folder):
    words = ["__complete", "run", "deploy.yaml", "models.first.backend="]
    loaded = loaded_after(f"from aegisrt.cli.main import main\nmain({words!r})")
    assert not loaded & (HEAVY | {"numpy", "pydantic"})


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_right_by_the_shell_itself(shell, folder, capsys):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    assert main(["completion", shell]) == 0
    Path("script").write_text(capsys.readouterr().out)
    done = subprocess.run([shell, "-n", "script"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


BASH = """\
eval "$(aegisrt completion bash)"
COMP_WORDBREAKS=$' \\t\\n"\\'><=;|&(:'
COMP_LINE=$1 COMP_POINT=${#1}
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_aegisrt
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("line", "words", "expected"),
    [
        ("aegisrt val", ["aegisrt", "val"], ["validate"]),
        ("aegisrt run env=", ["aegisrt", "run", "env", "="], ["dev", "prod", "staging"]),
        ("aegisrt run env=p", ["aegisrt", "run", "env", "=", "p"], ["prod"]),
        ("aegisrt  run   deploy.yaml models.first.backend=f",
         ["aegisrt", "run", "deploy.yaml", "models.first.backend", "=", "f"], ["fast"]),
        ("aegisrt run env=prod mod", ["aegisrt", "run", "env", "=", "prod", "mod"], ["model=", "models."]),
        ("aegisrt run --format=j", ["aegisrt", "run", "--format", "=", "j"], ["json"]),
        ("aegisrt run --input x=my", ["aegisrt", "run", "--input", "x", "=", "my"], ["my\\ data.npz"]),
        ("aegisrt run ", ["aegisrt", "run", ""], None),
        ("aegisrt run --conformance x", ["aegisrt", "run", "--conformance", "x"], [""]),
    ],
)  # fmt: skip
def test_the_function_of_bash(line, words, expected, folder):
    program = ["bash", "--norc", "-c", BASH, "bash", line, *words]
    done = subprocess.run(program, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert expected is None or done.stdout.split("\n")[:-1] == expected


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "TERM": "xterm", "PS1": "> ", "INPUTRC": "/dev/null", **more}


def test_bash_on_a_terminal(folder):
    typed(
        ["bash", "--norc", "--noprofile", "-i"],
        environment(),
        [
            ("> ", 'eval "$(aegisrt completion bash)"; echo rea""dy\n'),
            ("ready", "echo aegisrt; aegisrt run env=p\t"),
            ("env=prod ", "deploy.yaml backends.fast.allow_sp\t"),
            ("allow_spinning=", "f\t"),
            ("false ", "--input x=my\t"),
            (r"my\\ data\.npz ", ""),
        ],
    )


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed here")
def test_zsh_on_a_terminal(folder):
    Path(".zshrc").write_text("PS1='> '\nautoload -Uz compinit && compinit -u -d ./dump\n"
                              'eval "$(aegisrt completion zsh)"\necho rea""dy\n')  # fmt: skip
    typed(
        ["zsh", "-i"],
        environment(ZDOTDIR=str(folder)),
        [
            ("ready", "aegisrt val\t"),
            ("validate", "deploy.yaml models.fir\t"),
            (r"first\.", "backend=fa\t"),
            ("fast ", "env=p\t"),
            ("prod ", ""),
        ],
    )


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed here")
@pytest.mark.parametrize(
    ("line", "expected"),
    [("aegisrt val", ["validate"]), ("aegisrt run env=p", ["env=prod"]), ("aegisrt artifacts pr", ["prune"])],
)
def test_fish_completes(line, expected, folder):
    script = f"aegisrt completion fish | source; complete -C '{line}'"
    home = environment(HOME=str(folder), XDG_CONFIG_HOME=str(folder / "config"))
    done = subprocess.run(["fish", "-c", script], capture_output=True, text=True, check=True, env=home)
    assert [one.partition("\t")[0] for one in done.stdout.splitlines()] == expected


@pytest.mark.parametrize(
    "text",
    [
        "models: " + "[" * 100_000,
        "models: " + "{a: " * 100_000,
        "\n".join(" " * depth + "a:" for depth in range(2000)),
        "\n".join(
            f"k{n}: &k{n} {{<<: [{', '.join([f'*k{n - 1}'] * 20)}]}}" if n else "k0: &k0 {a: 1}" for n in range(20)
        ),
        "models: {a: " + ":".join(["59"] * 300_000) + "}",
        "models: &m {a: *m}",
        "defaults: [_self_, hostile]\nmodels: {a: {}}",
        "a: " + "x" * (1 << 20),
        "models: {a: !!python/object/apply:os.system [touch it-ran]}",
        "models: \xff",
    ],
    ids=["list", "mapping", "block", "merges", "sexagesimal", "cycle", "itself", "large", "tag", "not-utf-8"],
)
def test_no_file_ends_or_hangs_a_prompt(folder, text):
    (folder / "hostile.yaml").write_bytes(text.encode("latin-1"))
    command = [sys.executable, "-c", _COMPLETE, "run", "hostile.yaml", "--config-dir", ".", "models."]
    run = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert "models.digits." not in run.stdout.split()
    assert not (folder / "it-ran").exists()


_COMPLETE = (
    "import sys, resource; resource.setrlimit(resource.RLIMIT_DATA, (1 << 29, 1 << 29));"
    "from aegisrt.cli.completion.keys import Keys;"
    "[print(one) for one, _ in Keys(sys.argv[2], sys.argv[4]).overrides(sys.argv[5])]"
)


def test_names_that_a_merge_key_brings_are_known(folder):
    (folder / "m.yaml").write_text(
        "backends: {base: &b {kind: onnx}, mine: {<<: *b, device: gpu}, two: {<<: [*b, {kind: mock}]}}"
    )
    found = [one for one, _ in Keys("m.yaml", None).overrides("backends.mine.")]
    assert "backends.mine.graph_optimization=" in found
    assert "backends.two.graph_optimization=" in [one for one, _ in Keys("m.yaml", None).overrides("backends.two.")]
