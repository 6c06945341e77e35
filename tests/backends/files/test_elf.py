"""A library that is cut short or damaged in its headers is found without the linker."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from aegisrt.backends.files.elf import check_elf
from aegisrt.core.result import ErrorCode, ResultError

np = pytest.importorskip("numpy")
LIBRARY = Path(np._core._multiarray_umath.__file__)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has ELF libraries")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    copy = tmp_path / "library.so"
    shutil.copy(LIBRARY, copy)
    return copy


def code(path: Path) -> ErrorCode:
    with pytest.raises(ResultError) as caught:
        check_elf(path)
    return caught.value.error.code


def test_a_whole_library_passes(library):
    check_elf(library)


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.5, 0.9, 0.999])
def test_a_library_that_is_cut_short_is_data_loss(library, share):
    content = library.read_bytes()
    library.write_bytes(content[: max(5, int(len(content) * share))])
    assert code(library) is ErrorCode.DATA_LOSS


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n", b"{}", b"\x08\x09model", b"\x7fEL"])
def test_another_format_is_an_invalid_argument(tmp_path, content):
    path = tmp_path / "model.so"
    path.write_bytes(content)
    assert code(path) is ErrorCode.INVALID_ARGUMENT


def test_a_program_is_an_invalid_argument(library):
    content = bytearray(library.read_bytes())
    content[16] = 2
    library.write_bytes(content)
    assert code(library) is ErrorCode.INVALID_ARGUMENT


def test_another_processor_is_a_failed_precondition(library):
    content = bytearray(library.read_bytes())
    content[18] = 0x28
    library.write_bytes(content)
    assert code(library) is ErrorCode.FAILED_PRECONDITION


@pytest.mark.parametrize("at", [32, 40, 52, 54, 56, 58, 60])
def test_damaged_tables_are_data_loss(library, at):
    content = bytearray(library.read_bytes())
    content[at : at + 2] = b"\xf1\xff"
    library.write_bytes(content)
    assert code(library) is ErrorCode.DATA_LOSS
