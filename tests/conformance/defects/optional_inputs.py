"""Defects of inputs with a default value."""

from __future__ import annotations

from dataclasses import replace

from tests.conformance.defects.defect import defect
from tests.conformance.defects.sound import SoundBackend


@defect("inputs.optional", "execute with `offset`, call 0: output `y` of `default`")
class DropsWhatItNeedNotHave(SoundBackend):
    def _execute(self, slot, inputs, outputs):
        return super()._execute(slot, {name: value for name, value in inputs.items() if name != "offset"}, outputs)


@defect("inputs.optional", "execute without `offset`, call 1: output `y` of `default`")
class RemembersTheLastValue(SoundBackend):
    def _execute(self, slot, inputs, outputs):
        if "offset" in inputs:
            self.last = inputs["offset"]
        last = getattr(self, "last", None)
        return super()._execute(slot, inputs if last is None else {**inputs, "offset": last}, outputs)


class CompilesDefaultsIn(SoundBackend):
    """Correct: an optional input that is compiled in is not an input."""

    def _signature(self, engine):
        return engine.signature.with_defaults_fixed()


@defect("inputs.optional", "execute with `offset`: wanted UNIMPLEMENTED, got Ok")
class IgnoresAValueForWhatItCompiledIn(CompilesDefaultsIn):
    def execute(self, request):
        inputs = {name: value for name, value in dict(request.inputs).items() if name != "offset"}
        return super().execute(replace(request, inputs=inputs))


@defect("inputs.optional", "`signature` has `offset`, and not as optional")
class AsksForEveryInput(SoundBackend):
    def _signature(self, engine):
        signature = super()._signature(engine)
        return replace(signature, inputs=tuple(replace(spec, optional=False) for spec in signature.inputs))


@defect("inputs.optional", "a float64 `offset`: wanted INVALID_ARGUMENT, got Ok")
class CastsOptionalInputs(SoundBackend):
    def execute(self, request):
        inputs = dict(request.inputs)
        if "offset" in inputs:
            inputs["offset"] = inputs["offset"].astype("float32")
        return super().execute(replace(request, inputs=inputs))
