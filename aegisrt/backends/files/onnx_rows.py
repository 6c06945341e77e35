"""`rows_of`: whether each row of an ONNX model's outputs belongs to one row of its inputs, as far as the file shows.

It follows the batch dimension from the inputs through the operators. Ranks and axes are not always known, so it proves
little; it names the operators that mix rows, and outputs that count what the model finds. Measuring decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from aegisrt.backends.files.onnx_nodes import Operator, Operators, read_nodes
from aegisrt.backends.files.onnx_row_rules import RULES
from aegisrt.backends.files.onnx_traces import LOST, Trace, Traces
from aegisrt.backends.files.protobuf import DamagedError
from aegisrt.core.stamp import PerFile
from aegisrt.core.tensor import shape_text

_FINDERS = {"NonZero": 1, "NonMaxSuppression": 0, "Unique": 0}
"""Operators that find elements, and the axis of their first output that has one entry for each element found."""
_ALWAYS_MIX = frozenset(
    ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "NonZero", "NonMaxSuppression", "Unique")
)
_MAY_MIX = frozenset(("Loop", "Scan", "SequenceAt", "ConcatFromSequence"))
_KEEP_FOUND = frozenset((
    "Abs", "Add", "Cast", "Ceil", "Clip", "Div", "Exp", "Floor", "GatherND", "Identity", "Max", "Min", "Mul", "Neg",
    "Pow", "Relu", "Round", "Sigmoid", "Sqrt", "Sub",
))  # fmt: skip
"""Operators without a rule whose result keeps the number of found elements. Others, such as ScatterND, may write the
elements to the places of their rows."""
_NAMED_BY_EXPORTERS = re.compile(r"\?|unk__\d+|p2o\..*|.*_dim_\d+|s\d+|unknown.*|None|-1")


@dataclass(frozen=True, slots=True)
class Rows:
    """What an ONNX file shows about its rows."""

    refused: str | None = None
    """Why the model certainly is not row-wise; a sentence."""
    mixing: tuple[str, ...] = ()
    """Operators that mix rows, or may: `DynamicQuantizeLinear`, `ReduceMax over the batch`."""
    unclear: tuple[str, ...] = ()
    """Outputs for which the file does not show whether their first dimension is the batch."""


def rows_of(path: Path) -> Rows | None:
    """Return what the file shows; None if it cannot be read as an ONNX model."""
    try:
        return _ROWS(path)
    except (DamagedError, OSError, RecursionError):
        return None


def _rows(path: Path) -> Rows:
    return _Analysis(read_nodes(path)).rows()


_ROWS = PerFile(_rows)


class _Analysis:
    def __init__(self, model: Operators) -> None:
        self._model = model
        self._traces = Traces(model)
        # Only these kinds, since a call would copy all of them: functions and their calls may both be many.
        self._mixing_in = {name: kinds & (_ALWAYS_MIX | _MAY_MIX) for name, kinds in model.functions.items()}

    def rows(self) -> Rows:
        refused = self._static()
        for node in self._model.nodes:
            self._visit(node)
        refused = refused or self._counts_found()
        unclear = [name for name in self._model.outputs if self._is_unclear(name)]
        return Rows(refused, tuple(self._traces.mixing), tuple(unclear))

    def _static(self) -> str | None:
        for side, shapes in (("input", self._model.inputs), ("output", self._model.outputs)):
            for name, shape in shapes.items():
                if shape is not None and (not shape or isinstance(shape[0], int)):
                    return f"`batching` needs a dynamic first dimension, and {side} `{name}` is {shape_text(shape)}"
        return None

    def _counts_found(self) -> str | None:
        for name, shape in self._model.outputs.items():
            trace = self._traces.by_name.get(name)
            if trace is not None and trace.found_axis == 0:
                dims = "" if shape is None else shape_text(shape)
                output = f"output `{name}{dims}` has one row for each element that {trace.finder} finds"
                return f"{output}, not one for each row of the batch"
        return None

    def _is_unclear(self, name: str) -> bool:
        trace, shape = self._traces.by_name.get(name), self._model.outputs[name]
        if trace is not None and trace.axis == 0:
            return False
        batch = {dims[0] for dims in self._model.inputs.values() if dims}
        first = shape[0] if shape else None
        named = isinstance(first, str) and not _NAMED_BY_EXPORTERS.fullmatch(first)
        return not (named and batch == {first})

    def _visit(self, node: Operator) -> None:
        if node.kind == "Constant":
            if node.value is not None:
                self._traces.constants.update(dict.fromkeys(node.outputs, node.value))
            return
        carried = [trace for name in (*node.inputs, *node.captured) if (trace := self._traces.by_name.get(name))]
        called = self._mixing_in.get(node.kind)
        if not carried or node.kind in ("Shape", "Size"):
            return
        for kind in sorted({node.kind, *node.inner, *(called or ())} & (_ALWAYS_MIX | _MAY_MIX)):
            self._traces.mixing[kind] = None
        rule = RULES.get(node.kind) if node.domain in ("", "ai.onnx") else None
        if node.kind in _FINDERS:
            counted = Trace(LOST, None, _FINDERS[node.kind], node.kind)
            traces = [counted, counted, Trace(LOST), counted]  # the third of Unique has one entry per input
        elif rule is not None:
            traces = rule(self._traces, node)
        elif node.inner or called is not None or node.domain not in ("", "ai.onnx", "com.microsoft"):
            traces = [Trace(LOST)]
        else:
            trace = self._traces.combined(carried)
            traces = [trace if node.kind in _KEEP_FOUND else replace(trace, found_axis=None)]
        for index, name in enumerate(node.outputs):
            if name:
                self._traces.by_name[name] = traces[min(index, len(traces) - 1)]
