import json

from aegisrt.bench import startup
from aegisrt.bench.startup import BARE, COMMANDS

HELP, IMPORT = "aegisrt --help", "import aegisrt"
LIMIT_HELP_MS, LIMIT_IMPORT_ADDED_MS = 400, 100


def test_help_and_import_stay_within_their_limits():
    """The best of three tries, each the best of its rounds: the limits are for a core that does nothing else."""
    tried = []
    for _ in range(3):
        rows = startup.measure(3, (HELP, IMPORT)).to_json()["commands"]
        tried.append((rows[HELP]["best_ms"], rows[IMPORT]["best_ms"] - rows[BARE]["best_ms"]))
        if tried[-1][0] < LIMIT_HELP_MS and tried[-1][1] < LIMIT_IMPORT_ADDED_MS:
            return
    raise AssertionError(f"(help, import beyond numpy and pydantic) in ms: {tried}")


def test_json_has_each_command_or_why_not(capsys):
    assert startup.main(["--rounds", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["commands"]) | set(told["missing"]) == set(COMMANDS)
    assert told["commands"][BARE]["ratio"] == 1
    assert told["commands"][BARE]["added_ms"] == 0
    assert 0 < told["commands"][HELP]["best_ms"] <= told["commands"][HELP]["median_ms"]


def test_the_table_has_a_row_for_each_command(capsys):
    assert startup.main(["--rounds", "1"]) == 0
    out = capsys.readouterr().out
    for name in COMMANDS:
        assert sum(line.startswith(f"{name} ") for line in out.splitlines()) == 1


def test_a_command_that_fails_says_why(monkeypatch):
    monkeypatch.setitem(COMMANDS, HELP, ("-c", "import sys; sys.exit('no such thing')"))
    assert startup.measure(1, (HELP,)).missing == {HELP: "exit code 1: no such thing"}
