"""The small ones: requests, timings, capabilities, options, locations, where the configurations lie."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from typing import Literal

import numpy as np
import pytest

import aegisrt
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.diagnostic import Diagnostic, Location
from aegisrt.core.options import BackendOptions
from aegisrt.core.request import ExecutionRequest, ExecutionResult
from aegisrt.core.resources import configs_dir, schemas_dir
from aegisrt.core.suggest import nearest
from aegisrt.core.tensor import DataType
from aegisrt.core.timing import StepTimes


class Options(BackendOptions):
    kind: Literal["words"] = "words"
    depth: int = 1
    rate: float = 0.5
    dtype: DataType = DataType.FP32


def test_requests_and_results_pickle():
    request = ExecutionRequest(inputs={"x": np.arange(3)}, model="m", outputs=["y"], timeout_ms=5, id="a")
    result = ExecutionResult({"y": np.arange(3)}, StepTimes(1, 2, 3, 4), "m", "onnx", "cpu", {"k": 1})
    again = pickle.loads(pickle.dumps(request))
    assert (again.model, again.outputs, again.timeout_ms, again.id) == ("m", ["y"], 5, "a")
    back = pickle.loads(pickle.dumps(result))
    assert (back.timings, back.metadata) == (StepTimes(1, 2, 3, 4), {"k": 1})
    np.testing.assert_array_equal(back.outputs["y"], result.outputs["y"])


def test_a_request_takes_names_only():
    with pytest.raises(TypeError):
        ExecutionRequest({"x": 1})


def test_requests_do_not_share_their_parameters():
    assert ExecutionRequest(inputs={}).parameters is not ExecutionRequest(inputs={}).parameters


def test_times_are_in_the_order_of_the_steps():
    assert StepTimes(1, 2, 3, 4)._asdict() == {
        "queue": 1, "host_to_device": 2, "compute": 3, "device_to_host": 4,
    }  # fmt: skip


def test_capabilities_are_json():
    made = Capabilities(formats=(".x",), dtypes=frozenset({DataType.INT8, DataType.FP32})).to_json()
    assert made["dtypes"] == ["FP32", "INT8"]
    assert json.loads(json.dumps(made))["formats"] == [".x"]


class TestOptions:
    def test_kind_and_defaults_are_filled_in(self):
        made = Options.parse()
        assert (made.kind, made.device, made.depth) == ("words", "cpu", 1)

    def test_plain_values_as_yaml_gives_them(self):
        made = Options.parse({"rate": 2, "dtype": "INT8"})
        assert (made.rate, made.dtype) == (2.0, DataType.INT8)

    @pytest.mark.parametrize("values", [{"depth": "5"}, {"depth": 1.5}, {"depth": True}, {"deep": 1}, {"kind": "other"},
                                        {"rate": "1"}, {"device": "No"}, {"device": 1}])  # fmt: skip
    def test_nothing_is_cast_and_nothing_unknown_passes(self, values):
        with pytest.raises(ValueError, match=next(iter(values))):
            Options.parse(values)

    def test_they_do_not_change(self):
        with pytest.raises(ValueError, match="frozen"):
            Options.parse().depth = 2


def test_a_location_is_clickable_and_sorts():
    first, second = Location("a.yaml", 2, 9, 12), Location("a.yaml", 10, 1, 2)
    assert str(first) == "a.yaml:2:9"
    assert sorted([second, first]) == [first, second]


def test_a_diagnostic_is_json():
    made = Diagnostic(
        "unknown-field", "no", Location("a.yaml", 2, 9, 12), "models.x", hint="did you mean `y`?"
    ).to_json()
    assert made == {
        "id": "unknown-field", "severity": "error", "file": "a.yaml", "line": 2, "column": 9, "end_column": 12,
        "path": "models.x", "message": "no", "hint": "did you mean `y`?", "set_by": None,
    }  # fmt: skip


def test_the_packaged_folders_exist():
    assert (configs_dir() / "model" / "digits.onnx").is_file()
    assert schemas_dir().is_dir()


def test_every_public_name_resolves_and_importing_loads_no_engine():
    program = (
        "import sys, aegisrt\n"
        "heavy = {'onnxruntime', 'onnx', 'tvm', 'tensorrt', 'pycuda', 'hydra', 'omegaconf', 'rich', 'ml_dtypes'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "[getattr(aegisrt, name) for name in aegisrt.__all__]\n"
        "print(sorted((heavy - {'hydra', 'omegaconf'}) & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]
    assert dir(aegisrt) == sorted(aegisrt.__all__)


def test_an_unknown_public_name():
    with pytest.raises(AttributeError, match="no attribute `Deploy`"):
        _ = aegisrt.Deploy


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("name", ["on_damage"], None),
        ("max_batch", ["max_batch_size"], "max_batch_size"),
        ("instancs", ["instances"], "instances"),
        ("onnxruntime", ["onnx"], "onnx"),
        ("id", ["pad_to_preferred", "kind"], None),
    ],
)
def test_a_suggestion_is_not_far_fetched(word, known, expected):
    assert nearest(word, known) == expected
