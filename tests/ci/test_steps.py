"""Every script of the workflow runs, with what the composed matrix says, for every kind of event."""

import contextlib
import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from aegisrt.backends.registry import backend_class
from aegisrt.core.resources import configs_dir
from tests.ci.expressions import substitute
from tests.ci.runner import Runner
from tests.ci.workflow import EVENTS, FILE, load, runs, steps

NOT_RUN = {
    (
        "lint",
        "Lint the code, the configurations and this workflow",
    ): "is the first part of the test command",
    ("examples", "Check the backends of docs/examples"): "is tests/docs/test_openvino_backend.py, in an environment",
    ("hosted", "Test"): "runs these tests again",
}
"""Steps that do not run here, and why."""
ENGINES = {"onnx": ("onnxruntime",), "tvm": ("tvm",), "tensorrt": ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")}
HOSTED = ["unit-tests", "cpu-onnx", "cpu-tvm", "cpu-tensorrt-build"]
GPU = ["integration-onnx", "integration-trt", "integration-tvm"]
SHORT = {"cpu-tvm": "lifecycle.load-valid-model"}
"""Cells whose profile compiles for a minute; here it has this check alone."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FILE.exists(), reason="the workflow is no part of this copy of the project"),
    pytest.mark.skipif(not (shutil.which("bash") and shutil.which("make")), reason="the steps need bash and make"),
]


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    return Runner(tmp_path_factory.mktemp("runner"))


@pytest.fixture(scope="module")
def planned(runner):
    """Return what the job `plan` says for each event; a step that is the same for several runs once."""
    done, made = {}, {}
    for event, github in EVENTS.items():
        for step in steps("plan", {"github": github}):
            if step not in done:
                done[step] = runner.run(step)
            assert done[step].code == 0, done[step].printed
            if step.id:
                made[event] = done[step]
    return made


def entries(planned, event, job="hosted"):
    """Return the entries of a job's matrix, by way of the job's own expression."""
    declared = load()["jobs"]["plan"]["outputs"]
    outputs = {"steps": {"matrix": {"outputs": planned[event].outputs}}}
    needs = {"plan": {"outputs": {name: substitute(text, outputs) for name, text in declared.items()}}}
    matrix = substitute(load()["jobs"][job]["strategy"]["matrix"], {"needs": needs})
    assert list(matrix) == ["include"], "GitHub would take another key for a dimension of the matrix"
    return matrix["include"]


def test_the_plan_of_each_event(planned):
    hosted = ["cpu-onnx", "cpu-tensorrt-build", "cpu-tvm", *(f"unit-tests (3.{minor})" for minor in (11, 12, 13, 14))]
    for event, done in planned.items():
        assert [one["name"] for one in entries(planned, event)] == hosted
        runs_gpu = [one["name"] for one in entries(planned, event, "self-hosted")]
        assert runs_gpu == (GPU if event == "push" else [])
        assert runs("self-hosted", {"github": EVENTS[event]}) is (event == "push")
        assert ("only on a push to the default branch" in done.summary) is (event != "push")
        assert done.summary.startswith("```text\ncell ")


def test_a_cell_that_is_wrong_stops_the_plan_with_an_annotation(runner, planned):
    file = runner.checkout / "configs" / "ci" / "new.yaml"
    file.write_text("defaults: [cpu-onnx]\nextras: [onxx, test]\n")
    try:
        check, make = list(steps("plan", {"github": EVENTS["push"]}))[1:]
        told = runner.run(check)
        assert told.code == 2
        assert told.printed.startswith("::error ")
        assert "file=configs/ci/new.yaml,line=2,col=10" in told.printed
        made = runner.run(make)
        assert (made.code, made.outputs) == (2, {})
    finally:
        file.unlink()


def cell_steps(planned, cell):
    """Return the steps of a cell's first job for each event, each once."""
    job = "hosted" if cell in HOSTED else "self-hosted"
    found = {}
    for event, github in EVENTS.items():
        for entry in entries(planned, event, job):
            if entry["cell"] == cell:
                found |= dict.fromkeys(steps(job, {"github": github, "matrix": entry}))
    return list(found)


def marked(cell):
    kind = yaml.safe_load((configs_dir() / "ci" / f"{cell}.yaml").read_text())["backend"]
    return pytest.param(cell, marks=pytest.mark.engine(kind), id=cell)


@contextlib.contextmanager
def short_profile(runner, check):
    """Leave one check of the profile `ci`, for a while."""
    file = runner.checkout / "configs" / "conformance" / "ci.yaml"
    text = file.read_text()
    if check:
        file.write_text(text.replace('"*"', f'"{check}"'))
        assert file.read_text() != text
    yield
    file.write_text(text)


@pytest.mark.parametrize("cell", [marked(cell) for cell in HOSTED])
def test_a_hosted_cell_is_green(runner, planned, cell):
    if cell == "cpu-tensorrt-build" and not importlib.util.find_spec("tensorrt_rtx_bindings"):
        pytest.skip("tensorrt_rtx is not installed; run: pip install 'aegisrt-runtime[tensorrt-rtx]'")
    ran = []
    with short_profile(runner, SHORT.get(cell)):
        for step in cell_steps(planned, cell):
            if (step.job, step.name) in NOT_RUN:
                step = replace(step, script=step.script.replace("make ", "make --dry-run ", 1))
            done = runner.run(step)
            assert done.code == 0, f"{step.name}\n{done.printed}"
            ran.append(step.name)
    assert ran[0] == "Install"
    assert ran[-1] == "Test"
    assert len(ran) >= 3, "a cell proves its backend, or deploys the demo on it"


@pytest.mark.parametrize("cell", HOSTED[1:])
def test_a_hosted_cell_without_its_engine_is_red(runner, planned, cell):
    install, *rest = cell_steps(planned, cell)
    if not (runner.checkout / ".venv-cell").exists():
        assert runner.run(install).code == 0
    kind = dict(install.environment)["BACKEND"]
    done = [runner.run(step, hidden=ENGINES[kind]) for step in rest if step.name != "Test"]
    assert done
    for one in done:
        assert one.code != 0, one.printed
        assert backend_class(kind).unwrap().requirement.extra in one.printed
        assert "not installed" in one.printed or "is installed" in one.printed


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="there is an NVIDIA device on this machine")
@pytest.mark.parametrize("cell", GPU)
def test_a_gpu_cell_on_a_runner_without_a_gpu_is_red(runner, planned, cell):
    install, prove, *_ = cell_steps(planned, cell)
    if not (runner.checkout / ".venv-cell").exists():
        assert runner.run(install).code == 0
    done = runner.run(prove)
    assert done.code != 0
    assert f"not run: {dict(prove.environment)['BACKEND']} on cuda: " in done.printed


