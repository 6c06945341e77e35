from __future__ import annotations

from aegisrt.manifest.check.links import check_links, is_reference
from aegisrt.manifest.check.locate import Locator
from aegisrt.manifest.check.validate import validate
from aegisrt.manifest.origin import Origin
from tests.manifest.yaml_composition import KINDS, composed

GOOD = """
devices:
  cpu: {kind: cpu}
  gpu0: {kind: cuda}
streams:
  main: {device: gpu0}
backends:
  fast: {kind: mock, device: gpu0, stream: main}
  plain: {kind: mock}
models:
  digits: {path: d.onnx, backend: fast}
"""


def found_in(text):
    composition = composed(text)
    locator = Locator(composition.origins, composition.name)
    check_links(composition.values, locator)
    return locator.diagnostics


def only(text):
    found = found_in(text)
    assert len(found) == 1, [f"{d.location}: {d.id}: {d.message}" for d in found]
    return found[0]


def test_a_whole_manifest_has_no_dangling_reference():
    assert found_in(GOOD) == []


def test_a_dangling_backend_names_what_is_declared_and_where_the_near_one_is():
    found = only(GOOD.replace("backend: fast", "backend: fats"))
    assert (found.id, str(found.location), found.path) == (
        "dangling-reference",
        "deploy.yaml:10:35",
        "models.digits.backend",
    )
    assert found.message == "backend `fats` is not declared under `backends`"
    assert found.label == "did you mean `fast`?"
    assert found.hint == "backends are `fast`, `plain`"
    assert [(note.message, str(note.location)) for note in found.notes] == [
        ("`fast` is declared here", "deploy.yaml:7:3")
    ]


def test_a_dangling_device_of_a_backend():
    found = only(GOOD.replace("mock, device: gpu0", "mock, device: gpu1"))
    assert (str(found.location), found.label) == ("deploy.yaml:7:30", "did you mean `gpu0`?")


def test_a_dangling_device_of_a_stream():
    found = only(GOOD.replace("{device: gpu0}", "{device: nowhere}"))
    assert (str(found.location), found.label, found.notes) == ("deploy.yaml:5:18", "no such device", ())


def test_a_dangling_stream_of_a_backend():
    found = only(GOOD.replace("stream: main", "stream: mian"))
    assert (str(found.location), found.label) == ("deploy.yaml:7:44", "did you mean `main`?")


def test_nothing_declared_at_all_is_said():
    found = only("models:\n  m: {path: m.onnx, backend: b}\n")
    assert (found.hint, found.notes) == ("no backends are declared", ())


def test_a_backends_kind_given_for_its_name_finds_the_name():
    text = (
        "devices: {cpu: {kind: cpu}}\nbackends:\n  trt: {kind: tensorrt}\nmodels:\n  m: {path: m, backend: tensorrt}\n"
    )
    found = only(text)
    assert found.label == "did you mean `trt`?"
    assert str(found.notes[0].location) == "deploy.yaml:3:3"


def test_the_default_device_dangles_only_where_a_model_needs_it():
    without_cpu = GOOD.replace("  cpu: {kind: cpu}\n", "")
    assert found_in(without_cpu) == []
    found = only(without_cpu.replace("backend: fast", "backend: plain"))
    assert (str(found.location), found.path) == ("deploy.yaml:9:35", "models.digits.backend")
    assert found.message == "device `cpu`, the device of `backends.plain`, is not declared under `devices`"


def test_an_option_set_of_the_base_is_checked_only_where_a_model_uses_it():
    composition = composed(GOOD)
    composition.values["backends"]["base"] = {"kind": "mock", "device": "gone"}
    locator = Locator(composition.origins, composition.name)
    check_links(composition.values, locator)
    assert locator.diagnostics == []
    composition.values["models"]["digits"]["backend"] = "base"
    check_links(composition.values, locator)
    assert [d.path for d in locator.diagnostics] == ["models.digits.backend"]


def test_a_near_declaration_of_the_base_has_no_place_but_is_named():
    composition = composed("models:\n  m: {path: m, backend: onx}\n")
    composition.values["backends"] = {"onnx": {"kind": "onnx"}}
    composition.values["devices"] = {"cpu": {"kind": "cpu"}}
    locator = Locator(composition.origins, composition.name)
    check_links(composition.values, locator)
    assert [(n.message, n.location) for n in locator.diagnostics[0].notes] == [
        ("`onnx` is declared by the base configuration", None)
    ]


def test_a_stream_on_another_device_names_both_places():
    found = only(GOOD.replace("mock, device: gpu0", "mock, device: cpu"))
    assert (found.id, str(found.location)) == ("stream-device-mismatch", "deploy.yaml:7:43")
    assert found.message == "backend `fast` runs on `cpu`, and its stream `main` is on `gpu0`"
    assert [str(note.location) for note in found.notes] == ["deploy.yaml:5:18", "deploy.yaml:7:30"]


def test_a_stream_on_another_device_than_the_default_says_so():
    found = only(GOOD.replace("device: gpu0, stream", "stream"))
    assert [note.message for note in found.notes] == [
        "`streams.main.device` is `gpu0`",
        "`backends.fast.device` is `cpu` by default",
    ]


def test_a_mismatch_is_not_told_where_a_reference_dangles():
    found = only(GOOD.replace("mock, device: gpu0", "mock, device: gpu9"))
    assert found.id == "dangling-reference"


def test_what_has_a_wrong_type_is_passed_over():
    assert found_in("models: 5\nbackends: [a]\nstreams:\n  s: 1\ndevices: null\n") == []
    assert found_in(GOOD.replace("backend: fast", "backend: [fast]")) == []
    assert found_in(GOOD.replace("stream: main", "stream: {main: 1}")) == []
    assert found_in(GOOD.replace("stream: main", "stream: null")) == []


def test_a_badly_formed_reference_is_told_once():
    error = validate(composed(GOOD.replace("backend: fast", "backend: Fast")), KINDS, files=False).unwrap_err()
    assert [(d.id, d.label) for d in error.diagnostics] == [("dangling-reference", "did you mean `fast`?")]


def test_references_are_known_by_path():
    assert is_reference(("models", "m", "backend"))
    assert not is_reference(("models", "m", "path"))
    assert not is_reference(("models", "m", "sample", "inputs"))


def test_an_override_that_set_the_reference_is_where_the_error_is():
    composition = composed(GOOD)
    composition.values["models"]["digits"]["backend"] = "fats"
    text = "models.digits.backend=fats"
    from aegisrt.core.diagnostic import Location

    place = Location(f"override {text}", 1, 23, 27)
    composition.origins.places["models", "digits", "backend"] = Origin("override", place, place, override=text)
    locator = Locator(composition.origins, composition.name)
    check_links(composition.values, locator)
    assert str(locator.diagnostics[0].location) == "override models.digits.backend=fats:1:23"
