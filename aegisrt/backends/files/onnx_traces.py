"""`Traces`: how far the tensors of an ONNX graph depend on the rows of a batch, operator by operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from aegisrt.backends.files.onnx_nodes import Operator, Operators

LOST = -1
"""The batch is at an axis that is not known."""


@dataclass(frozen=True, slots=True)
class Trace:
    """How a tensor depends on the rows."""

    axis: int
    """The axis of the batch, or `LOST`."""
    rank: int | None = None
    found_axis: int | None = None
    """The axis that has one entry for each element that an operator found, if there is one."""
    finder: str = ""


class Traces:
    """The traces of one graph's tensors, and the operators seen so far that mix rows."""

    def __init__(self, model: Operators) -> None:
        self.opset = model.opset
        self.constants = dict(model.constants)
        self.by_name = {
            name: Trace(0, None if shape is None else len(shape)) for name, shape in model.inputs.items() if shape != ()
        }
        """A tensor that does not depend on the rows has no trace."""
        self.mixing: dict[str, None] = {}

    def combined(self, carried: Sequence[Trace]) -> Trace:
        """Return the trace of an elementwise result, broadcast from the right."""
        ranks = [trace.rank for trace in carried]
        rank = None if None in ranks else max(known for known in ranks if known is not None)
        axes = {
            trace.axis if trace.axis == LOST or rank is None or trace.rank is None else trace.axis + rank - trace.rank
            for trace in carried
        }
        found = next((trace for trace in carried if trace.found_axis is not None), carried[0])
        return replace(found, axis=axes.pop() if len(axes) == 1 else LOST, rank=rank)

    def mix(self, node: Operator, how: str = "over the batch") -> None:
        """Note that a node mixes rows, or may."""
        self.mixing[f"{node.kind} {how}"] = None

    def data(self, node: Operator) -> Trace | None:
        """Return the trace of the first input; None if it does not depend on the rows."""
        return self.by_name.get(node.inputs[0]) if node.inputs else None

    def first(self, node: Operator) -> Trace:
        """Return the trace of the first input, or of the others if it does not depend on the rows."""
        return self.data(node) or self.any(node)

    def any(self, node: Operator) -> Trace:
        """Return the trace of all inputs together; at least one depends on the rows."""
        return self.combined([trace for name in node.inputs if (trace := self.by_name.get(name))])

    def trace(self, node: Operator, index: int) -> Trace | None:
        """Return the trace of one input; None if it does not depend on the rows, or is left out."""
        return self.by_name.get(node.inputs[index]) if len(node.inputs) > index else None

    def integers(self, node: Operator, index: int, name: str) -> tuple[int, ...] | None:
        """Return integers of a node, from its attribute or from a constant input; None if there are none."""
        if name in node.attributes:
            return node.attributes[name]
        return self.constants.get(node.inputs[index]) if len(node.inputs) > index else None
