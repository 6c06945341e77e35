"""The whole conformance kit on the stand-ins for TensorRT: ONNX is built, loaded and run, by other processes too."""

import json
import os
import subprocess
import sys

import pytest

from aegisrt.core.resources import configs_dir
from tests.docs.pages import ROOT
from tests.fakes.machine import write_packages
from tests.fakes.tensorrt import API
from tests.long import long

pytest.importorskip("onnx", reason="the stand-in computes with the package onnx")
OLD = next(path for path in API if path.stem.startswith("tensorrt-8"))
RIGHTLY_SKIPPED = ("declares ", "device `cuda` has no memory that this machine reports", "numpy", "BF16 needs")


def judged(folder, api, *overrides):
    """Return the report of `aegisrt conformance` on a machine with this version, in processes of its own."""
    write_packages(folder, api)
    kind = "tensorrt" if "rtx" in api.stem else "trt"  # the kind, and the name of its option set
    words = ["conformance", "--backend", kind, "--device", "cuda", "--json", *overrides]
    paths = os.pathsep.join((str(folder), str(ROOT)))
    environment = {**os.environ, "PYTHONPATH": paths, "AEGISRT_CACHE_DIR": str(folder / "cache")}
    program = [sys.executable, "-P", "-c", "import sys; from aegisrt.cli.main import main; sys.exit(main())", *words]
    ran = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert ran.stdout, ran.stderr
    return json.loads(ran.stdout)


def passes(report):
    """Assert that nothing failed, and that what was skipped is not declared."""
    results = report["results"]
    assert [f"{item['check']}: {item['reason']}" for item in results if item["status"] == "failed"] == []
    assert [item["reason"] for item in results if item["status"] == "not_installed"] == []
    skipped = [item["reason"] for item in results if item["status"] == "skipped"]
    assert [reason for reason in skipped if not reason.startswith(RIGHTLY_SKIPPED)] == []


@pytest.mark.slow
def test_tensorrt_8_passes_what_it_declares(tmp_path):
    report = judged(tmp_path, OLD, "conformance.options.cuda_graph=true")
    passes(report)
    skipped = {item["check"] for item in report["results"] if item["status"] == "skipped"}
    assert {"dtypes.int64", "dtypes.bf16", "numerics.int64"} <= skipped
    assert report["counts"]["passed"] > 110


def test_the_measurement_for_a_gpu_runs(tmp_path):
    """Its numbers are those of the stand-in; it must only work where nobody can mend it."""
    write_packages(tmp_path, OLD)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), str(ROOT)))}
    report = tmp_path / "rows.json"
    arguments = ["--engine", "tensorrt", "--batch", "2", "--short", "--json", str(report)]
    program = [sys.executable, "-m", "tests.measuring.gpu", str(configs_dir() / "model" / "digits.onnx"), *arguments]
    ran = subprocess.run(program, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert ran.returncode == 0, ran.stderr
    (row,) = json.loads(report.read_text())
    assert row["cuda_graph"] == "on"
    assert row["ratio"] > 0
    assert row["gain_ratio"] > 0


@long
@pytest.mark.parametrize("graph", [False, True], ids=["plain", "graph"])
@pytest.mark.parametrize("api", API, ids=lambda path: path.stem)
def test_every_version_passes_everything_that_it_declares(api, graph, tmp_path):
    report = judged(tmp_path, api, f"conformance.options.cuda_graph={str(graph).lower()}")
    passes(report)
    assert report["counts"]["passed"] > 110
