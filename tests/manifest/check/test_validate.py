from __future__ import annotations

import datetime
import json
import pickle
from typing import Annotated, Literal

import numpy as np
import pytest
from pydantic import Field, model_validator

from aegisrt.core.options import BackendOptions, StrictModel
from aegisrt.core.result import ErrorCode
from aegisrt.manifest.check.validate import manifest_type, validate
from aegisrt.manifest.schema import Manifest
from tests.manifest.yaml_composition import KINDS, MockLike, composed


def errors_of(text, kinds=KINDS):
    return validate(composed(text), kinds, files=False).unwrap_err().diagnostics


def only(text, kinds=KINDS):
    found = errors_of(text, kinds)
    assert len(found) == 1, [f"{d.location}: {d.id}: {d.message}" for d in found]
    return found[0]


def backend(line, kind="mock"):
    return f"devices: {{cpu: {{kind: cpu}}}}\nbackends:\n  b:\n    kind: {kind}\n    {line}\n"


def model(line):
    return f"{backend('delay_ms: 1.0')}models:\n  m:\n    path: m.onnx\n    backend: b\n    {line}\n"


GOOD = model("instances: 2")


def test_a_good_manifest_is_typed_by_kind():
    manifest = validate(composed(GOOD), KINDS, files=False).unwrap()
    assert type(manifest.backends["b"]) is MockLike
    assert manifest.models["m"].instances == 2
    assert pickle.loads(pickle.dumps(manifest)).models == manifest.models


@pytest.mark.parametrize("count", [0, 1, 2])
def test_manifest_type_takes_any_number_of_kinds(count):
    kinds = dict(list(KINDS.items())[:count])
    assert issubclass(manifest_type(kinds), Manifest)
    assert manifest_type(kinds) is manifest_type(dict(kinds))
    found = only(backend("colour: red", kind="nothing_like_it"), kinds)
    assert (found.id, str(found.location)) == ("unknown-kind", "deploy.yaml:4:11")
    assert found.hint == (
        f"kinds are {', '.join(f'`{kind}`' for kind in kinds)}" if kinds else "no backend kinds are registered"
    )


def test_one_kind_alone_still_validates():
    kinds = {"mock": MockLike}
    assert validate(composed(GOOD), kinds, files=False).unwrap().backends["b"].delay_ms == 1.0
    assert "discriminator" in json.dumps(manifest_type(kinds).model_json_schema())


@pytest.mark.parametrize(
    ("text", "id", "place", "label"),
    [
        (backend("precison: fp16", "tensorrt"), "unknown-field", "5:5", "did you mean `precision`?"),
        (backend("workspace_bytes: 1"), "unknown-field", "5:5", "a field of backend kind `tensorrt`"),
        (backend("zzz: 1"), "unknown-field", "5:5", "unknown field"),
        (backend("precision: fp61", "tensorrt"), "bad-value", "5:16", "did you mean `fp16`?"),
        (backend("workspace_bytes: -1", "tensorrt"), "out-of-range", "5:22", "expected at least 0"),
        (backend("delay_ms: '5'"), "wrong-type", "5:15", "expected a number"),
        (backend("delay_ms: .nan"), "out-of-range", "5:15", None),
        (backend("delay_ms: .inf"), "out-of-range", "5:15", None),
        (backend("device: [cpu]"), "wrong-type", "5:13", "expected text"),
        (backend("", "tensorrtt"), "unknown-kind", "4:11", "did you mean `tensorrt`?"),
        (backend("", "trt"), "unknown-kind", "4:11", "did you mean `tensorrt`?"),
        (backend("", "[mock]"), "unknown-kind", "4:11", "no such kind"),
        (backend("", "null"), "unknown-kind", "4:11", "no such kind"),
        ("backends:\n  b: {stream: null}\n", "missing-kind", "2:3", "`kind` is missing"),
        ("backends:\n  b: 5\n", "wrong-type", "2:6", "expected a mapping"),
        ("backends: [a]\n", "wrong-type", "1:11", "expected a mapping"),
        ("models: null\n", "wrong-type", "1:9", "expected a mapping"),
        ("devices:\n  gpu0: {kind: gpu}\n", "unknown-kind", "2:16", "did you mean `cuda`?"),
        ("devices:\n  gpu0: {kind: cuda, ordinal: 256}\n", "out-of-range", "2:31", "expected at most 255"),
        ("devices:\n  My CPU: {kind: cpu}\n", "bad-name", "2:3", "did you mean `my-cpu`?"),
        ("modles: {}\n", "unknown-field", "1:1", "did you mean `models`?"),
        ("api_version: aegisrt/v2\n", "bad-value", "1:14", "did you mean `aegisrt/v1`?"),
        (model("instances: '5'"), "wrong-type", "10:16", "expected a whole number"),
        (model("instances: 1.5"), "wrong-type", "10:16", "expected a whole number"),
        (model("instances: yes"), "wrong-type", "10:16", "expected a whole number"),
        (model("instances: 0"), "out-of-range", "10:16", "expected at least 1"),
        (model("instances: 99999999999999999999999999"), "out-of-range", "10:16", "expected at most 1024"),
        (model("sha256: abc"), "bad-sha256", "10:13", "3 characters"),
        (model("sha256: 12"), "wrong-type", "10:13", "expected text"),
        (model("signature: {inputs: {x: {dtype: float32}}}"), "bad-value", "10:37", "did you mean `FP32`?"),
        (model("signature: {inputs: {x: {dtype: FP23}}}"), "bad-value", "10:37", "did you mean `FP32`?"),
        (model("signature: {inputs: {x: {}}}"), "missing-key", "10:26", "`dtype` is missing"),
        (model("signature: {input: {}}"), "unknown-field", "10:17", "did you mean `inputs`?"),
        (model("signature: {inputs: {x: {dtype: FP32, shape: [-1]}}}"), "out-of-range", "10:51", "expected at least 0"),
        (
            model("signature: {inputs: {x: {dtype: FP32, shape: [1, [2]]}}}"),
            "wrong-type",
            "10:54",
            "expected a whole number or text",
        ),
        (model("signature: {inputs: {x: {dtype: FP32, shape: 3}}}"), "wrong-type", "10:50", "expected a list"),
        (model("signature: {outputs: {495: {dtype: FP32}}}"), "key-not-text", "10:27", "put it in quotes"),
        (model("sample: digits.npz"), "wrong-type", "10:13", "expected a mapping"),
        (model("sample: {labels: l.npy}"), "missing-key", "10:5", "`inputs` is missing"),
    ],
)  # fmt: skip
def test_each_error_is_named_located_and_labelled(text, id, place, label):  # noqa: A002
    found = only(text)
    assert (found.id, str(found.location), found.label) == (id, f"deploy.yaml:{place}", label)


