"""What is published: everything that a user needs, nothing of the tests, and metadata that an index accepts."""

import email
import subprocess
import sys
import tarfile
import zipfile
from pathlib import PurePosixPath

import pytest

import aegisrt
from aegisrt.backends.registry import entries
from aegisrt.core.optional import DISTRIBUTION
from tests.docs.pages import ROOT

pytestmark = pytest.mark.slow
LARGEST_WHEEL_BYTES = 4_000_000
NEEDED = [
    "aegisrt/py.typed",
    "aegisrt/cli/completion/completion.bash",
    "aegisrt/conformance/xfails.toml",
    "aegisrt/conformance/models/affine.onnx",
    "aegisrt/_configs/config.yaml",
    "aegisrt/_configs/env/prod.yaml",
    "aegisrt/_configs/backend/trt.yaml",
    "aegisrt/_configs/conformance/full.yaml",
    "aegisrt/_configs/model/digits.onnx",
    "aegisrt/_configs/model/digits.images.npy",
    "aegisrt/_configs/model/digits.labels.npy",
    "aegisrt/_schemas/manifest.schema.json",
    "aegisrt/_schemas/backend/onnx.schema.json",
]


def members(wheel) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def metadata(wheel) -> email.message.Message:
    (text,) = (content for name, content in members(wheel).items() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(text)


def checkout() -> set[str]:
    """Return the files of this checkout that belong into the wheel, by their names in it."""
    folders = {"aegisrt": "aegisrt", "configs": "aegisrt/_configs", "schemas": "aegisrt/_schemas"}
    return {
        f"{inside}/{file.relative_to(ROOT / folder).as_posix()}"
        for folder, inside in folders.items()
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }


def test_an_index_would_take_them(distributions):
    command = [sys.executable, "-m", "twine", "check", "--strict", str(distributions.sdist), str(distributions.wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == 2


def test_the_wheel_holds_the_package_and_nothing_else(distributions):
    found = {name for name in members(distributions.wheel) if ".dist-info/" not in name}
    assert found == checkout()
    assert set(NEEDED) <= found
    assert not [name for name in found if "tests" in PurePosixPath(name).parts or name.endswith(".pyc")]
    assert distributions.wheel.stat().st_size < LARGEST_WHEEL_BYTES


def test_the_sdist_makes_the_same_wheel_as_the_checkout(distributions):
    assert distributions.wheel.name == distributions.direct.name
    assert members(distributions.wheel) == members(distributions.direct)


def test_the_sdist_holds_what_the_tests_need(distributions):
    with tarfile.open(distributions.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if kept.returncode == 0:
        assert set(kept.stdout.splitlines()) - names <= {".gitignore"}
    assert {"pyproject.toml", "Makefile", "README.md", "CONTRIBUTING.md", "LICENSE", "tests/conftest.py"} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith((".venv", "dist/"))]


def test_the_metadata(distributions):
    found = metadata(distributions.wheel)
    assert (found["Name"], found["Version"]) == (DISTRIBUTION, aegisrt.__version__)
    assert (found["License-Expression"], found["License-File"]) == ("Apache-2.0", "LICENSE")
    assert found["Requires-Python"] == ">=3.11"
    backends = [backend for backend in entries().unwrap() if backend != "mock"]
    assert set(backends) <= set(found.get_all("Provides-Extra"))
    needed = [one for one in found.get_all("Requires-Dist") if "extra ==" not in one]
    engines = ("onnxruntime", "apache-tvm", "tensorrt", "pycuda", "torch", "cuda")
    assert needed
    assert not [one for one in needed if one.startswith(engines)]
    assert found["Description-Content-Type"] == "text/markdown"


def test_the_version_is_the_changelogs_newest(distributions):
    first = next(line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    assert first.split()[1] == aegisrt.__version__
