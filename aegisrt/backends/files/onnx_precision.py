"""`convert_file`: convert an ONNX model's FP32 arithmetic to FP16 or BF16; needs the package `onnx`.

Inputs and outputs keep their dtypes, with casts between them and the graph. Operators that ONNX defines for FP32 only
keep it, with casts around them (https://onnx.ai/onnx/operators/).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from aegisrt.backends.files.onnx_weights import load_onnx
from aegisrt.core.result import ErrorCode, fail

_FLOAT = 1
_TARGETS = {"fp16": 10, "bf16": 16}
_LARGEST_FP16 = 65504.0
_AS_GOOD_AS_INFINITE = 1e30
"""Exporters use the largest FP32 as a mask; it becomes the largest FP16."""
_KEPT = frozenset({
    "Resize", "Upsample", "NonMaxSuppression", "RoiAlign", "Range", "RandomNormal", "RandomUniform", "RandomNormalLike",
    "RandomUniformLike", "Multinomial", "Bernoulli", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear",
    "CumSum", "STFT", "DFT", "MelWeightMatrix", "ImageDecoder",
})  # fmt: skip
"""Left in FP32: ONNX requires it for some input, or FP16 would change the meaning."""
_DTYPE_ATTRIBUTES = {"Cast": "to", "EyeLike": "dtype"}


def convert_file(source: Path, target: Path, precision: str) -> Path:
    """Write the converted model to `target`, and return that; `precision` is `fp16` or `bf16`."""
    import onnx

    model = load_onnx(source)
    convert(model, precision)
    large = model.ByteSize() > 2**31 - 2**20
    onnx.save(model, str(target), save_as_external_data=large, location=f"{target.name}.data")
    return target


def convert(model: Any, precision: str) -> None:
    """Convert an `onnx.ModelProto` in place.

    INVALID_ARGUMENT: if FP16 cannot represent a weight.
    """
    _Conversion(model, _TARGETS[precision]).run()


class _Conversion:
    def __init__(self, model: Any, target: int) -> None:
        from onnx import helper, numpy_helper, shape_inference

        self._helper, self._numpy = helper, numpy_helper
        self._graph = model.graph
        self._to = target
        self._count = 0
        self._floats = set(_floats(shape_inference.infer_shapes(model).graph))
        """Names of tensors that are FP32 in the original model."""

    def run(self) -> None:
        graph = self._graph
        weights = {tensor.name for tensor in graph.initializer}
        outer = [info for info in graph.input if _is_float(info) and info.name not in weights]
        ends = [info for info in graph.output if _is_float(info)]
        both = {info.name for info in outer} & {info.name for info in ends}
        if both:
            raise fail(ErrorCode.UNIMPLEMENTED, f"input `{min(both)}` is an output too; it is not converted")
        fed = {info.name: self._fresh(info.name) for info in outer}
        read = {info.name: self._fresh(info.name) for info in ends}
        _rename(graph, {**fed, **read})
        self._floats |= {*fed.values(), *read.values()}
        self._inside(graph)
        before = [self._cast(name, fresh, self._to) for name, fresh in fed.items()]
        after = [self._cast(fresh, name, _FLOAT) for name, fresh in read.items()]
        nodes = [*before, *graph.node, *after]
        del graph.node[:]
        graph.node.extend(nodes)
        kept = {info.name for info in (*outer, *ends)}
        self._declare(info for info in (*graph.input, *graph.value_info) if info.name not in kept)

    def _inside(self, graph: Any) -> None:
        """Convert the weights and nodes of a graph; the caller declares its inputs and outputs."""
        self._hoist_constants(graph)
        weights = {tensor.name: tensor for tensor in graph.initializer}
        originals: list[Any] = []
        nodes: list[Any] = []
        for node in graph.node:
            nodes.extend(self._node(node, weights, originals))
        for tensor in graph.initializer:
            self._tensor(tensor)
        graph.initializer.extend(originals)
        del graph.node[:]
        graph.node.extend(nodes)

    def _node(self, node: Any, weights: dict[str, Any], originals: list[Any]) -> Iterator[Any]:
        if node.op_type in _KEPT and node.domain in ("", "ai.onnx"):
            yield from self._kept(node, weights, originals)
            return
        for attribute in node.attribute:
            self._attribute(node, attribute)
        if node.op_type == "ConstantOfShape" and not node.attribute:
            zero = self._helper.make_tensor("", self._to, [1], [0.0])
            node.attribute.append(self._helper.make_attribute("value", zero))
        yield node

    def _kept(self, node: Any, weights: dict[str, Any], originals: list[Any]) -> Iterator[Any]:
        """Yield the node with casts around it; a constant input, such as a scale, gets its original value."""
        for index, name in enumerate(node.input):
            if name in self._floats:
                node.input[index] = fresh = self._fresh(name)
                if name in weights:
                    originals.append(type(weights[name]).FromString(weights[name].SerializeToString()))
                    originals[-1].name = fresh
                else:
                    yield self._cast(name, fresh, _FLOAT)
        renamed = {name: self._fresh(name) for name in node.output if name in self._floats}
        node.output[:] = [renamed.get(name, name) for name in node.output]
        yield node
        for name, fresh in renamed.items():
            yield self._cast(fresh, name, self._to)

    def _attribute(self, node: Any, attribute: Any) -> None:
        if attribute.HasField("t"):
            self._tensor(attribute.t)
        for graph in _graphs(attribute):
            self._inside(graph)
            self._declare((*graph.input, *graph.output, *graph.value_info))
        if attribute.name == _DTYPE_ATTRIBUTES.get(node.op_type) and attribute.i == _FLOAT:
            attribute.i = self._to

    def _hoist_constants(self, graph: Any) -> None:
        """Turn the graph's FP32 Constant nodes, in any of their forms, into weights."""
        nodes = []
        for node in graph.node:
            tensor = self._constant(node) if node.op_type == "Constant" else None
            if tensor is None:
                nodes.append(node)
            else:
                graph.initializer.append(tensor)
        del graph.node[:]
        graph.node.extend(nodes)

    def _constant(self, node: Any) -> Any:
        for attribute in node.attribute:
            if attribute.name == "value_float":
                return self._helper.make_tensor(node.output[0], _FLOAT, [], [attribute.f])
            if attribute.name == "value_floats":
                return self._helper.make_tensor(node.output[0], _FLOAT, [len(attribute.floats)], attribute.floats)
            if attribute.name == "value" and attribute.t.data_type == _FLOAT:
                tensor = type(attribute.t).FromString(attribute.t.SerializeToString())
                tensor.name = node.output[0]
                return tensor
        return None

    def _tensor(self, tensor: Any) -> None:
        if tensor.data_type != _FLOAT:
            return
        import numpy as np

        values = self._numpy.to_array(tensor)
        if self._to == _TARGETS["fp16"]:
            sizes = np.abs(values)
            lost = sizes[(sizes > _LARGEST_FP16) & (sizes < _AS_GOOD_AS_INFINITE)]
            if lost.size:
                message = f"weight `{tensor.name}` holds {float(lost.max()):g}, more than FP16 can represent"
                raise fail(ErrorCode.INVALID_ARGUMENT, message, "use `precision: bf16` or `tf32`")
            finite = np.clip(values, -_LARGEST_FP16, _LARGEST_FP16)
            values = np.where(np.isinf(values), values, finite)
        dtype = self._helper.tensor_dtype_to_np_dtype(self._to)
        tensor.CopyFrom(self._numpy.from_array(values.astype(dtype), tensor.name))

    def _declare(self, infos: Iterable[Any]) -> None:
        for info in infos:
            if _is_float(info):
                info.type.tensor_type.elem_type = self._to

    def _cast(self, source: str, target: str, to: int) -> Any:
        return self._helper.make_node("Cast", [source], [target], name=f"{target}_cast", to=to)

    def _fresh(self, name: str) -> str:
        self._count += 1
        return f"{name}__aegisrt_{self._count}"


def _is_float(info: Any) -> bool:
    return bool(info.type.tensor_type.elem_type == _FLOAT)


def _graphs(attribute: Any) -> list[Any]:
    return [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]


def _floats(graph: Any) -> Iterator[str]:
    """Yield the names of a graph's FP32 tensors, and of those in the graphs inside it."""
    for info in (*graph.input, *graph.output, *graph.value_info):
        if _is_float(info):
            yield info.name
    for tensor in graph.initializer:
        if tensor.data_type == _FLOAT:
            yield tensor.name
    for node in graph.node:
        for attribute in node.attribute:
            for inner in _graphs(attribute):
                yield from _floats(inner)


def _rename(graph: Any, names: dict[str, str]) -> None:
    """Rename tensors in nodes and weights, and in inner graphs, except for names that those define themselves."""
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            for inner in _graphs(attribute):
                own = {info.name for info in inner.input} | {name for item in inner.node for name in item.output}
                own |= {tensor.name for tensor in inner.initializer}
                visible = {name: fresh for name, fresh in names.items() if name not in own}
                _rename(inner, visible)
                for info in inner.output:
                    info.name = visible.get(info.name, info.name)