def test_what_is_not_run_is_what_the_workflow_has(planned):
    there = {(job, step["name"]) for job, said in load()["jobs"].items() for step in said["steps"] if "run" in step}
    assert set(NOT_RUN) <= there
    assert len(NOT_RUN) <= 3, "a step that is not run may be wrong"
    covered = {(step.job, step.name) for cell in HOSTED for step in cell_steps(planned, cell)}
    covered |= {("plan", step.name) for step in steps("plan", {"github": EVENTS["push"]})}
    verdict = {("verdict", step["name"]) for step in load()["jobs"]["verdict"]["steps"]}
    hosted_twin = {(job.replace("self-hosted", "hosted"), name) for job, name in there}
    assert hosted_twin == covered | verdict | {(job, name) for job, name in there if job in ("lint", "examples")}


RESULTS = ("success", "failure", "cancelled", "skipped")


@pytest.mark.parametrize("event", EVENTS)
def test_the_verdict_is_green_only_where_everything_ran_that_should(runner, event):
    jobs = ("plan", "lint", "examples", "hosted", "self-hosted")
    wanted = ["success"] * 4 + ["success" if event == "push" else "skipped"]
    cases = {tuple(wanted): 0}
    for at in range(len(jobs)):
        for other in RESULTS:
            cases.setdefault((*wanted[:at], other, *wanted[at + 1 :]), 1)
    for results, code in cases.items():
        needs = {job: {"result": result} for job, result in zip(jobs, results, strict=True)}
        contexts = {"github": EVENTS[event], "needs": needs}
        assert runs("verdict", contexts)
        (step,) = steps("verdict", contexts)
        done = runner.run(step)
        assert done.code == code, f"{results}\n{done.printed}"
        assert f"- plan {results[0]}\n" in done.summary
        assert ("not run: only on a push" in done.summary) is (event != "push" and results[4] == "skipped")
