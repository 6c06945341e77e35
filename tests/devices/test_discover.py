"""Discovery and `aegisrt devices`, with and without a driver."""

import json

import pytest

from aegisrt.cli.main import main
from aegisrt.core.result import ErrorCode, fail
from aegisrt.devices import discover as module
from aegisrt.devices.discover import discover


def no_driver():
    raise fail(ErrorCode.UNAVAILABLE, "there is no NVIDIA driver: libcuda.so.1: cannot open", "install it")


def test_the_cpu_is_always_there():
    cpu = discover()[0]
    assert (cpu.id, cpu.kind, cpu.available) == ("cpu", "cpu", True)
    assert cpu.name
    assert cpu.memory_bytes > 1 << 20


def test_without_a_driver_one_entry_says_why(monkeypatch):
    monkeypatch.setattr(module, "cuda_driver", no_driver)
    (gpu,) = discover()[1:]
    assert (gpu.id, gpu.kind, gpu.available) == ("cuda", "cuda", False)
    assert "libcuda.so.1: cannot open" in gpu.reason
    assert "install it" in gpu.reason


def test_each_gpu_has_an_entry(fake_cuda):
    fake_cuda.count = 2
    gpus = discover()[1:]
    assert [gpu.id for gpu in gpus] == ["cuda:0", "cuda:1"]
    assert gpus[0].compute_capability == "9.0"
    assert gpus[0].memory_bytes == 1 << 30
    assert "CUDA 13.0" in gpus[0].driver


def test_no_visible_gpu_says_so(fake_cuda):
    fake_cuda.count = 0
    (gpu,) = discover()[1:]
    assert not gpu.available
    assert "CUDA_VISIBLE_DEVICES" in gpu.reason


def test_a_gpu_that_does_not_answer_is_told_beside_the_others(fake_cuda):
    fake_cuda.count = 2
    fake_cuda.fail["cuDeviceGetName"] = 999
    first, second = discover()[1:]
    assert not first.available
    assert second.available


def test_devices_as_json(fake_cuda, capsys):
    assert main(["devices", "--json"]) == 0
    cpu, gpu = json.loads(capsys.readouterr().out)
    assert cpu["kind"] == "cpu"
    assert {"id", "kind", "name", "compute_capability", "memory_bytes", "available", "reason"} <= set(gpu)
    assert gpu["name"] == "NVIDIA Fake"


@pytest.mark.parametrize("driver", [True, False])
def test_devices_as_text(driver, monkeypatch, capsys):
    if not driver:
        monkeypatch.setattr(module, "cuda_driver", no_driver)
    assert main(["devices"]) == 0
    assert "cpu" in capsys.readouterr().out
