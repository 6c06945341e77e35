"""Which files may hold a model's weights: ONNX Runtime's rule, so that all engines answer alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aegisrt.backends.files.source import weights_file
from aegisrt.core.result import ErrorCode, ResultError

WEIGHTS = "weights.bin"


def file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"content")
    return path


def link(path: Path, target: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)
    return path


def beside(top: Path) -> Path:
    file(top / "m" / WEIGHTS)
    return file(top / "m" / "model.onnx")


def download_cache(top: Path) -> Path:
    """As huggingface_hub has it: both are links to files in one folder elsewhere."""
    file(top / "blobs" / "aa")
    file(top / "blobs" / "bb")
    link(top / "snapshots" / "0123" / WEIGHTS, "../../blobs/bb")
    return link(top / "snapshots" / "0123" / "model.onnx", "../../blobs/aa")


def mounted_volume(top: Path) -> Path:
    """As Kubernetes mounts a ConfigMap: links through a link to a folder."""
    file(top / "m" / "..2026" / "model.onnx")
    file(top / "m" / "..2026" / WEIGHTS)
    link(top / "m" / "..data", "..2026")
    link(top / "m" / WEIGHTS, f"..data/{WEIGHTS}")
    return link(top / "m" / "model.onnx", "..data/model.onnx")


def beside_a_linked_model(top: Path) -> Path:
    file(top / "blobs" / "aa")
    file(top / "m" / WEIGHTS)
    return link(top / "m" / "model.onnx", "../blobs/aa")


def linked_folder(top: Path) -> Path:
    beside(top)
    return link(top / "other", "m") / "model.onnx"


def hard_link(top: Path) -> Path:
    model = beside(top)
    (top / "m" / "again").hardlink_to(top / "m" / WEIGHTS)
    return model


def outside(top: Path) -> Path:
    file(top / "secrets" / "key")
    link(top / "m" / WEIGHTS, "../secrets/key")
    return file(top / "m" / "model.onnx")


def beside_the_target_of_a_linked_model(top: Path) -> Path:
    file(top / "blobs" / "aa")
    file(top / "blobs" / WEIGHTS)
    return link(top / "m" / "model.onnx", "../blobs/aa")


def link_to_nothing(top: Path) -> Path:
    link(top / "m" / WEIGHTS, "gone.bin")
    return file(top / "m" / "model.onnx")


PERMITTED: tuple[Callable[[Path], Path], ...] = (
    beside, download_cache, mounted_volume, beside_a_linked_model, linked_folder, hard_link,
)  # fmt: skip
REFUSED: dict[Callable[[Path], Path], ErrorCode] = {
    outside: ErrorCode.PERMISSION_DENIED,
    beside_the_target_of_a_linked_model: ErrorCode.NOT_FOUND,
    link_to_nothing: ErrorCode.NOT_FOUND,
}


@pytest.mark.parametrize("layout", PERMITTED, ids=lambda layout: layout.__name__)
def test_weights_are_found_through_links_that_stay_beside_the_model(tmp_path, layout):
    assert weights_file(layout(tmp_path), WEIGHTS).read_bytes() == b"content"


@pytest.mark.parametrize("layout", REFUSED, ids=lambda layout: layout.__name__)
def test_other_weights_are_refused(tmp_path, layout):
    with pytest.raises(ResultError) as caught:
        weights_file(layout(tmp_path), WEIGHTS)
    assert caught.value.error.code is REFUSED[layout]


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/../../secret"])
def test_names_that_lead_outside_are_refused(tmp_path, name):
    model = beside(tmp_path)
    file(tmp_path / "secret")
    with pytest.raises(ResultError) as caught:
        weights_file(model, name)
    assert caught.value.error.code is ErrorCode.PERMISSION_DENIED
    assert name in caught.value.error.message


def test_a_link_to_nothing_names_its_target(tmp_path):
    with pytest.raises(ResultError, match=r"is a link to gone\.bin, which does not exist"):
        weights_file(link_to_nothing(tmp_path), WEIGHTS)
