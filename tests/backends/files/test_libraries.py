"""What a shared library needs, as its file says, and what the loader does not find."""

import subprocess

import pytest

from aegisrt.backends.files.elf import missing_libraries, needed_libraries


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A library that needs one that is there, and one that is not."""
    import shutil

    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler to make the library with")
    folder = tmp_path_factory.mktemp("lib")
    (folder / "empty.c").write_text("")
    absent = folder / "libaegisabsent.so.9"
    subprocess.run(
        [compiler, "-shared", "-Wl,-soname,libaegisabsent.so.9", "-o", absent, folder / "empty.c"], check=True
    )
    made = folder / "libmade.so"
    subprocess.run(
        [compiler, "-shared", "-o", made, folder / "empty.c", "-Wl,--no-as-needed", absent, "-lm"], check=True
    )
    return made, absent


def test_what_a_library_needs(library):
    made, absent = library
    assert {"libaegisabsent.so.9", "libm.so.6"} <= set(needed_libraries(made))
    assert missing_libraries(made) == (), "it lies beside"
    absent.rename(absent.with_name("elsewhere"))
    assert missing_libraries(made) == ("libaegisabsent.so.9",)


def test_what_is_no_library_needs_nothing(tmp_path):
    file = tmp_path / "x.so"
    file.write_bytes(b"not a library")
    assert needed_libraries(file) == ()


def test_a_library_that_is_cut_short_needs_nothing(library, tmp_path):
    content = library[0].read_bytes()
    cut = tmp_path / "cut.so"
    for size in (*range(0, 200, 7), len(content) // 2, len(content) - 1):
        cut.write_bytes(content[:size])
        assert needed_libraries(cut) == ()


def test_no_damaged_byte_ends_the_program(library, tmp_path):
    content = bytearray(library[0].read_bytes())
    damaged = tmp_path / "damaged.so"
    for at in range(0, 1024, 3):
        other = content.copy()
        other[at] ^= 0xFF
        damaged.write_bytes(other)
        assert all(isinstance(name, str) for name in needed_libraries(damaged))
