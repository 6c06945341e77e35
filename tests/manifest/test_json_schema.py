import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from aegisrt.backends.registry import entries, options_by_kind
from aegisrt.core.optional import DISTRIBUTION
from aegisrt.core.resources import configs_dir, schemas_dir
from aegisrt.manifest.json_schema import all_schemas

CONFIGS = sorted(configs_dir().rglob("*.yaml"))
MODELINE = re.compile(r"# yaml-language-server: \$schema=(\S+)")


@pytest.fixture(scope="module")
def ours():
    own = {kind for kind, entry in entries().unwrap().items() if entry.distribution == DISTRIBUTION}
    return all_schemas({kind: options for kind, options in options_by_kind().unwrap().items() if kind in own})


def modeline_schema(config: Path) -> Path:
    match = MODELINE.fullmatch(config.read_text().splitlines()[0])
    assert match, f"{config} does not begin with its modeline"
    name = match.group(1).rpartition("schemas/")[2]
    assert (config.parent / match.group(1)).resolve().parts[-1] == Path(name).parts[-1]
    return schemas_dir() / name


def test_the_committed_schemas_are_what_the_code_makes(ours):
    drifted = [n for n, schema in ours.items() if json.loads((schemas_dir() / n).read_text()) != schema]
    assert not drifted, "write them again: make schemas"


def test_every_schema_is_valid_draft_2020_12(ours):
    for schema in ours.values():
        jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_packaged_config_validates_by_its_modeline(config):
    schema = json.loads(modeline_schema(config).read_text())
    jsonschema.Draft202012Validator(schema).validate(yaml.safe_load(config.read_text()) or {})


@pytest.mark.skipif(
    not importlib.util.find_spec("check_jsonschema"), reason="check-jsonschema comes with the extra lint"
)
def test_every_packaged_config_passes_check_jsonschema():
    by_schema: dict[Path, list[Path]] = {}
    for config in CONFIGS:
        by_schema.setdefault(modeline_schema(config), []).append(config)
    for schema, configs in by_schema.items():
        command = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(schema), *map(str, configs)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def errors(schema, value) -> list[str]:
    return [error.json_path for error in jsonschema.Draft202012Validator(schema).iter_errors(value)]


def test_a_resolved_manifest_needs_kinds_and_a_fragment_does_not(ours):
    part = {
        "backends": {"mock": {"delay_ms": 2}},
        "devices": {"cpu": {"threads": 2}},
        "models": {"m": {"instances": 2}},
    }
    assert not errors(ours["fragment.schema.json"], {"defaults": ["model/digits", {"override /env": "dev"}], **part})
    assert errors(ours["manifest.schema.json"], part)


def test_a_fragment_still_refuses_what_no_file_may_say(ours):
    fragment = ours["fragment.schema.json"]
    assert errors(fragment, {"backends": {"mock": {"kind": "mock", "intra_op_threads": 2}}})
    assert errors(fragment, {"backends": {"mock": {"delay": 2}}})
    assert errors(fragment, {"models": {"Bad Name": {"instances": 2}}})
    assert errors(fragment, {"models": {"m": {"instances": "2"}}})
    assert not errors(fragment, {"models": {"m": {"instances": "${oc.env:N}"}}})
