"""A library that nothing is known of: what it does to whoever opens it, it does to another process."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from aegisrt import TVMBackend
from aegisrt.backends.files import elf
from aegisrt.core.result import ErrorCode
from tests.backends import onnx_models as made
from tests.backends.tvm.elsewhere import strip

pytestmark = [
    pytest.mark.engine("tvm"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc makes the libraries"),
]


def compiled(folder: Path, source: str, *options: str) -> Path:
    code, library = folder / "m.c", folder / "m.so"
    code.write_text(source)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(code), *options], check=True)
    return library


@pytest.mark.parametrize(
    ("body", "how"), [("__builtin_trap();", "SIGILL"), ("abort();", "SIGABRT"), ("*(volatile int *)8 = 1;", "SIGSEGV")]
)
def test_start_up_code_that_ends_the_process_is_data_loss(tmp_path, body, how):
    source = f"#include <stdlib.h>\n__attribute__((constructor)) static void start(void) {{ {body} }}\n"
    error = TVMBackend().load(compiled(tmp_path, source)).unwrap_err()
    assert error.code is ErrorCode.DATA_LOSS
    assert how in error.message


def test_a_symbol_that_nobody_has_is_a_failed_precondition(tmp_path):
    source = "int nobody_has_it(void);\nint (*kept)(void) = nobody_has_it;\n"
    error = TVMBackend().load(compiled(tmp_path, source)).unwrap_err()
    assert error.code is ErrorCode.FAILED_PRECONDITION
    assert "nobody_has_it" in f"{error.message} {error.cause}"


def test_a_library_without_a_function_of_tvm_is_an_invalid_argument(tmp_path):
    error = TVMBackend().load(compiled(tmp_path, "int plain(void) { return 1; }\n")).unwrap_err()
    assert error.code in (ErrorCode.INVALID_ARGUMENT, ErrorCode.FAILED_PRECONDITION)
    assert "the log is" not in str(error)


def with_broken_code(library: Path) -> None:
    """Overwrite a library's code with an instruction that no processor has; headers and tables stay whole."""
    content = bytearray(library.read_bytes())
    header = elf._HEADER.unpack(content[: elf._HEADER.size])
    table, size, count = header[6], header[11], header[12]
    for at in range(table, table + size * count, size):
        _, kind, flags, _, offset, length, *_ = elf._SECTION.unpack(content[at : at + size])
        if kind == 1 and flags & 4:
            content[offset : offset + length] = (b"\x0f\x0b" * length)[:length]
    library.write_bytes(content)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="writes an instruction of x86")
def test_a_damaged_library_without_sidecar_ends_another_process(tmp_path):
    source = made.save(tmp_path, made.identity())
    library = tmp_path / "identity.so"
    TVMBackend().build(source, library).unwrap()
    strip(library)
    assert TVMBackend().load(library).is_ok()
    damaged = tmp_path / "damaged.so"
    shutil.copy(library, damaged)
    with_broken_code(damaged)
    check = TVMBackend().load(damaged).unwrap_err()
    assert check.code is ErrorCode.DATA_LOSS
    assert "SIG" in check.message


def test_a_library_whose_inputs_are_huge_is_not_called_to_read_its_signature(tmp_path):
    library = tmp_path / "identity.so"
    TVMBackend().build(made.save(tmp_path, made.identity(made.FLOAT, (1 << 14, 1 << 15))), library).unwrap()
    strip(library)
    error = TVMBackend().load(library).unwrap_err()
    assert error.code is ErrorCode.RESOURCE_EXHAUSTED
    assert "declare `signature`" in error.hint
