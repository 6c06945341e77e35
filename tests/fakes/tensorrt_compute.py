"""What a fake engine computes: a few named operations, or an ONNX model by its reference evaluator."""

import base64

import numpy as np

NUMPY = {
    "FLOAT": "f4", "HALF": "f2", "BF16": "u2", "INT8": "i1", "INT32": "i4", "INT64": "i8", "BOOL": "?", "UINT8": "u1",
}  # fmt: skip
SIZES = {name: np.dtype(code).itemsize for name, code in NUMPY.items()}


def computation(described):
    """Return a function from the inputs' arrays by name to the outputs' arrays by name."""
    if described["operation"] == "onnx":
        return OnnxModel(base64.b64decode(described["model"]))
    source, (output, (dtype, _)) = next(iter(described["inputs"])), next(iter(described["outputs"].items()))

    def compute(inputs):
        value = inputs[source]
        if described["operation"] == "sum":
            return {output: sum(inputs.values())}
        if described["operation"] == "nonzero":
            made = np.argwhere(value).T
        else:
            made = value + value if described["operation"] == "double" else value
        return {output: np.ascontiguousarray(made.astype(NUMPY[dtype]))}

    return compute


class OnnxModel:
    """An ONNX model on the CPU; TensorRT 8's INT32 stands for INT64 outside of it."""

    def __init__(self, content):
        import onnx
        from onnx.reference import ReferenceEvaluator

        model = onnx.load_from_string(content)
        self._run = ReferenceEvaluator(model)
        self._dtypes = {
            item.name: onnx.helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type)
            for item in (*model.graph.input, *model.graph.output)
        }
        self._outputs = [item.name for item in model.graph.output]

    def __call__(self, inputs):
        given = {}
        for given_name, value in inputs.items():
            name = given_name if given_name in self._dtypes else given_name.removeprefix("__")
            dtype = self._dtypes[name]
            given[name] = value.view(dtype) if dtype.name == "bfloat16" else value.astype(dtype)
        return dict(zip(self._outputs, self._run.run(None, given), strict=True))
