"""Defects of dynamic dimensions."""

from __future__ import annotations

import numpy as np

from aegisrt.backends.mock import MockBackend
from aegisrt.core.result import ErrorCode, fail
from tests.conformance.defects.defect import defect
from tests.conformance.defects.seams import Altering


@defect("shapes.batch", "with 64 rows: wanted Ok, got RESOURCE_EXHAUSTED")
class HasALimitOfItsOwn(MockBackend):
    def _execute(self, slot, inputs, outputs):
        if any(value.ndim and 50 < value.shape[0] < 1000 for value in inputs.values()):
            raise fail(ErrorCode.RESOURCE_EXHAUSTED, "no profile for this batch size")
        return super()._execute(slot, inputs, outputs)


@defect("shapes.batch", "with 1 rows: wanted Ok, got INVALID_ARGUMENT")
class NeverShrinks(MockBackend):
    """Refuses single rows after its buffer has grown to 16 rows or more."""

    def _execute(self, slot, inputs, outputs):
        rows = next(iter(inputs.values())).shape[0]
        self.most = max(getattr(self, "most", 0), rows if rows >= 16 and rows != 33 else 0)
        if rows == 1 and self.most:
            raise fail(ErrorCode.INVALID_ARGUMENT, "the buffer is too large")
        return super()._execute(slot, inputs, outputs)


@defect("shapes.several-dimensions", "at 6x2: output `y`")
class KeysBuffersBySize(Altering):
    def alter(self, value):
        buffers = self.__dict__.setdefault("buffers", {})
        shape = buffers.setdefault(value.size, value.shape)
        return value.reshape(shape)


@defect("shapes.unnamed-dimension", "load of the model `unnamed`: wanted Ok, got INTERNAL")
class KeysDimensionsByName(MockBackend):
    def _signature(self, engine):
        signature = super()._signature(engine)
        dims = [dim for spec in signature.inputs for dim in spec.shape if not isinstance(dim, int)]
        if None in dims:
            raise KeyError(None)
        return signature


@defect("shapes.unnamed-dimension", "execute: wanted Ok, got INTERNAL")
class TakesUnnamedForOne(MockBackend):
    def _execute(self, slot, inputs, outputs):
        if any(dim is None and inputs[name].shape[0] != 1 for name, dim in self._unnamed()):
            raise RuntimeError("dimension 0: expected 1")
        return super()._execute(slot, inputs, outputs)

    def _unnamed(self):
        return [(spec.name, spec.shape[0]) for spec in self.signature.inputs if spec.shape]


@defect("shapes.first-call-does-not-fix", "with 33 rows after 1")
class SizesBuffersByTheFirstCall(Altering):
    first = None

    def alter(self, value):
        self.first = self.first or value.shape[0]
        return value[: self.first].copy()


@defect("shapes.first-call-does-not-fix", "with 1 rows after 33")
class PadsToTheFirstCall(Altering):
    first = None

    def alter(self, value):
        self.first = self.first or value.shape[0]
        missing = max(0, self.first - value.shape[0])
        return np.concatenate([value, np.zeros((missing, *value.shape[1:]), value.dtype)])


@defect("shapes.large", "with 350000 rows: output `y`")
class HasAGridOfAMillion(Altering):
    def alter(self, value):
        value.ravel()[1 << 20 :] = 0
        return value


@defect("shapes.two-inputs-one-name", "5 and 3 elements for one `n`: wanted an error")
class PadsTheShorterInput(MockBackend):
    def _execute(self, slot, inputs, outputs):
        longest = max((value.shape[0] for value in inputs.values() if value.ndim == 1), default=0)
        padded = {name: np.resize(value, longest) if value.ndim == 1 else value for name, value in inputs.items()}
        return super()._execute(slot, padded, outputs)


@defect("shapes.rows-are-independent", "`batch` with rows together: `y` differs from the rows alone: wanted")
class SortsTheRowsOfABatch(Altering):
    """Suppresses over the whole batch, instead of within each row."""

    def alter(self, value):
        return value[np.argsort(value[:, 0])].copy() if value.ndim == 2 else value


@defect("shapes.rows-are-independent", "`batch` with rows beside rows a thousand times as large: `y` differs")
class ScalesByTheLargestRow(Altering):
    """Rounds to a millionth of the largest value in the batch: exact enough, except for a row of another scale."""

    def alter(self, value):
        step = np.abs(value).max(initial=0) / (1 << 21)
        return (np.round(value / step) * step).astype(value.dtype) if step and value.ndim == 2 else value


@defect("shapes.rows-are-independent", "`batch` with rows together: 6 in, 8 out")
class AnswersItsPaddingToo(Altering):
    def alter(self, value):
        rows = len(value) if value.ndim == 2 and len(value) > 1 else 0
        return np.concatenate([value, np.zeros((-rows % 4, *value.shape[1:]), value.dtype)]) if rows else value


@defect("shapes.rows-are-independent", "`batch` with rows together: `y` differs from the rows alone")
class FillsABatchUpAndAnswersItsEnd(Altering):
    def alter(self, value):
        if value.ndim != 2 or len(value) < 2:
            return value
        return np.concatenate([value, np.repeat(value[:1], -len(value) % 4, axis=0)])[-len(value) :].copy()
