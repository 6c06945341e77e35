"""Makes the reference models of the conformance kit: ONNX files, and the mock's form of those that it can express.

Run `python tests/conformance/references/make_models.py` (needs the package `onnx`) after a change of
aegisrt/conformance/references/models.py; test_models.py fails when the files and this script disagree. Opset 17 and
IR 8, so that every engine of the last years reads them.
"""

import itertools
import json
import sys
from pathlib import Path

import numpy as np

from aegisrt.conformance.references.convnet import weights
from aegisrt.conformance.references.models import (
    REFERENCES,
    SLOW_SIDES,
    SLOW_STEPS,
    AddReference,
    AffineReference,
    ConvNetReference,
    DefaultedAddReference,
    IdentityReference,
    PowerReference,
)
from aegisrt.core.tensor import DataType

FOLDER = Path(__file__).parents[3] / "aegisrt" / "conformance" / "models"
OPSET, IR_VERSION = 17, 8
SLOW_MOCK_MS = 60.0


def files():
    """Return the content of every file by name."""
    made = {}
    for reference in REFERENCES.values():
        made.update(_onnx_files(reference))
        mock = _mock(reference)
        if mock is not None:
            made[f"{reference.name}.mock.json"] = (json.dumps(mock, indent=2) + "\n").encode()
    return made


def _onnx_files(reference):
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants = [], {}
    for output, operation in reference.operations.items():
        made, used = _nodes(helper, operation, output, reference)
        nodes += made
        constants.update(used)
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    content = {}
    if reference.external:
        content = {f"{reference.name}.weights": b"".join(tensor.raw_data for tensor in tensors)}
        offset = 0
        for tensor in tensors:
            entries = {
                "location": f"{reference.name}.weights",
                "offset": str(offset),
                "length": str(len(tensor.raw_data)),
            }
            offset += len(tensor.raw_data)
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in entries.items():
                tensor.external_data.add(key=key, value=value)
    graph = helper.make_graph(
        nodes,
        reference.name,
        [_value(helper, spec) for spec in reference.signature.inputs],
        [_value(helper, spec) for spec in reference.signature.outputs],
        tensors,
    )
    model = helper.make_model(
        graph, producer_name="aegisrt", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    helper.set_model_props(model, reference.metadata)
    return {f"{reference.name}.onnx": model.SerializeToString(deterministic=True), **content}


def _value(helper, spec):
    return helper.make_tensor_value_info(spec.name, _element(spec.dtype), spec.shape)


def _element(dtype):
    from onnx import TensorProto

    names = {"FP16": "FLOAT16", "BF16": "BFLOAT16", "FP32": "FLOAT", "FP64": "DOUBLE", "BYTES": "STRING"}
    return getattr(TensorProto, names.get(dtype.value, dtype.value))


def _nodes(helper, operation, output, reference):
    match operation:
        case IdentityReference(name):
            return [helper.make_node("Identity", [name], [output])], {}
        case AddReference(left, right):
            return [helper.make_node("Add", [left, right], [output])], {}
        case DefaultedAddReference(name, optional, default):
            spec = next(spec for spec in reference.signature.inputs if spec.name == optional)
            value = np.full(spec.shape, default, spec.dtype.numpy)
            return [helper.make_node("Add", [name, optional], [output])], {optional: value}
        case AffineReference(name, scale, offset):
            dtype = next(spec.dtype for spec in reference.signature.outputs if spec.name == output).numpy
            constants = {f"{output}_scale": np.asarray(scale, dtype), f"{output}_offset": np.asarray(offset, dtype)}
            if reference.external:
                shape = reference.signature.inputs[0].shape
                constants = {key: np.full(shape, value, dtype) for key, value in constants.items()}
            scaled = helper.make_node("Mul", [name, f"{output}_scale"], [f"{output}_scaled"])
            return [
                scaled,
                helper.make_node("Add", [f"{output}_scaled", f"{output}_offset"], [output]),
            ], constants
        case PowerReference(name):
            steps = [name, *(f"p{step}" for step in range(1, SLOW_STEPS)), output]
            pairs = itertools.pairwise(steps)
            return [helper.make_node("MatMul", [before, name], [after]) for before, after in pairs], {}
        case ConvNetReference(name):
            flow = [
                ("Conv", [name, "kernel", "bias"], "convolved", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
                ("Relu", ["convolved"], "rectified", {}),
                ("MaxPool", ["rectified"], "pooled", {"kernel_shape": [2, 2], "strides": [2, 2]}),
                ("Flatten", ["pooled"], "flat", {"axis": 1}),
                ("Gemm", ["flat", "dense", "dense_bias"], "logits", {}),
                ("Softmax", ["logits"], output, {"axis": 1}),
            ]
            return [
                helper.make_node(kind, used, [made], **attributes) for kind, used, made, attributes in flow
            ], weights()


def _mock(reference):
    """Return the mock's JSON, or None if its operations do not express the model."""
    if reference.external or any(
        isinstance(operation, ConvNetReference | DefaultedAddReference) for operation in reference.operations.values()
    ):
        return None
    slow = any(isinstance(operation, PowerReference) for operation in reference.operations.values())
    if slow and reference.name != f"slow-{SLOW_SIDES[0]}":
        return None
    delay = {"delay_ms": SLOW_MOCK_MS} if slow else {}
    tensors = {"inputs": [_tensor(spec) for spec in reference.signature.inputs]}
    outputs = [
        {**_tensor(spec), "operation": _mock_operation(reference.operations[spec.name])}
        for spec in reference.signature.outputs
    ]
    metadata = {"metadata": reference.metadata} if reference.metadata else {}
    return {"format": "aegisrt-mock/v1", **delay, **metadata, **tensors, "outputs": outputs}


def _tensor(spec):
    return {"name": spec.name, "dtype": spec.dtype.value, "shape": list(spec.shape)}


def _mock_operation(operation):
    match operation:
        case IdentityReference(name) | PowerReference(name):
            return {"kind": "identity", "input": name}
        case AffineReference(name, scale, offset):
            return {"kind": "affine", "input": name, "scale": scale, "offset": offset}
        case AddReference(left, right):
            return {"kind": "add", "inputs": [left, right]}


def main():
    FOLDER.mkdir(exist_ok=True)
    made = files()
    for old in FOLDER.iterdir():
        if old.suffix in {".onnx", ".json", ".weights"} and old.name not in made:
            old.unlink()
    for name, content in made.items():
        (FOLDER / name).write_bytes(content)
    print(f"{len(made)} files, {sum(map(len, made.values()))} bytes", file=sys.stderr)


if __name__ == "__main__":
    assert DataType.BF16.numpy is not None
    main()
