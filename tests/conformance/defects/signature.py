"""Defects of signatures and metadata."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aegisrt.backends.mock import MockBackend
from aegisrt.core.tensor import DataType
from tests.conformance.defects.defect import defect
from tests.conformance.defects.seams import Altering, Answering, Describing


@defect("signature.names-in-order", "inputs: wanted ['right', 'count', 'left'], got ['count', 'left', 'right']")
class SortsTheInputs(MockBackend):
    def _signature(self, engine):
        signature = super()._signature(engine)
        return replace(signature, inputs=tuple(sorted(signature.inputs, key=lambda spec: spec.name)))


@defect("signature.names-in-order", "outputs: wanted ['total', 'counted', 'first'], got ['output_0', 'output_1'")
class LosesTheOutputNames(MockBackend):
    def _signature(self, engine):
        signature = super()._signature(engine)
        named = (replace(spec, name=f"output_{index}") for index, spec in enumerate(signature.outputs))
        return replace(signature, outputs=tuple(named))


@defect("signature.dtypes", "`x`: wanted INT64, got INT32")
class HasNoInt64(Describing):
    def describe(self, spec):
        return replace(spec, dtype=DataType.INT32) if spec.dtype is DataType.INT64 else spec


@defect("signature.static-shapes", "`right`: wanted shape [2,3], got [?,?]")
class TellsNoSizes(Describing):
    def describe(self, spec):
        return replace(spec, shape=(None,) * len(spec.shape))


@defect("signature.static-shapes", "wanted shape [2,3], got [...]")
class TellsNoRanks(Describing):
    def describe(self, spec):
        return replace(spec, shape=None)


@defect("signature.dynamic-shapes", "`x`: wanted shape [batch,3], got [1,3]")
class FixesDynamicSizes(Describing):
    def describe(self, spec):
        return replace(spec, shape=tuple(dim if isinstance(dim, int) else 1 for dim in spec.shape))


@defect("signature.dynamic-shapes", "wanted shape [batch,3], got [-1,3]")
class SaysMinusOne(Describing):
    def describe(self, spec):
        return replace(spec, shape=tuple(dim if isinstance(dim, int) else -1 for dim in spec.shape))


@defect("signature.scalars", "wanted shape [], got [1]")
class ScalarsHaveOneElement(Describing):
    def describe(self, spec):
        return replace(spec, shape=spec.shape or (1,))


@defect("signature.outputs-agree", "`y`: declared FP32, got float64")
class AnswersDoubles(Altering):
    def alter(self, value):
        return value.astype(np.float64) if value.dtype == np.float32 else value


@defect("signature.outputs-agree", "declared [2,3], got [1,2,3]")
class AddsADimension(Altering):
    def alter(self, value):
        return value[None]


@defect("signature.follows-the-model", "wanted None after unload")
class RemembersItsSignature(MockBackend):
    last = None

    @property
    def signature(self):
        self.last = super().signature or self.last
        return self.last


@defect("signature.follows-the-model", "`x`: wanted shape [5,2], got [2,3]")
class ReadsItsSignatureOnce(MockBackend):
    once = None

    @property
    def signature(self):
        now = super().signature
        self.once = self.once or now
        return now and self.once


@defect("signature.model-metadata", "`characters`: wanted 'a\\nÄ\\n字\\n', got 'a Ä 字'")
class JoinsLinesOfMetadata(MockBackend):
    def _model_metadata(self, engine):
        return {key: " ".join(text.split()) for key, text in super()._model_metadata(engine).items()}


@defect("signature.model-metadata", "wanted texts by key, got {'classes': ['total']}")
class ReadsMetadataIntoLists(MockBackend):
    def _model_metadata(self, engine):
        return {"classes": ["total"]}


@defect("signature.model-metadata", "after a second load, it is still that of the first model")
class KeepsTheMetadataOfTheFirstModel(MockBackend):
    def _model_metadata(self, engine):
        self.first = getattr(self, "first", None) or super()._model_metadata(engine)
        return self.first


@defect("signature.model-metadata", "a result has it, and the request did not ask for it")
class AlwaysAnswersMetadata(Answering):
    def answer(self, result):
        return replace(result, metadata={**result.metadata, "model_metadata": self.model_metadata})


@defect("signature.model-metadata", "a result has None, wanted {'classes'")
class NeverAnswersMetadata(Answering):
    def answer(self, result):
        return replace(
            result, metadata={key: result.metadata[key] for key in result.metadata if key != "model_metadata"}
        )


@defect("signature.model-metadata", "wanted None after unload")
class RemembersMetadata(MockBackend):
    @property
    def model_metadata(self):
        now = super().model_metadata
        self.last = getattr(self, "last", None) if now is None else now
        return self.last
