"""No text tells its reader to install a distribution that is neither this one nor one of a known engine or tool."""

import tomllib

import pytest

from aegisrt.core.optional import DISTRIBUTION
from aegisrt.doctor.engines import known_engines
from aegisrt.doctor.environment import FOREIGN
from tests.docs.installs import installs
from tests.docs.pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
TOOLS = {
    "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime-qnn",
    "tensorrt-lean-cu13", "tensorrt-dispatch-cu13",
    "nvidia-cublas", "nvidia-cublas-cu12", "nvidia-cudnn-cu12", "nvidia-cudnn-cu13", "nvidia-cuda-runtime",
    "uvicorn",
}  # fmt: skip
"""What else texts name: ONNX Runtime and TensorRT of other kinds, the libraries that engines load, and the server of
an example."""
ENDINGS = {".md", ".py", ".toml", ".yml", ".yaml", ".json", ".ipynb", ".txt", ""}
TEXTS = [
    file
    for place in ("aegisrt", "configs", "docs", ".github", "README.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile")
    for file in ([ROOT / place] if (ROOT / place).is_file() else sorted((ROOT / place).rglob("*")))
    if file.is_file() and file.suffix in ENDINGS and "__pycache__" not in file.parts
]


def known() -> set[str]:
    packages = [name for engine in known_engines()[0].values() for name in engine.all_packages]
    requirements = [*PROJECT["dependencies"], *(one for extra in EXTRAS.values() for one in extra)]
    named = {name for text in requirements for name, _ in installs(f"pip install '{text}'")}
    return (named | TOOLS | {name.replace("_", "-") for name in packages} | {DISTRIBUTION}) - {FOREIGN}


def strangers(text: str) -> list[str]:
    found = list(installs(text))
    names = [name for name, _ in found if name not in known()]
    return names + [
        f"{name}[{one}]" for name, extras in found for one in extras if name == DISTRIBUTION and one not in EXTRAS
    ]


def test_no_text_installs_a_stranger():
    told = {str(file.relative_to(ROOT)): strangers(file.read_text(encoding="utf-8")) for file in TEXTS}
    assert {file: names for file, names in told.items() if names} == {}


def test_no_test_names_the_distribution_of_another_project():
    files = [file for file in sorted((ROOT / "tests").rglob("*.py")) if file.name != "test_installs.py"]
    told = {file.name for file in files if FOREIGN in {name for name, _ in installs(file.read_text(encoding="utf-8"))}}
    assert told == set()


def test_the_name_is_that_of_the_project():
    assert PROJECT["name"] == DISTRIBUTION


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("run `pip install 'aegisrt[onnx]'`", ["aegisrt"]),
        ("pip install aegisrt", ["aegisrt"]),
        ("pip install --upgrade aegisrt==1.0 && x", ["aegisrt"]),
        ('dependencies = ["aegisrt>=1", "numpy"]', ["aegisrt"]),
        ("pip install 'aegisrt-runtime[onnx,metrics]' numpy", []),
        ("pip install 'aegisrt-runtime[onxx]'", ["aegisrt-runtime[onxx]"]),
        ("python -m pip install --quiet .", []),
        ("pip install -r aegisrt.txt -e '.[onnx]'", []),
        ("pip install onnxruntime reqeusts", ["reqeusts"]),
    ],
)
def test_a_stranger_is_found(text, found):
    assert strangers(text) == found
