import pytest

from aegisrt.conformance import run


@pytest.mark.engine("onnx")
def test_onnx_passes_everything_that_it_declares():
    report = run("onnx")
    assert not report.failed, "\n".join(f"{result.check}: {result.reason}" for result in report.failed)
    assert not report.counts.not_installed
    assert report.counts.passed > 100
