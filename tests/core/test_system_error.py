"""Errors of the operating system keep their kind, wherever they are caught."""

from __future__ import annotations

import ast
import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import aegisrt
from aegisrt.core.resources import configs_dir
from aegisrt.core.result import ErrorCode
from aegisrt.core.system_error import is_exhausted, system_code, system_error

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EAGAIN, errno.EFBIG)


@pytest.mark.parametrize("number", EXHAUSTED, ids=errno.errorcode.get)
def test_what_ran_out_is_never_a_matter_of_permissions(number):
    error = system_error(OSError(number, os.strerror(number), "/a"), "/a cannot be written", "chmod +w /a").error
    assert error.code is ErrorCode.RESOURCE_EXHAUSTED
    assert os.strerror(number) in error.message
    assert "chmod" not in error.hint


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EACCES, ErrorCode.PERMISSION_DENIED), (errno.EPERM, ErrorCode.PERMISSION_DENIED),
        (errno.EROFS, ErrorCode.PERMISSION_DENIED), (errno.ENOENT, ErrorCode.NOT_FOUND),
        (errno.EISDIR, ErrorCode.INVALID_ARGUMENT), (errno.EXDEV, ErrorCode.INTERNAL),
    ],
)  # fmt: skip
def test_other_errors_have_the_code_of_their_number_and_the_callers_hint(number, code):
    error = system_error(OSError(number, os.strerror(number)), "no", "chmod +w /a").error
    assert (error.code, error.hint) == (code, "chmod +w /a")


def test_a_folder_for_temporary_files_that_is_full(monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(tempfile, "tempdir", None)
    with pytest.raises(FileNotFoundError) as caught:
        tempfile.gettempdir()
    assert is_exhausted(caught.value)


def test_errors_without_a_number():
    assert system_code(OSError("odd"), ErrorCode.UNAVAILABLE) is ErrorCode.UNAVAILABLE
    assert system_code(MemoryError()) is ErrorCode.RESOURCE_EXHAUSTED
    assert is_exhausted(ImportError("libx.so: cannot open shared object file: Too many open files"))
    assert not is_exhausted(ImportError("No module named x"))


def test_no_handler_of_the_systems_errors_decides_without_their_number():
    """A code that an `except OSError` writes itself would be the same for a full disk and for a missing permission."""
    decided = []
    for file in Path(aegisrt.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler) and node.type is not None and _catches_os_error(node.type):
                body = ast.unparse(node)
                if "ErrorCode." in body and "system_error(" not in body and "is_exhausted(" not in body:
                    decided.append(f"{file}:{node.lineno}")
    assert decided == []


def _catches_os_error(caught: ast.expr) -> bool:
    """Whether a handler is for errors of the system; with EOFError, it is for the end of a connection."""
    names = {name.id for name in ast.walk(caught) if isinstance(name, ast.Name)}
    return bool(names & {"OSError", "PermissionError"}) and "EOFError" not in names


STARVED = """
import os, resource, sys
from aegisrt import MockBackend, ONNXBackend, deploy
path, what = sys.argv[1:]
manifest = {"models": {"m": {"path": path, "backend": "mock"}}}
calls = {"mock": lambda: MockBackend().load(path), "onnx": lambda: ONNXBackend().load(path),
         "first deploy": lambda: deploy(manifest), "deploy": lambda: deploy(manifest), "demo": deploy}
if what == "deploy":
    calls[what]().unwrap().close()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
try:
    while True:
        os.open(os.devnull, os.O_RDONLY)
except OSError:
    error = calls[what]().unwrap_err()
print(error.code, error.hint)
"""


@pytest.mark.parametrize("what", ["mock", "onnx", "first deploy", "deploy", "demo"])
def test_without_file_descriptors_everything_is_resource_exhausted(what):
    command = [sys.executable, "-c", STARVED, str(configs_dir() / "model" / "digits.onnx"), what]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "RESOURCE_EXHAUSTED raise the limit of open files: `ulimit -n`\n", done.stderr
