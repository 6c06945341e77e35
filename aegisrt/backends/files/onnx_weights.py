"""`load_onnx`: an `onnx.ModelProto` with its external weights; needs the package `onnx`.

`onnx.load` refuses weights that are links or have several names, which are common: the cache of Hugging Face, volumes
of Kubernetes, packages that are installed by hard links. So the weights are read here, from files that `weights_file`
permits, as ONNX Runtime does (https://onnx.ai/onnx/repo-docs/ExternalData.html).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aegisrt.backends.files.onnx import read_onnx
from aegisrt.backends.files.source import weights_file
from aegisrt.core.result import ErrorCode, fail
from aegisrt.core.suggest import quoted

_NUMBER = re.compile("[0-9]{1,18}")
_SHOWN = 200
_EXTERNAL = 1
"""`TensorProto.EXTERNAL`."""


def load_onnx(path: Path) -> Any:
    """Return the model with its weights.

    The errors of `weights_file`, and:
    DATA_LOSS: if a file of weights is too short, or the place in it is not a number.
    MemoryError: if there is no memory for it.
    """
    model = _parsed(path)
    for tensor in _tensors(model):
        if tensor.data_location == _EXTERNAL:
            _read(tensor, path)
    return model


def _parsed(path: Path) -> Any:
    """Return the model without its external weights.

    protobuf's parser (upb, in 6.33) reports an allocation that the system refuses as damage. So a file that it calls
    damaged is read here once more: if it is not, memory ran out.
    """
    import onnx

    damaged: Any = importlib.import_module("google.protobuf.message").DecodeError  # it has no types of its own
    try:
        return onnx.load(str(path), load_external_data=False)
    except damaged as error:
        read_onnx(path)
        raise MemoryError(f"no memory for the model {path}") from error


def _read(tensor: Any, model: Path) -> None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    file = weights_file(model, entries.get("location", ""))
    offset = _number(entries.get("offset", "0"), tensor, model)
    size = _number(entries["length"], tensor, model) if "length" in entries else -1
    with file.open("rb") as stream:
        stream.seek(offset)
        data = stream.read(size)
    if len(data) < size:
        message = f"{file}, with weights of {model}, is cut short or belongs to another model"
        cause = f"`{tensor.name}` has {size} bytes from {offset} on, and the file ends before"
        raise fail(ErrorCode.DATA_LOSS, message, "copy or export it again", cause=cause)
    tensor.raw_data = data
    tensor.data_location = 0
    del tensor.external_data[:]


def _number(text: str, tensor: Any, model: Path) -> int:
    """Return an offset or a length; the file's author chose the text."""
    if not _NUMBER.fullmatch(text):
        message = f"{model} is damaged: the place of the weight {quoted(tensor.name[:_SHOWN])} is not a number of bytes"
        raise fail(ErrorCode.DATA_LOSS, message, "copy or export it again")
    return int(text)


def _tensors(model: Any) -> Iterator[Any]:
    """Yield every tensor of a model: weights, and those in attributes, also in graphs inside and in functions."""
    yield from _of_graph(model.graph)
    for function in model.functions:
        yield from _of_nodes(function.node)


def _of_graph(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _of_nodes(graph.node)


def _of_nodes(nodes: Any) -> Iterator[Any]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for graph in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _of_graph(graph)