def test_a_key_that_equals_its_mappings_kind_is_not_taken_for_a_union_tag():
    found = errors_of("devices:\n  cpu: {kind: cpu, cpu: 3, threads: x}\n")
    assert [(d.id, d.path) for d in found] == [
        ("unknown-field", "devices.cpu.cpu"),
        ("wrong-type", "devices.cpu.threads"),
    ]


def test_a_misspelt_required_key_is_told_once():
    found = only("devices: {cpu: {kind: cpu}}\nstreams:\n  s:\n    devcie: cpu\n")
    assert (found.id, found.label) == ("unknown-field", "did you mean `device`?")


def test_missing_keys_are_told_at_the_mapping_and_hint_what_to_add():
    found = errors_of("models:\n  m: {}\n")
    assert [(d.id, str(d.location)) for d in found] == [("missing-key", "deploy.yaml:2:3")] * 2
    assert {d.hint for d in found} == {"add `path: ...` under `models.m`", "add `backend: ...` under `models.m`"}


def test_quotes_are_named_only_where_there_are_quotes():
    text = composed(model("instances: '5'"))
    assert validate(text, KINDS, files=False).unwrap_err().hint == "remove the quotes: `5`"
    text.values["models"]["m"]["instances"] = "55"  # as an interpolation would give it
    assert "oc.decode" in validate(text, KINDS, files=False).unwrap_err().hint


def test_text_read_as_something_else_is_told_to_be_quoted():
    assert only(model("path: 5").replace("    path: m.onnx\n", "")).hint == "put it in quotes"
    assert only(model("sha256: no")).hint == "put it in quotes"


def test_a_list_where_names_are_expected_says_how_to_write_it():
    assert only("devices:\n  - {kind: cpu}\n").hint == "write `NAME: ...` for each entry, instead of `- ...`"


def test_a_kind_that_is_not_registered_here_lists_those_that_are():
    found = only(backend("", "tvm"))
    assert found.id == "unknown-kind"
    assert found.hint == f"kinds are {', '.join(f'`{kind}`' for kind in KINDS)}"


def test_the_hint_lists_the_fields_of_that_kind():
    found = only(backend("precison: fp16", "tensorrt"))
    assert found.message == "`precison` is not a field of backend kind `tensorrt`"
    common = ", ".join(f"`{name}`" for name in BackendOptions.model_fields)
    fields = f"{common}, `precision`, `workspace_bytes`"
    assert found.hint == f"fields are {fields}"
    assert found.path == "backends.b.precison"


@pytest.mark.parametrize("value", ["digits.onnx", "[digits.onnx, onnx]", "5"])
def test_one_value_where_fields_are_expected_is_told_the_fields(value):
    found = only(f"models:\n  digits: {value}\n")
    assert found.id == "wrong-type"
    assert found.hint.startswith("fields are `path`, `backend`, ")


def test_set_by_is_what_chose_the_file():
    chosen = composed(backend("zzz: 1"), set_by="backend=mock")
    assert validate(chosen, KINDS, files=False).unwrap_err().diagnostics[0].set_by == "backend=mock"


