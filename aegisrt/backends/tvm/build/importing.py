"""`imported`: an ONNX model to a Relax module, in the compiler's process: sizes frozen, constants folded, safe names.

TVM's importer writes tensor names into the code that it generates, so all of them are renamed first. Many models can
be imported only after ONNX Runtime has folded constants, such as shapes that are computed by operators.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aegisrt.backends.onnxruntime import NO_TELEMETRY
from aegisrt.backends.process.child import is_out_of_memory
from aegisrt.backends.tvm.build.corrections import corrected
from aegisrt.backends.tvm.build.indices import bounded
from aegisrt.backends.tvm.build.refusals import refuse_wrong
from aegisrt.backends.tvm.build.sizes import operands_of
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import suggest
from aegisrt.core.tensor import shape_text

_STANDARD_DOMAINS = ("", "ai.onnx", "com.microsoft")
_MAIN = "main"
_NO_NAMES = ("", "?")
_SIZES_TRIED = (1, 8, 64)
"""A model may take only some sizes: an image that is halved five times, say."""
_WITHOUT_CONVERTER = ("If", "Constant")
"""The operators that the importer handles without a converter."""
_CONTROL_FLOW = ("If", "Loop", "Scan")
_OF_SHAPES_ALONE = ("Shape", "Size", "ConstantOfShape", "Constant", "EyeLike")


class ImportFailedError(Exception):
    """TVM's importer has no converter for an operator, or its converter failed."""

    def __init__(self, operators: Sequence[str], cause: str, *, unknown: bool = False) -> None:
        super().__init__(", ".join(operators))
        self.operators = operators
        self.cause = cause
        self.unknown = unknown
        """There is no converter, so fixed shapes do not help."""


def input_shapes(model: Any) -> dict[str, list[int | str | None]]:
    """Return the declared shape of each input without an initializer, by name, in order.

    Some exporters write a size of 0 or -1 for a dynamic dimension.
    """
    fed = {tensor.name for tensor in model.graph.initializer}
    return {
        value.name: [_dimension(dim) for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.input
        if value.name not in fed
    }


def _dimension(dim: Any) -> int | str | None:
    if dim.dim_value > 0:
        return int(dim.dim_value)
    return None if dim.dim_param in _NO_NAMES else str(dim.dim_param)


def frozen(model: Any, sizes: Mapping[str, int], shapes: Mapping[str, Sequence[int]]) -> Any:
    """Return a copy of the model with dimensions fixed: by name, or by an input's whole shape.

    INVALID_ARGUMENT: if the model does not have a name or an input, or the shapes contradict it.
    """
    declared = input_shapes(model)
    bound = _bound(declared, sizes, shapes)
    copy = type(model)()
    copy.CopyFrom(model)
    del copy.graph.value_info[:]
    for value in (*copy.graph.input, *copy.graph.output):
        whole = shapes.get(value.name)
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if whole is not None and value.name in declared:
                dim.dim_value = whole[axis]
            elif dim.dim_param in bound:
                dim.dim_value = bound[dim.dim_param]
    return copy


def _bound(
    declared: Mapping[str, Sequence[int | str | None]], sizes: Mapping[str, int], shapes: Mapping[str, Sequence[int]]
) -> dict[str, int]:
    named = list(dict.fromkeys(dim for shape in declared.values() for dim in shape if isinstance(dim, str)))
    for name in sizes:
        if name not in named:
            hint = suggest(name, named, "named dimensions of its inputs")
            raise fail(ErrorCode.INVALID_ARGUMENT, f"no input of the model has a dimension `{name}`", hint)
    bound = dict(sizes)
    for name, shape in shapes.items():
        expected = declared.get(name)
        if expected is None:
            hint = suggest(name, list(declared), "inputs")
            raise fail(ErrorCode.INVALID_ARGUMENT, f"`shapes` names `{name}`, which is not an input of the model", hint)
        fits = len(expected) == len(shape) and all(
            bound.setdefault(dim, size) == size if isinstance(dim, str) else dim in (None, size)
            for dim, size in zip(expected, shape, strict=True)
        )
        if not fits:
            message = f"`shapes` gives `{name}` the shape {shape_text(shape)}, the model takes {shape_text(expected)}"
            raise fail(
                ErrorCode.INVALID_ARGUMENT,
                message,
                "dimensions with the same name must have the same size in each entry",
            )
    return bound


def has_unnamed_dimensions(model: Any) -> bool:
    """Return whether two inputs or more have a dynamic dimension without a name."""
    return sum(None in shape for shape in input_shapes(model).values()) > 1


def has_named_dimensions(model: Any) -> bool:
    """Return whether an input has a dynamic dimension with a name."""
    return any(isinstance(dim, str) for shape in input_shapes(model).values() for dim in shape)


def imports_with_sizes(model: Any, *, fold: bool) -> bool:
    """Return whether TVM imports the model if all of its dynamic dimensions have one of a few sizes."""
    for size in _SIZES_TRIED:
        shapes = {
            name: [dim if isinstance(dim, int) else size for dim in shape]
            for name, shape in input_shapes(model).items()
        }
        try:
            fixed = frozen(model, {}, shapes)
            imported((folded(fixed) if fold else None) or fixed, _MAIN)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            continue
        return True
    return False


def folded(model: Any) -> Any | None:
    """Return the model after ONNX Runtime's basic optimization, or None if ONNX Runtime is missing or fails."""
    os.environ.setdefault(NO_TELEMETRY, "1")
    try:
        import onnx
        import onnxruntime
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder, "before.onnx"), Path(folder, "after.onnx")
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(after)
        options.log_severity_level = 4
        try:
            before.write_bytes(model.SerializeToString())
            onnxruntime.InferenceSession(str(before), options, providers=["CPUExecutionProvider"])
            return onnx.load(str(after))
        except Exception as error:
            if is_out_of_memory(error):
                raise
            print(f"onnxruntime does not fold it: {error}")
            return None


