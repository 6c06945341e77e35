"""A GPU that is lost to the process: told clearly, other devices go on, the process ends well, isolation gets it back.

Each in a process of its own, as an illegal address or a failed assertion is for good.
"""

import json
import subprocess
import sys

import pytest

pytest.importorskip("pycuda.driver", reason="needs pycuda and a driver", exc_type=ImportError)
pytest.importorskip("torch", reason="torch makes the kernel that fails")
ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif("CUDAExecutionProvider" not in ort.get_available_providers(), reason="needs onnxruntime-gpu"),
]
DEPLOYMENT = """
import json, sys
import numpy as np
from aegisrt import ExecutionRequest, deploy
from aegisrt.core.resources import configs_dir
from tests.gpu import losing

digits = str(configs_dir() / "model" / "digits.onnx")
kinds = json.loads(sys.argv[1])
lose = getattr(losing, sys.argv[2])
backends = {name: {"kind": kind, "device": device} for name, (kind, device) in kinds.items()}
for name in backends:
    if name.startswith("graph"):
        backends[name]["cuda_graph"] = True
    if name.startswith("apart"):
        backends[name]["isolation"] = "process"
    if name.startswith("tvm"):
        backends[name]["shapes"] = {"image": [[1, 1, 8, 8]]}
manifest = {
    "devices": {"cpu": {"kind": "cpu"}, "gpu0": {"kind": "cuda"}, "gpu1": {"kind": "cuda", "ordinal": 1}},
    "backends": backends,
    "models": {name: {"path": digits, "backend": name, "instances": 2} for name in backends},
}
if not any(device == "gpu1" for _, device in kinds.values()):
    del manifest["devices"]["gpu1"]
context = deploy(manifest).unwrap()

def call(name):
    answer = context.execute(ExecutionRequest(inputs={"image": np.ones((1, 1, 8, 8), np.float32)}, model=name))
    told = f"{answer.error.code.name} {answer.error.message}" if answer.is_err() else "ok"
    print("ANSWER", json.dumps([name, told]))

for turn in range(4):
    for name in kinds:
        if name != "cold":
            call(name)
    if turn == 1:
        lose(0)
if "cold" in kinds:
    call("cold")
print("ANSWER", json.dumps(["close", str(context.close().is_ok())]), flush=True)
"""


def answers(kinds, lose="lose"):
    """Return what each model answered, in order."""
    done = subprocess.run(
        [sys.executable, "-c", DEPLOYMENT, json.dumps(kinds), lose],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        if line.startswith("ANSWER "):
            name, answer = json.loads(line.removeprefix("ANSWER "))
            found.setdefault(name, []).append(answer)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr[-6000:]}"
    assert "PyCUDA" not in done.stderr, done.stderr[-6000:]
    return found


def check(found, lost, served):
    for name in lost:
        told = found[name]
        assert told[:2] == ["ok", "ok"], told
        assert all(text.startswith("UNAVAILABLE") for text in told[2:]), told
        assert "cannot be used after an earlier error" in told[3], told
    first = [found[name][2] for name in lost]
    assert sum("cannot be used after an earlier error" not in text for text in first) == 1, first
    for name in served:
        assert set(found[name]) == {"ok"}, found[name]
    assert found["close"] == ["True"]


@pytest.mark.parametrize("lose", ["lose", "fail_assertion"])
@pytest.mark.parametrize("kind", ["plain", "graph"])
def test_models_on_the_cpu_and_in_processes_of_their_own_go_on_and_the_process_ends_well(kind, lose):
    kinds = {kind: ["onnx", "gpu0"], "host": ["onnx", "cpu"], "apart": ["onnx", "gpu0"]}
    check(answers(kinds, lose), [kind], ["host", "apart"])


def test_a_model_whose_first_call_comes_after_is_told_too():
    found = answers({"cold": ["onnx", "gpu0"], "plain": ["onnx", "gpu0"]})
    assert found["cold"][0].startswith("UNAVAILABLE"), found["cold"]
    assert "cannot be used" in found["cold"][0]


def test_tvm_is_told_and_the_process_ends_well(monkeypatch, tmp_path):
    pytest.importorskip("tvm", reason="apache-tvm is not installed")
    monkeypatch.setenv("AEGISRT_CACHE_DIR", str(tmp_path))
    found = answers({"tvm": ["tvm", "gpu0"], "plain": ["onnx", "gpu0"], "host": ["onnx", "cpu"]})
    check(found, ["tvm", "plain"], ["host"])


@pytest.mark.parametrize("lose", ["lose", "fail_assertion"])
def test_another_gpu_goes_on_in_processes_of_its_own_and_here_as_the_driver_lets_it(lose):
    import torch

    if torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU")
    kinds = {"plain": ["onnx", "gpu0"], "graph": ["onnx", "gpu0"]}
    found = answers({**kinds, "other": ["onnx", "gpu1"], "apart": ["onnx", "gpu1"]}, lose)
    other = found.pop("other")
    check(found, list(kinds), ["apart"])
    assert other[:2] == ["ok", "ok"]
    assert other[2:] == ["ok", "ok"] or "cuda:1 cannot be used after an earlier error" in other[3], other


ISOLATED = """
import json
import numpy as np
from aegisrt import ExecutionRequest
from aegisrt.backends.isolation.backend import isolated
from aegisrt.core.resources import configs_dir
from tests.gpu.losing import LOSE, Losing

backend = isolated(Losing)(device="cuda:0")
backend.load(configs_dir() / "model" / "digits.onnx").unwrap()

def call(pixel):
    answer = backend.execute(ExecutionRequest(inputs={"image": np.full((1, 1, 8, 8), pixel, np.float32)}))
    print(json.dumps(f"{answer.error.code.name} {answer.error.message}" if answer.is_err() else "ok"))

for pixel in (1, LOSE, 1, LOSE, 1, 2):
    call(pixel)
backend.unload().unwrap()
"""


def test_a_process_of_its_own_loses_it_for_one_request_and_the_next_process_has_it():
    done = subprocess.run([sys.executable, "-c", ISOLATED], capture_output=True, text=True, timeout=300, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('"')]
    assert done.returncode == 0, done.stderr[-6000:]
    assert [text.split()[0] for text in found] == ["ok", "UNAVAILABLE", "ok", "UNAVAILABLE", "ok", "ok"], found
