"""The startup benchmark measures what it says; its bounds are held by `make bench`, what is imported by tests/cli."""

import json

import pytest

from aegisrt.bench.measure import TimedCalls
from aegisrt.bench.own import startup
from aegisrt.bench.own.startup import BARE, COMMANDS, HELP, IMPORT, StartupTimes


@pytest.mark.parametrize(("help_ms", "import_ms", "code"), [(400, 200, 0), (401, 200, 1), (400, 201, 1), (30, 90, 0)])
def test_a_bound_that_does_not_hold_fails(monkeypatch, capsys, help_ms, import_ms, code):
    times_ms = {BARE: 100, HELP: help_ms, IMPORT: import_ms}
    samples = {name: TimedCalls(name, (int(ms * 1e6), int(2e9))) for name, ms in times_ms.items()}
    monkeypatch.setattr(startup, "measure", lambda rounds: StartupTimes(samples, 2, {}))
    assert startup.main([]) == code
    assert ("FAILS" in capsys.readouterr().out) is bool(code)


def test_json_has_each_command_or_why_not(capsys):
    startup.main(["--rounds", "1", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert set(told["commands"]) | set(told["missing"]) == set(COMMANDS)
    assert told["commands"][BARE]["ratio"] == 1
    assert told["commands"][BARE]["added_ms"] == 0
    assert 0 < told["commands"][HELP]["best_ms"] <= told["commands"][HELP]["median_ms"]


def test_the_table_has_a_row_for_each_command(capsys):
    startup.main(["--rounds", "1"])
    out = capsys.readouterr().out
    for name in COMMANDS:
        assert sum(line.startswith(f"{name} ") and "<=" not in line for line in out.splitlines()) == 1


def test_a_command_that_fails_says_why(monkeypatch):
    monkeypatch.setitem(COMMANDS, HELP, ("-c", "import sys; sys.exit('no such thing')"))
    assert startup.measure(1, (HELP,)).missing == {HELP: "exit code 1: no such thing"}
