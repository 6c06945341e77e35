"""Standard output is one JSON document, whatever an engine prints, wherever and by whichever means."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.backends.test_broken_packages import install, module
from tests.docs.pages import ROOT

NOISY = """
import ctypes
import os
import subprocess
from typing import Literal

from aegisrt.backends.mock import MockBackend, MockOptions


def noise(where):
    print("NOISE of print at", where)
    os.write(1, b"NOISE of the descriptor\\n")
    ctypes.CDLL(None).puts(b"NOISE of C, which buffers it")
    subprocess.run(["echo", "NOISE of a program"], check=True)


noise("import")


class NoisyOptions(MockOptions):
    kind: Literal["noisy"] = "noisy"


class Noisy(MockBackend):
    kind = "noisy"
    Options = NoisyOptions

    @classmethod
    def availability(cls, *, probe=False):
        noise("availability")
        return super().availability(probe=probe)

    def _load(self, path):
        noise("load")
        return super()._load(path)

    def _execute(self, slot, inputs, outputs):
        noise("execute")
        return super()._execute(slot, inputs, outputs)

    def _unload(self, engine):
        noise("unload")
"""


@pytest.fixture
def noisy(tmp_path):
    return module(install(tmp_path / "site", "noisy-package", {"noisy": "noisy:Noisy"}), "noisy", NOISY)


def aegisrt(*words, path, cwd):
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (path, ROOT)))}
    return subprocess.run(
        [sys.executable, "-m", "aegisrt", *words], env=environ, cwd=cwd, capture_output=True, text=True
    )


USES = ("models.digits.backend=noisy",)


@pytest.mark.parametrize("isolation", ["none", "process"])
@pytest.mark.parametrize(
    "words",
    [("run", *USES), ("bench", *USES, "--seconds", "0.2"), ("graph", "--load", *USES)],
    ids=lambda words: words[0],
)
def test_verbs_that_run_a_model_print_one_document(words, isolation, noisy, tmp_path):
    done = aegisrt(*words, f"backends.noisy.isolation={isolation}", "--json", path=noisy, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    for means in ("print at load", "the descriptor", "C, which", "a program"):
        assert f"NOISE of {means}" in done.stderr


@pytest.mark.parametrize("words", [("backends",), ("validate",), ("doctor",), ("config",)], ids=lambda words: words[0])
def test_verbs_that_import_a_module_print_one_document(words, noisy, tmp_path):
    done = aegisrt(*words, "--json", path=noisy, cwd=tmp_path)
    json.loads(done.stdout)
    assert "NOISE of print at import" in done.stderr


def test_text_is_the_verbs_own_too(noisy, tmp_path):
    done = aegisrt("run", *USES, path=noisy, cwd=tmp_path)
    assert done.returncode == 0
    assert "NOISE" not in done.stdout


def test_an_error_is_one_document(noisy, tmp_path):
    done = aegisrt("run", *USES, "backends.noisy.fail_execute=UNAVAILABLE", "--json", path=noisy, cwd=tmp_path)
    assert json.loads(done.stdout)["error"]["code"] == "UNAVAILABLE"
