"""The facts of this machine, and `aegisrt doctor`."""

import json
import subprocess
import sys

from aegisrt.cli.main import main
from aegisrt.doctor.environment import cache_facts, examine


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
    assert "onnx" not in env.facts
    assert "this numpy is too new" in env.broken["onnx"]
