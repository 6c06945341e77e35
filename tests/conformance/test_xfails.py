import pytest

from aegisrt.backends.mock import MockBackend
from aegisrt.conformance import run
from aegisrt.conformance.xfails import PACKAGED, read_xfails
from aegisrt.core.result import ErrorCode, ResultError

CHECK = "lifecycle.load-valid-model"


def write(path, check=CHECK, backend="mock", more=""):
    text = f'[[xfail]]\nbackend = "{backend}"\ncheck = "{check}"\nreason = "a known gap"\n{more}'
    file = path / "xfails.toml"
    file.write_text(text)
    return file


def judged(file, **options):
    return run("mock", checks=CHECK, xfails=file, options=options).results[0]


def test_an_expected_failure_is_xfailed(tmp_path):
    result = judged(write(tmp_path), fail_load="INTERNAL")
    assert (result.status, result.reason) == ("xfailed", "a known gap")


def test_an_expected_failure_that_passes_fails(tmp_path):
    result = judged(write(tmp_path))
    assert result.status == "failed"
    assert result.reason == "passes, and xfails.toml expects it to fail: remove that entry"


@pytest.mark.parametrize("other", [{"backend": "onnx"}, {"more": 'device = "cuda"\n'}])
def test_an_entry_of_another_backend_or_device_does_not_count(tmp_path, other):
    assert judged(write(tmp_path, **other)).status == "passed"
    assert judged(write(tmp_path, **other), fail_load="INTERNAL").status == "failed"


def test_a_skipped_check_stays_skipped(tmp_path):
    file = write(tmp_path, check="dtypes.bf16")
    assert run("mock", checks="dtypes.bf16", xfails=file).results[0].status == "skipped"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[[xfail]]\nbackend="mock"\ncheck="lifecycle.load-valid-modl"\nreason="x"\n', "is not a check"),
        ('[[xfail]]\nbackend="mock"\ncheck="dtypes.fp32"\n', "reason: Field required"),
        ('[[xfails]]\nbackend="mock"\n', "unknown table `xfails`"),
        ("[[xfail]\n", "Expected"),
    ],
)
def test_a_stale_or_malformed_file_is_a_mistake(tmp_path, content, message):
    file = tmp_path / "xfails.toml"
    file.write_text(content)
    with pytest.raises(ResultError) as caught:
        run("mock", checks=CHECK, xfails=file)
    assert caught.value.error.code is ErrorCode.INVALID_ARGUMENT
    assert message in caught.value.error.message


def test_the_packaged_file_is_of_known_kinds():
    from aegisrt.backends.registry import entries

    assert {entry.backend for entry in read_xfails(PACKAGED).entries} <= set(entries().unwrap())
    assert MockBackend.kind not in {entry.backend for entry in read_xfails(PACKAGED).entries}
