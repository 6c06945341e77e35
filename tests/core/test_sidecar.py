"""A sidecar that someone wrote with the right digests and wrong types is damage, not a TypeError later."""

from __future__ import annotations

import hashlib
import json
import os

import pytest

from aegisrt.core.result import ErrorCode, ResultError
from aegisrt.core.sidecar import Sidecar, file_sha256, read_sidecar, read_trailer, sidecar_path, write_sidecar
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


@pytest.mark.parametrize("name", ["m.so", "m.so.json"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    file = tmp_path / "m.so"
    file.write_bytes(b"engine")
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(OSError, match="not a regular file"):
        file_sha256(tmp_path / name)
    for read in (read_trailer, read_sidecar) if name == "m.so" else (read_sidecar,):
        with pytest.raises(OSError, match="not a regular file"):
            read(file)
