"""What the tests of `aegisrt bench` share."""

import json

from aegisrt.cli.main import main
from tests.runtime.models import affine


def write_manifest(folder):
    """Write a manifest of the model `m` without a sample, and return its path."""
    path = folder / "m.yaml"
    model = affine(folder)
    path.write_text(f"models:\n  m: {{path: {model.name}, backend: mock, batching: {{max_batch_size: 8}}}}\n")
    return str(path)


def bench(capsys, *words):
    """Return the exit code and the JSON document of a benchmark."""
    code = main(["bench", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)
