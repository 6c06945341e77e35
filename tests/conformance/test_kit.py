import os
from pathlib import Path

import pytest
from pydantic import ValidationError

import aegisrt
from aegisrt.backends.mock import MockBackend
from aegisrt.conformance import Report, run
from aegisrt.conformance.target import Target
from aegisrt.core.result import ErrorCode, ResultError
from tests.conformance import backends

QUICK = {"cycles": 4, "race_ms": 30.0, "calls": 5}


def assert_sound(report: Report) -> None:
    assert not report.failed, "\n".join(f"{result.check}: {result.reason}" for result in report.failed)
    assert all(result.reason for result in report.results if result.status != "passed")
    assert report.exit_code == 0


def test_the_mock_passes_everything_that_it_declares():
    report = run("mock")
    assert_sound(report)
    skipped = {result.check for result in report.results if result.status == "skipped"}
    assert skipped == {
        "inputs.optional",
        "dtypes.bf16",
        "numerics.conv-net",
        "memory.device-cycles",
        "capabilities.undeclared-dynamic-shapes",
        "capabilities.undeclared-scalars",
        "capabilities.undeclared-zero-size",
        "capabilities.undeclared-output-subset",
        "capabilities.undeclared-external-data",
        "capabilities.build",
        "capabilities.external-data",
    }
    assert report.counts.passed == len(report.results) - len(skipped)


def test_a_backend_that_declares_little_is_held_to_refuse_the_rest():
    report = run(backends.Modest, **QUICK)
    assert_sound(report)
    for name in ("dtypes", "dynamic-shapes", "scalars", "output-subset"):
        assert report.result(f"capabilities.undeclared-{name}").status == "passed"
    assert report.result("shapes.batch").reason == "declares dynamic_shapes=False"
    assert report.result("dtypes.int64").reason == "declares no INT64"


def test_a_backend_that_builds_is_judged_on_what_it_built_itself():
    report = run(backends.Builder, **QUICK)
    assert_sound(report)
    assert report.result("capabilities.build").status == "passed"
    assert report.result("numerics.conv-net").reason.startswith("builds no `conv-net`: UNIMPLEMENTED: the mock has no")


def test_checks_are_chosen_by_globs_in_the_order_of_the_kit():
    report = run("mock", checks=["dtypes.fp*", "lifecycle.unload-*"])
    ids = ["lifecycle.unload-any-number-of-times", "dtypes.fp16", "dtypes.fp32", "dtypes.fp64"]
    assert [result.check for result in report.results] == ids


def test_a_glob_that_no_check_matches_is_a_mistake():
    with pytest.raises(ResultError) as caught:
        run("mock", checks="lifecycle.not-loaded-before-lod")
    assert caught.value.error.code is ErrorCode.INVALID_ARGUMENT
    assert caught.value.error.hint == "did you mean `lifecycle.not-loaded-before-load`?"


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ({"backend": "mok"}, ErrorCode.NOT_FOUND),
        ({"backend": "mock", "device": "tpu"}, ErrorCode.INVALID_ARGUMENT),
        ({"backend": dict}, ErrorCode.INVALID_ARGUMENT),
        ({"backend": "mock", "xfails": Path("no-such-file.toml")}, ErrorCode.NOT_FOUND),
    ],
)
def test_a_mistake_in_the_call_is_a_result_error(call, code):
    with pytest.raises(ResultError) as caught:
        run(**call)
    assert caught.value.error.code is code


def test_wrong_settings_and_options_are_refused():
    with pytest.raises(ValidationError):
        run("mock", cyles=3)
    with pytest.raises(ResultError) as caught:
        run("mock", options={"delay": 3})
    assert caught.value.error.message == "options of backend `mock`: delay: Extra inputs are not permitted"


def test_a_kind_a_class_and_an_instance_are_judged_alike():
    check = "lifecycle.load-valid-model"
    for backend in ("mock", MockBackend, MockBackend()):
        assert run(backend, checks=check).result(check).status == "passed"


def test_the_options_of_an_instance_count():
    broken = MockBackend({"fail_load": "RESOURCE_EXHAUSTED"})
    result = run(broken, checks="lifecycle.load-valid-model").results[0]
    assert result.status == "failed"
    assert "wanted Ok, got RESOURCE_EXHAUSTED: the mock is set to fail at load" in result.reason


def test_options_reach_the_backend():
    report = run("mock", checks="lifecycle.execute-after-load", options={"fail_execute": "INTERNAL"})
    assert "INTERNAL" in report.results[0].reason


def test_a_device_that_is_not_declared_is_skipped():
    report = run("mock", device="cuda")
    assert report.counts.skipped == len(report.results) > 100
    assert {result.reason for result in report.results} == {"declares devices=cpu, not cuda"}
    assert report.exit_code == 0


def test_an_engine_that_is_not_installed_never_passes():
    report = run(backends.NotInstalled)
    assert report.counts.not_installed == len(report.results) > 100
    reason = "Python module `no_such_engine` is not installed; run: pip install 'aegisrt-runtime[mock]'"
    assert {result.reason for result in report.results} == {reason}


def test_a_device_that_is_not_there_never_passes():
    report = run(backends.NoDevice, device="cuda", checks="lifecycle.*")
    assert report.counts.not_installed == len(report.results)
    assert "there is no CUDA driver" in report.results[0].reason
    assert run(backends.NoDevice, checks="lifecycle.load-valid-model").counts.failed == 1


def test_a_device_that_is_missed_while_building_is_not_there():
    report = run(backends.BuildsNowhere, device="cuda", checks="lifecycle.*")
    assert report.counts.not_installed == len(report.results)


def test_a_build_that_fails_on_a_device_is_a_failure_and_no_missing_device():
    result = run(backends.BuildsWrongly, device="cuda", checks="lifecycle.load-valid-model").results[0]
    assert (result.status, result.reason) == ("failed", "building `affine`: INTERNAL: the builder died")


def test_progress_is_told_before_and_after_each_check():
    steps = []
    run("mock", checks="dtypes.fp*", progress=steps.append)
    assert [(step.check.id, step.index, step.total, step.result is None) for step in steps][:3] == [
        ("dtypes.fp16", 0, 3, True),
        ("dtypes.fp16", 1, 3, False),
        ("dtypes.fp32", 1, 3, True),
    ]


def test_a_run_leaves_no_files_and_no_processes(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run("mock", checks=["lifecycle.*", "model-files.truncated"])
    assert not list(tmp_path.iterdir())
    server = aegisrt.conformance.processes.zygote.zygote()._process.pid
    children = Path(f"/proc/{server}/task/{server}/children")
    if children.exists():
        assert not children.read_text().split()


def test_the_environment_says_what_was_judged_and_where():
    environment = run("mock", checks="dtypes.fp32").environment
    assert environment.aegisrt == aegisrt.__version__
    assert environment.engines == {"mock": None}
    assert environment.devices["cpu"] == environment.cpu
    assert environment.cores == len(os.sched_getaffinity(0))


def test_a_kind_may_be_named_by_its_option_set_too():
    assert Target.of("trt", device="cuda", options={}, instances=1).kind == "tensorrt"
    with pytest.raises(ResultError, match="`trtt` is not a backend kind"):
        Target.of("trtt", options={}, instances=1)
