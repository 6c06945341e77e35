"""The facts of this machine, and `aegisrt doctor`."""

import json
import subprocess
import sys

import pytest

from aegisrt.cli.main import main
from aegisrt.doctor.environment import cache_facts, examine
from aegisrt.doctor.libraries import missing_libraries, needed_libraries


def test_this_machine_is_examined_without_an_error():
    env = examine()
    assert env.packages["aegisrt-runtime"]
    assert env.packages["numpy"]
    assert env.cache.free_bytes > 0
    assert (env.driver_error is None) == (env.driver_cuda is not None)


def test_doctor_as_json_keeps_the_contract(capsys):
    code = main(["doctor", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert set(answer) == {"ok", "checks"}
    assert code == (0 if answer["ok"] else 1)
    assert all(set(check) == {"id", "status", "detail", "fix"} for check in answer["checks"])
    assert {"packages", "driver", "cache"} <= {check["id"] for check in answer["checks"]}


def test_doctor_as_text(capsys):
    main(["doctor"])
    assert "cache" in capsys.readouterr().out


def test_a_cache_that_others_can_write_to(tmp_path):
    folder = tmp_path / "cache"
    assert cache_facts(folder).unsafe is None, "it would be made for this user alone"
    folder.mkdir(mode=0o700)
    assert cache_facts(folder).unsafe is None
    folder.chmod(0o777)
    assert "chmod go-w" in cache_facts(folder).unsafe[1]


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


def test_importing_the_checks_loads_no_engine():
    engines = "('onnxruntime', 'tvm', 'tensorrt')"
    code = f"import aegisrt.doctor.diagnose, sys; print([name for name in {engines} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_cache_that_is_or_lies_in_a_file(tmp_path):
    file = tmp_path / "file"
    file.touch()
    for path in (file, file / "cache"):
        facts = cache_facts(path)
        assert (facts.writable, facts.in_the_way) == (False, str(file))


def test_a_package_that_raises_what_it_likes_is_told_and_ends_nothing(monkeypatch, tmp_path, capsys):
    (tmp_path / "onnxruntime.py").write_text("raise RuntimeError('this numpy is too new')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    env = examine()
    assert env.providers == ()
    assert "this numpy is too new" in env.broken["onnx"]
