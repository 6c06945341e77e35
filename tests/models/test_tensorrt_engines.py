"""Models become engines on TensorRT for RTX, which needs no GPU to build: the kit's, and real networks."""

import json
from pathlib import Path

import pytest

import aegisrt.conformance
from aegisrt import TensorRTBackend
from aegisrt.backends.files.onnx import read_onnx
from aegisrt.backends.tensorrt import distribution as tensorrt_library
from aegisrt.backends.tensorrt.plan import read_header
from aegisrt.cli.main import main
from aegisrt.core.result import ErrorCode
from aegisrt.core.sidecar import read_sidecar

pytestmark = pytest.mark.skipif(
    "tensorrt_rtx" not in tensorrt_library.installed(),
    reason="tensorrt_rtx is not installed; run: pip install 'aegisrt-runtime[tensorrt-rtx]'",
)
KIT = Path(aegisrt.conformance.__file__).parent / "models"
OPTIONS = {"distribution": "tensorrt_rtx", "compute_capabilities": ["8.9"]}


def widths(path):
    """Return a profile with the batch from 1 to 4, and every other dynamic dimension from 32 to 128."""
    spans = {}
    for spec in read_onnx(path).signature.inputs:
        dims = spec.shape or ()
        if any(not isinstance(dim, int) for dim in dims):
            sizes = [
                [dim if isinstance(dim, int) else batch if axis == 0 else wide for axis, dim in enumerate(dims)]
                for batch, wide in ((1, 32), (2, 64), (4, 128))
            ]
            spans[spec.name] = dict(zip(("min", "opt", "max"), sizes, strict=True))
    return spans or None


@pytest.mark.parametrize("model", sorted(KIT.glob("*.onnx")), ids=lambda path: path.stem)
def test_a_model_of_the_kit_is_built_or_refused_for_a_dtype_that_is_not_declared(model, tmp_path):
    backend = TensorRTBackend({**OPTIONS, "profiles": widths(model)})
    specs = (*read_onnx(model).signature.inputs, *read_onnx(model).signature.outputs)
    undeclared = {spec.dtype for spec in specs} - TensorRTBackend.capabilities.dtypes
    target = tmp_path / "m.engine"
    built = backend.build(model, target)
    if undeclared:
        assert built.unwrap_err().code is ErrorCode.UNIMPLEMENTED
        assert min(undeclared) in built.unwrap_err().message
        return
    built.unwrap()
    assert read_header(target).family == "tensorrt_rtx"
    assert read_sidecar(target).signature == read_onnx(model).signature.with_defaults_fixed()


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("name", ["magika", "rapidocr-cls", "rapidocr-det", "basic-pitch"])
def test_a_real_network_is_built(name, real_model, tmp_path):
    path = real_model(name)
    TensorRTBackend({**OPTIONS, "profiles": widths(path)}).build(path, tmp_path / "m.engine").unwrap()
    assert read_sidecar(tmp_path / "m.engine").signature == read_onnx(path).signature


@pytest.mark.network
@pytest.mark.parametrize(("name", "words"), [("minilm-int8", "Quantized constant"), ("silero-vad", "cannot build")])
def test_a_real_network_that_tensorrt_does_not_take_says_why(name, words, real_model, tmp_path):
    path = real_model(name)
    error = TensorRTBackend({**OPTIONS, "profiles": widths(path)}).build(path, tmp_path / "m.engine").unwrap_err()
    assert error.code is ErrorCode.UNIMPLEMENTED
    assert words in error.message
    assert not (tmp_path / "m.engine").exists()


def test_an_engine_is_built_once_for_a_manifest_and_then_taken_from_the_cache(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AEGISRT_CACHE_DIR", str(tmp_path / "cache"))
    manifest = tmp_path / "deploy.yaml"
    manifest.write_text(
        "devices: {gpu0: {kind: cuda}}\n"
        "backends: {trt: {kind: tensorrt, device: gpu0, distribution: tensorrt_rtx, compute_capabilities: ['8.9']}}\n"
        "defaults: [model: digits]\n",
        encoding="utf-8",
    )

    def build(*overrides):
        assert main(["build", str(manifest), "models.digits.backend=trt", "--json", *overrides]) == 0
        (file,) = json.loads(capsys.readouterr().out)["files"]
        return file["state"], file["key"]

    state, key = build()
    assert state == "built"
    assert build() == ("cached", key)
    state, other = build("backends.trt.precision=tf32")
    assert state == "built"
    assert other != key
