"""A sidecar that someone wrote with the right digests and wrong types is damage, not a TypeError later."""

from __future__ import annotations

import hashlib
import json

import pytest

from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.core.sidecar import Sidecar, read_sidecar, sidecar_path, write_sidecar
from aegisrt.core.tensor import DataType, Signature, TensorSpec


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"metadata": []}, "metadata"),
        ({"size_bytes": True}, "size_bytes"),
        ({"sha256": None}, "sha256"),
        ({"signature": {"inputs": [{"name": ["x"], "dtype": "FP32", "shape": [1]}], "outputs": []}}, "name"),
        ({"signature": {"inputs": [{"name": "x", "dtype": "FP32", "shape": [-1]}], "outputs": []}}, "-1"),
        ({"signature": {"inputs": [{"name": "x", "dtype": "FP32", "shape": "ab"}], "outputs": []}}, "shape"),
    ],
)
def test_values_of_wrong_types_are_damage(tmp_path, change, named):
    file = tmp_path / "m.so"
    file.write_bytes(b"engine")
    signature = Signature((TensorSpec("x", DataType.FP32, ("n", 4)),), ())
    source = {"name": "m.onnx", "sha256": "0" * 64, "external": {}}
    write_sidecar(file, Sidecar(source=source, recipe={}, signature=signature))
    plain = json.loads(sidecar_path(file).read_bytes()) | change
    del plain["digest"]
    plain["digest"] = hashlib.sha256(_written(plain).encode()).hexdigest()
    sidecar_path(file).write_text(_written(plain) + "\n")
    with pytest.raises(ResultError) as raised:
        read_sidecar(file)
    assert raised.value.error.code is ErrorCode.DATA_LOSS
    assert named in str(raised.value.error.cause)


def _written(plain):
    return json.dumps(plain, sort_keys=True, indent=1, ensure_ascii=True)