def imported(model: Any, function: str, into: Any | None = None, *, unnamed_are_equal: bool = False) -> Any:
    """Return a Relax module with the model as `function`, and with the functions of `into`.

    `unnamed_are_equal` is as in `with_safe_names`. Raises ImportFailedError with the names of the operators.
    """
    from tvm import relax
    from tvm.relax.frontend.onnx import onnx_frontend

    class Importer(onnx_frontend.ONNXGraphImporter):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self.bb = relax.BlockBuilder(into)

        def _convert_operator(self, op_name: str, inputs: Any, attrs: Any, opset: int) -> Any:
            refuse_wrong(op_name, inputs, attrs)
            try:
                inputs = operands_of(self.bb, op_name, inputs, attrs)
                result, converted = None, super()._convert_operator
                for step in corrected(op_name, inputs):
                    inputs = step if result is None else type(step)([result, *step[1:]])
                    with bounded(onnx_frontend, op_name, inputs, attrs, self.bb) as inside:
                        result = converted(op_name, inside, attrs, opset)
                return result
            except ImportFailedError:
                raise
            except Exception as error:
                raise ImportFailedError([op_name], f"{type(error).__name__}: {error}") from error

    _refuse_unknown_operators(model.graph, {*onnx_frontend._get_convert_map(), *_WITHOUT_CONVERTER})
    original, onnx_frontend.ONNXGraphImporter = onnx_frontend.ONNXGraphImporter, Importer
    try:
        module = onnx_frontend.from_onnx(with_safe_names(model, unnamed_are_equal=unnamed_are_equal))
    finally:
        onnx_frontend.ONNXGraphImporter = original
    return module if function == _MAIN else _with_main_as(module, function)


def _with_main_as(module: Any, function: str) -> Any:
    """Return the module with its `main` under another name, which no function of it calls."""
    import tvm

    others = {name: body for name, body in module.functions_items() if name.name_hint != _MAIN}
    renamed = tvm.IRModule(others, attrs=module.attrs)
    renamed[function] = module[_MAIN].with_attr("global_symbol", function)
    return renamed


def _refuse_unknown_operators(graph: Any, known: Container[str]) -> None:
    """Raise ImportFailedError for operators without a converter; the importer checks only the outermost graph."""
    unknown = {
        f"{node.domain}.{node.op_type}" if node.domain not in _STANDARD_DOMAINS else node.op_type
        for node in _nodes(graph)
        if node.domain not in _STANDARD_DOMAINS or node.op_type not in known
    }
    if unknown:
        raise ImportFailedError(sorted(unknown), "TVM has no converter for it", unknown=True)


def with_safe_names(model: Any, *, unnamed_are_equal: bool = False) -> Any:
    """Return a copy of the model in which every tensor and every dynamic dimension has a plain name.

    Dimensions without a name may differ, and an operator over two inputs may not allow that. With `unnamed_are_equal`,
    unnamed dimensions of one axis count as one size, and calls with different sizes are refused.
    """
    copy = type(model)()
    copy.CopyFrom(model)
    tensors: dict[str, str] = {"": ""}
    dims: dict[str, str] = {}
    for graph in _graphs(copy.graph):
        del graph.value_info[:]
        _drop_unused_outputs(graph)
        for tensor in (*graph.initializer, *graph.input, *graph.output):
            tensor.name = tensors.setdefault(tensor.name, f"t{len(tensors)}")
        for sparse in graph.sparse_initializer:
            sparse.values.name = tensors.setdefault(sparse.values.name, f"t{len(tensors)}")
        for index, node in enumerate(graph.node):
            node.name = f"n{index}"
            node.input[:] = [tensors.setdefault(name, f"t{len(tensors)}") for name in node.input]
            node.output[:] = [tensors.setdefault(name, f"t{len(tensors)}") for name in node.output]
        for value in (*graph.input, *graph.output):
            for axis, dim in enumerate(value.type.tensor_type.shape.dim):
                size = _dimension(dim)
                if not isinstance(size, int):
                    text = size or f" {axis if unnamed_are_equal else len(dims)}"
                    dim.dim_param = dims.setdefault(text, f"d{len(dims)}")
    return copy


def _drop_unused_outputs(graph: Any) -> None:
    """Remove outputs of LayerNormalization that nothing reads, since TVM computes the others only (refusals.py)."""
    read = {value.name for value in graph.output} | {name for node in _nodes(graph) for name in node.input}
    for node in graph.node:
        while node.op_type == "LayerNormalization" and node.output[-1] not in read:
            del node.output[-1]


def computed_outputs(model: Any) -> list[bool]:
    """Return for each output whether each call is known to compute it into fresh memory.

    An output that depends on no input's values may be a constant of the library, and so may one of an `If`: those are
    copied before the caller gets them.
    """
    fresh = {value.name for value in model.graph.input} - {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in (*_OF_SHAPES_ALONE, *_CONTROL_FLOW) and fresh.intersection(node.input):
            fresh.update(node.output)
    return [value.name in fresh for value in model.graph.output]


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _graphs(inner)


def _nodes(graph: Any) -> Iterator[Any]:
    for inner in _graphs(graph):
        yield from inner.node
