"""Colours on a terminal and nowhere else; a reader that goes away and a person who interrupts get no traceback."""

import importlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from aegisrt.cli.arguments import parser_of
from aegisrt.cli.main import VERBS, main
from tests.terminal import shown

AEGISRT = [sys.executable, "-m", "aegisrt"]
ESCAPE = "\x1b["
WRONG = ["validate", "models.digits.instances=0"]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "TERM")}
    return {**kept, "TERM": "xterm", **more}


@pytest.mark.parametrize("words", [WRONG, ["run", *WRONG[1:]], ["backends"]])
@pytest.mark.parametrize(
    ("variables", "coloured"),
    [
        ({}, True),
        ({"NO_COLOR": "1"}, False),
        ({"NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_colours_on_a_terminal(words, variables, coloured):
    text = shown([*AEGISRT, *words], environment(**variables))
    assert "instances" in text or "available" in text
    assert (ESCAPE in text) is coloured, text


@pytest.mark.parametrize("words", [WRONG, ["run", *WRONG[1:]], ["backends"], ["--help"], ["run", "--help"]])
@pytest.mark.parametrize(("variables", "coloured"), [({}, False), ({"FORCE_COLOR": "1"}, True)])
def test_colours_in_a_pipe(words, variables, coloured):
    done = subprocess.run(
        [*AEGISRT, *words], env=environment(**variables), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    assert (ESCAPE.encode() in done.stdout) <= coloured
    assert "--help" in words or (ESCAPE.encode() in done.stdout) is coloured


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["run", "--help"],
        ["explain"],
        ["explain", "--json"],
        WRONG,
        ["nonsense", "--json"],
        ["schema", "--nope", "--json"],
    ],
)
def test_a_reader_that_went_away(words, tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*AEGISRT, *words], stdout=writer, stderr=subprocess.PIPE, check=False, cwd=tmp_path)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize("after_s", [0.1, 0.3, 1.0])
def test_an_interrupt(after_s, tmp_path):
    """At any moment: while hydra is imported, and while a model computes."""
    output = {"name": "y", "dtype": "INT64", "shape": [1], "operation": {"kind": "digest"}}
    slow = {"format": "aegisrt-mock/v1", "delay_ms": 60_000, "inputs": [], "outputs": [output]}
    (tmp_path / "m.mock.json").write_text(json.dumps(slow))
    (tmp_path / "d.yaml").write_text("models: {m: {path: m.mock.json, backend: mock}}\n")
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a job in the background is deaf
    command = f"{heard}; from aegisrt.cli.main import entry; print('here', flush=True); entry()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "run", "d.yaml"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"here\n"
    time.sleep(after_s)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (128 + signal.SIGINT, b"aegisrt: interrupted\n")


def examples(verb: str) -> list[str]:
    """Return the commands that a verb's help shows."""
    parser, _ = parser_of(importlib.import_module(f"aegisrt.cli.verbs.{verb.replace('-', '_')}").main)
    return [line.strip() for line in parser.description.splitlines() if line.startswith("    aegisrt ")]


@pytest.mark.parametrize("verb", list(VERBS))
def test_the_help_of_each_verb_shows_examples_that_parse(verb):
    shown = [shlex.split(line.split("   ")[0].partition(">")[0]) for line in examples(verb)]
    of_verb = [words for words in shown if words[1] == verb]
    assert of_verb or verb == "completion", "give an example"
    for words in shown:
        parser, takes_key = parser_of(importlib.import_module(f"aegisrt.cli.verbs.{words[1].replace('-', '_')}").main)
        parsed = parser.parse_intermixed_args(words[2:])
        assert takes_key or all("=" in word or word.endswith(".yaml") for word in parsed.positionals), words


@pytest.mark.parametrize("words", [["backends", "d.yaml"], ["doctor", "a=b"], ["schema", "x"], ["devices", "env=prod"]])
def test_a_verb_says_what_it_does_not_take(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert "this verb takes no " in capsys.readouterr().err