def test_all_errors_come_at_once_by_line():
    found = errors_of(
        """
        modles: {}
        backends:
          b: {kind: mock, delay: 1, device: gpu}
          c: {kind: nope}
        models:
          m: {path: m.onnx, backend: a, instances: 0}
        """
    )
    assert [(d.id, d.location.line) for d in found] == [
        ("unknown-field", 1),
        ("unknown-field", 3),
        ("dangling-reference", 3),
        ("unknown-kind", 4),
        ("dangling-reference", 6),
        ("out-of-range", 6),
    ]


def test_the_error_names_the_first_and_counts_the_rest():
    error = validate(composed("modles: {}\ndevcies: {}\n"), KINDS).unwrap_err()
    assert error.code is ErrorCode.INVALID_ARGUMENT
    assert error.message == "`modles` is not a field of the manifest; 1 more error in deploy.yaml"
    assert str(error.location) == "deploy.yaml:1:1"


def deep(levels):
    return {"x": deep(levels - 1)} if levels else 1


def cyclic():
    value = {}
    value["x"] = value
    return value


@pytest.mark.parametrize(
    ("value", "id"),
    [
        (datetime.date(2026, 1, 1), "wrong-type"),
        (b"bytes", "wrong-type"),
        ({1, 2}, "wrong-type"),
        (np.float32(1), "wrong-type"),
        (object(), "wrong-type"),
        (float("nan"), "out-of-range"),
        (float("-inf"), "out-of-range"),
        (1 << 20_000, "out-of-range"),
        (-(1 << 20_000), "out-of-range"),
        ("\ud800", "bad-value"),
        (deep(2_00), "too-deep"),
        (cyclic(), "too-deep"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_hold_is_a_diagnostic(value, id):  # noqa: A002
    composition = composed(model("instances: 1"))
    composition.values["models"]["m"]["instances"] = value
    found = validate(composition, KINDS, files=False).unwrap_err().diagnostics
    assert id in {d.id for d in found}
    assert {d.location.line for d in found} == {10}


@pytest.mark.parametrize("key", [1, True, None, 1.5, b"x", ("a",), "\udfff"])
def test_keys_that_are_not_text_are_diagnostics(key):
    composition = composed(GOOD)
    composition.values["models"][key] = {"path": "a"}
    found = validate(composition, KINDS, files=False).unwrap_err().diagnostics
    assert len(found) == 1
    assert found[0].id in ("key-not-text", "bad-name")


class Small(StrictModel):
    size: Literal["small"]
    count: int


class Large(StrictModel):
    size: Literal["large"]
    weight: float


class Plugin(BackendOptions):
    """A third party's options, with all that pydantic offers."""

    kind: Literal["plugin"] = "plugin"
    box: Annotated[Small | Large, Field(discriminator="size")] | None = None
    either: Small | int | None = None
    by_name: dict[str, list[Small]] = Field(default_factory=dict)
    pair: tuple[int, str] = (1, "x")
    renamed: int = Field(default=0, alias="camelCase")
    multiple: Annotated[int, Field(multiple_of=8)] = 8
    few: Annotated[list[int], Field(max_length=2)] = Field(default_factory=list)
    enabled: bool = False

    @model_validator(mode="after")
    def _coherent(self):
        if self.enabled and self.multiple == 16:
            raise ValueError("16 cannot be enabled")
        return self


@pytest.mark.parametrize(
    ("line", "id", "place", "path"),
    [
        ("box: {size: small, count: x}", "wrong-type", "5:31", "box.count"),
        ("box: {size: large, wieght: 1.0}", "unknown-field", "5:24", "box.wieght"),
        ("box: {size: medium}", "unknown-kind", "5:17", "box.size"),
        ("box: {count: 1}", "missing-kind", "5:5", "box"),
        (
            "by_name: {a: [{size: small, count: 1}, {size: small, count: '1'}]}",
            "wrong-type",
            "5:65",
            "by_name.a.1.count",
        ),
        ("pair: [1, 2]", "wrong-type", "5:15", "pair.1"),
        ("camelCase: x", "wrong-type", "5:16", "camelCase"),
        ("renamed: 1", "unknown-field", "5:5", "renamed"),
        ("multiple: 9", "out-of-range", "5:15", "multiple"),
        ("few: [1, 2, 3]", "out-of-range", "5:10", "few"),
        ("enabled: 1", "wrong-type", "5:14", "enabled"),
        ("enabled: 'yes'", "wrong-type", "5:14", "enabled"),
        ("{enabled: true, multiple: 16}", "bad-value", "3:3", ""),
        ("either: x", "wrong-type", "5:13", "either"),
    ],
)
def test_a_third_partys_options_are_located_as_well(line, id, place, path):  # noqa: A002
    text = (
        backend(line, "plugin")
        if not line.startswith("{")
        else backend("", "plugin").replace(
            "    kind: plugin\n", "    kind: plugin\n    enabled: true\n    multiple: 16\n"
        )
    )
    found = only(text, {"plugin": Plugin})
    assert (found.id, str(found.location)) == (id, f"deploy.yaml:{place}")
    assert found.path == f"backends.b.{path}".rstrip(".")
