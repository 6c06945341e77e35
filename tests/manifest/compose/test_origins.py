"""Where each value comes from, against positions found independently: from YAML's events, and from a table by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from aegisrt.backends.registry import options_by_kind
from aegisrt.core.resources import configs_dir
from tests.manifest.composing import MODEL, composed, write

CONFIGS = configs_dir()
ENVS = sorted(file.stem for file in (CONFIGS / "env").glob("*.yaml"))
LAYERS = {
    None: [],
    "dev": ["env/dev"],
    "prod": ["env/prod"],
    "staging": ["env/prod", "env/staging"],
}
"""Which files of `env/` take part, the winning one last."""


KNOWN = options_by_kind().unwrap()


pytestmark = pytest.mark.usefixtures("folder")


def places(file):
    """Return `path -> (key line, column, value line, column)` of each leaf of a YAML file, from its events."""
    found, stack = {}, []  # of each open container: its path, and the pending key or the next index
    for event in yaml.parse(file.read_text()):
        if isinstance(event, yaml.CollectionEndEvent):
            stack.pop()
        elif isinstance(event, yaml.NodeEvent):
            mark = (event.start_mark.line + 1, event.start_mark.column + 1)
            if stack and stack[-1][1] is None and isinstance(event, yaml.ScalarEvent):
                stack[-1][1] = (event.value, mark)
                continue
            path, key_mark = (), (None, None)
            if stack:
                around, slot = stack[-1]
                key, key_mark = (slot, (None, None)) if isinstance(slot, int) else slot
                path = (*around, key)
                stack[-1][1] = slot + 1 if isinstance(slot, int) else None
            if isinstance(event, yaml.ScalarEvent):
                found[path] = (*key_mark, *mark)
            else:
                stack.append([path, 0 if isinstance(event, yaml.SequenceStartEvent) else None])
    return found


def leaves(value, path=()):
    if isinstance(value, dict) and value:
        return [leaf for key, child in value.items() for leaf in leaves(child, (*path, key))]
    if isinstance(value, list) and value:
        return [leaf for index, child in enumerate(value) for leaf in leaves(child, (*path, index))]
    return [(path, value)]


def text_of(name):
    return (CONFIGS / f"{name}.yaml").read_text()


def files_in_order(env):
    """Return (file, package) of what the demo is made of, by hand."""
    backends = [(f"backend/{file.stem}", ("backends", file.stem)) for file in (CONFIGS / "backend").glob("*.yaml")]
    backends = [(name, package) for name, package in backends if yaml.safe_load(text_of(name))["kind"] in KNOWN]
    rest = [
        ("device/cpu", ("devices", "cpu")),
        ("stream/default", ("streams", "default")),
        ("model/digits", ("models", "digits")),
    ]
    return [*backends, *rest, *((name, ()) for name in LAYERS[env])]


@pytest.mark.parametrize("env", [None, *ENVS])
def test_every_leaf_of_the_packaged_configuration_under_every_environment(env):
    composition = composed(None, *([f"env={env}"] if env else []), kinds=KNOWN)
    found = {}
    for name, package in files_in_order(env):
        file = CONFIGS / f"{name}.yaml"
        for path, place in places(file).items():
            if path[:1] != ("defaults",):
                found[(*package, *path)] = (str(file), *place)
    checked = leaves(composition.values)
    assert {path for path, _ in checked} == set(found)
    for path, value in checked:
        origin = composition.origins.of(path)
        key = (origin.key.line, origin.key.column) if origin.key else (None, None)
        assert origin.source == "file"
        assert (origin.value.file, *key, origin.value.line, origin.value.column) == found[path], path
        text = Path(origin.value.file).read_text().splitlines()[origin.value.line - 1]
        written = yaml.safe_load(text[origin.value.column - 1 : origin.value.end_column - 1])
        is_file = path[-1] in ("path", "labels") or path[-2:] == ("sample", "inputs")
        assert value == (str(Path(origin.value.file).parent / written) if is_file else written)
    assert set(LAYERS) == {None, *ENVS}, "an environment was added: say here which files it is made of"


def where(composition, *path):
    origin = composition.origins.of(path)
    return f"{origin.value.file}:{origin.value.line}:{origin.value.column}", origin.set_by


def test_the_last_file_that_says_it_is_the_origin(folder):
    write(
        folder,
        conf__env__site="# @package _global_\ndefaults:\n  - /backend: fast\nbackends:\n  fast: {log_severity: info}\n",
    )
    write(folder, conf__backend__fast="# @package backends.fast\nkind: onnx\nlog_severity: error\n")
    composition = composed("deploy.yaml", "env=site", config_dir="conf")
    assert where(composition, "backends", "fast", "log_severity") == ("conf/env/site.yaml:5:24", "env=site")
    chosen = "backend=fast, chosen in conf/env/site.yaml:3:5"
    assert where(composition, "backends", "fast", "kind") == ("conf/backend/fast.yaml:2:7", chosen)
    assert where(composition, "models", "digits", "path") == ("deploy.yaml:2:18", None)


def test_a_mapping_s_place_is_the_manifest_s_where_that_holds_it():
    composition = composed("deploy.yaml", "env=dev", "models.digits.warmup=1")
    assert where(composition, "models", "digits") == ("deploy.yaml:2:11", None)
    assert composition.origins.of(("backends", "onnx")).set_by == "env=dev"


def test_a_choice_of_the_command_line_is_named_as_it_stood():
    assert where(composed(None, "model=[digits]"), "models", "digits", "backend")[1] == "model=[digits]"
    assert (
        where(composed("deploy.yaml", "+backend@backends.x=mock"), "backends", "x", "kind")[1]
        == "+backend@backends.x=mock"
    )


def test_a_file_included_twice_counts_where_it_wins(folder):
    write(
        folder,
        conf__env__site="# @package _global_\ndefaults: [/backend@backends.a: onnx, /backend@backends.b: mock]\n",
    )
    composition = composed("deploy.yaml", "env=site", config_dir="conf")
    assert where(composition, "backends", "a", "kind")[1] == "backend=onnx, chosen in conf/env/site.yaml:2:12"
    assert where(composition, "backends", "b", "kind")[1] == "backend=mock, chosen in conf/env/site.yaml:2:39"
    assert where(composition, "backends", "onnx", "kind")[1] is None


def test_what_a_value_replaced_is_not_its_origin(folder):
    (folder / "deploy.yaml").write_text(
        MODEL + "  b:\n    path: b\n    backend: mock\n    sample: {inputs: b.npy, labels: c.npy}\n"
    )
    write(folder, conf__env__site="# @package _global_\nmodels: {b: {sample: null}}\n")
    composition = composed("deploy.yaml", "env=site", "models.b.sample={inputs: d.npy}", config_dir="conf")
    assert composition.values["models"]["b"]["sample"] == {"inputs": str(folder / "d.npy")}
    assert composition.origins.of(("models", "b", "sample", "labels")).source == "default"
    assert composition.origins.of(("models", "b", "sample", "inputs")).override == "models.b.sample={inputs: d.npy}"
    assert (
        where(composed("deploy.yaml", "env=site", config_dir="conf"), "models", "b", "sample")[0]
        == "conf/env/site.yaml:2:22"
    )


def test_an_interpolation_s_place_is_the_value_s_and_of_all_inside_it(folder):
    (folder / "deploy.yaml").write_text("backends:\n  copy: ${backends.onnx}\n" + MODEL)
    composition = composed("deploy.yaml", "env=dev")
    for path in (("backends", "copy"), ("backends", "copy", "kind"), ("backends", "copy", "deterministic")):
        assert where(composition, *path)[0] == "deploy.yaml:2:9"


def test_a_value_of_three_question_marks_gives_way(folder):
    (folder / "deploy.yaml").write_text("devices:\n  cpu:\n    threads: ???\n" + MODEL)
    assert where(composed("deploy.yaml", "env=dev"), "devices", "cpu", "threads")[0].endswith("env/dev.yaml:6:14")


def test_a_file_is_named_from_the_current_folder(folder, monkeypatch):
    (folder / "sub").mkdir()
    write(folder, conf__env__site="# @package _global_\ndevices: {cpu: {threads: 2}}\n")
    path = ("devices", "cpu", "threads")
    assert where(composed("deploy.yaml", "env=site", config_dir=folder / "conf"), *path)[0].startswith("conf/env/")
    monkeypatch.chdir(folder / "sub")
    found = composed("../deploy.yaml", "env=site", config_dir="../conf")
    assert where(found, *path)[0].startswith("../conf/env/site.yaml:")
    assert where(found, "models", "digits", "path")[0].startswith("../deploy.yaml:")
    assert found.name == "../deploy.yaml"


def test_a_mapping_from_python_has_no_places():
    origin = composed({"models": {"a": {"path": "a", "backend": "mock"}}}).origins.of(("models", "a", "path"))
    assert (origin.source, origin.key, origin.value) == ("file", None, None)
