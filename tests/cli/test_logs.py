"""The log of the command: its options, text and JSON on stderr, and what is logged of a deployment."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest

from aegisrt import ExecutionRequest, deploy
from aegisrt.cli.arguments import verb_parser
from aegisrt.cli.logs import configure
from aegisrt.cli.main import main
from tests.runtime.models import affine

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING) aegisrt\.[\w.]+: .+")


@pytest.fixture(autouse=True)
def _no_handler_afterwards():
    logger = logging.getLogger("aegisrt")
    before, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:] = before
    logger.setLevel(level)


@pytest.fixture
def manifest(tmp_path):
    affine(tmp_path)
    np.save(tmp_path / "x.npy", np.ones((1, 4), np.float32))
    path = tmp_path / "m.yaml"
    path.write_text(
        "backends:\n  mock: {kind: mock}\n"
        "models:\n  double: {path: affine.mock.json, backend: mock, instances: 2, sample: {inputs: x.npy}}\n"
    )
    return str(path)


def events(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_nothing_is_logged_by_default_when_all_is_well(capsys, manifest):
    assert main(["run", manifest]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("words", [["-v"], ["--verbose"], ["--log-level", "info"], ["-vv"], ["-q", "--log-level=info"]])
def test_a_deployment_is_logged(capsys, manifest, words):
    assert main(["run", manifest, *words]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert all(map(LINE.fullmatch, lines)), lines
    (line,) = [line for line in lines if "deployed" in line]
    assert re.search(r"deployed model `double`: mock, on cpu, 2 instances, in \d+ ms$", line)


def test_json_is_one_object_a_line_with_the_facts_as_fields(capsys, manifest):
    assert main(["run", manifest, "-v", "--log-format", "json", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["ok"] is True
    found = [json.loads(line) for line in captured.err.splitlines()]
    (deployed,) = [one for one in found if one["message"].startswith("deployed")]
    assert deployed["level"] == "INFO"
    assert (deployed["model"], deployed["engine"], deployed["device"], deployed["instances"]) == (
        ("double", "mock", "cpu", 2)
    )
    assert 0 < deployed["ms"] < 60_000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", deployed["time"])
    assert "tensor" not in captured.err


@pytest.mark.engine("onnx")
def test_the_version_and_the_providers_of_the_engine_are_logged(capsys):
    assert main(["run", "-v", "--log-format", "json"]) == 0
    (deployed,) = [one for one in events(capsys) if one["message"].startswith("deployed")]
    assert deployed["providers"] == ["CPUExecutionProvider"]
    assert re.match(r"\d+\.\d+", deployed["version"])


@pytest.mark.engine("tvm")
@pytest.mark.slow
def test_what_is_built_is_logged_once(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("AEGISRT_CACHE_DIR", str(tmp_path / "cache"))
    words = ["run", "models.digits.backend=tvm", "-v", "--log-format", "json"]
    assert main(words) == 0
    (built,) = [one for one in events(capsys) if one["message"].startswith("built")]
    assert (built["engine"], Path(built["file"]).suffix) == ("tvm", ".so")
    assert main(words) == 0
    assert not [one for one in events(capsys) if one["message"].startswith("built")]


def test_a_process_that_dies_is_a_warning_with_its_model_and_the_count(capsys, tmp_path):
    configure(verb_parser("run", "").parse_args(["--log-format", "json"]))
    backends = {"mock": {"kind": "mock", "isolation": "process"}}
    models = {"double": {"path": str(affine(tmp_path)), "backend": "mock"}}
    request = ExecutionRequest(inputs={"x": np.ones((1, 4), np.float32)})
    with deploy({"backends": backends, "models": models}).unwrap() as context:
        context.execute(request).unwrap()
        (pid,) = context.backend("double").pids
        os.kill(pid, signal.SIGKILL)
        for _ in range(50):
            if context.execute(request).is_ok():
                break
        assert context.backend("double").restarts == 1
    died = [one for one in events(capsys) if "is replaced" in one["message"]]
    assert [(one["level"], one["model"], one["pid"], one["restarts"]) for one in died] == [
        ("WARNING", "double", pid, 1)
    ]
    assert died[0]["message"] == f"process {pid} of model `double` died of SIGKILL; it is replaced"


@pytest.mark.parametrize(("words", "logged"), [([], True), (["-q"], False), (["--log-level", "error"], False)])
def test_a_warning_is_shown_unless_it_is_turned_off(capsys, manifest, words, logged):
    configure(verb_parser("run", "").parse_args(words))
    logging.getLogger("aegisrt.x").warning("careful")
    assert ("careful" in capsys.readouterr().err) is logged
    assert main(["run", manifest, *words]) == 0
    logging.getLogger("aegisrt.x").warning("careful")
    assert capsys.readouterr().err == "", "the command's own handler ends with it"


def test_secrets_of_the_environment_are_not_logged(capsys, manifest, monkeypatch, tmp_path):
    monkeypatch.setenv("MODEL_FOLDER", str(tmp_path))
    text = Path(manifest).read_text().replace("affine.mock.json", "'${oc.env:MODEL_FOLDER}/affine.mock.json'")
    Path(manifest).write_text(text)
    assert main(["run", manifest, "-vv"]) == 0
    assert str(tmp_path) not in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--log-level", "loud"], ["--log-format", "xml"]])
def test_wrong_options_are_usage_errors(capsys, manifest, words):
    with pytest.raises(SystemExit) as raised:
        main(["run", manifest, *words])
    assert raised.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_the_options_may_stand_before_the_verb(capsys, manifest):
    assert main(["-v", "run", manifest]) == 0
    assert "deployed model" in capsys.readouterr().err


def test_a_second_command_in_one_process_logs_once(capsys, manifest):
    for _ in range(2):
        assert main(["run", manifest, "-v"]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if "deployed" in line]) == 2


def test_a_traceback_in_json_is_one_line(capsys):
    configure(verb_parser("run", "").parse_args(["--log-format", "json"]))
    try:
        raise ValueError("a\x1b[2J")
    except ValueError:
        logging.getLogger("aegisrt.x").exception("broken: %s", "b\nc")
    (event,) = events(capsys)
    assert event["message"] == r"broken: b\nc"
    assert r"ValueError: a\x1b[2J" in event["exception"]
