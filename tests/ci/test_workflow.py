"""The workflow is what GitHub takes, is locked down, and runs the commands of the Makefile."""

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
import yaml

from aegisrt.core.resources import configs_dir
from tests.ci.workflow import FILE, ROOT, load

SCRIPTS = Path(sysconfig.get_paths()["scripts"])
GATE = "github.event_name == 'push' && github.ref == format('refs/heads/{0}', github.event.repository.default_branch)"

pytestmark = pytest.mark.skipif(not FILE.exists(), reason="the workflow is no part of this copy of the project")
needs_make = pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
needs_lint = pytest.mark.skipif(
    not ((SCRIPTS / "zizmor").exists() and (SCRIPTS / "check-jsonschema").exists()),
    reason="check-jsonschema and zizmor come with the extra lint; run: pip install 'aegisrt-runtime[lint]'",
)


def command(*words):
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.returncode, done.stdout


def recipe(target):
    """Return the commands that a Makefile's target runs, each once."""
    code, printed = command("make", "--dry-run", "--always-make", "--no-print-directory", target)
    assert code == 0, printed
    return list(dict.fromkeys(printed.splitlines()))


def checkers():
    return [line.split() for line in recipe("lint") if "check-jsonschema" in line or "zizmor" in line]


@needs_make
@needs_lint
@pytest.mark.parametrize("tool", ["check-jsonschema", "zizmor"])
def test_the_checkers_of_make_lint_are_clean(tool):
    (words,) = [words for words in checkers() if Path(words[0]).name == tool]
    files = [str(file.relative_to(ROOT)) for file in sorted(FILE.parent.iterdir())]
    words = [one for word in words[1:] for one in (files if "*" in word else [word])]
    code, printed = command(str(SCRIPTS / tool), *words)
    assert code == 0, printed


@needs_make
@needs_lint
def test_the_checkers_find_what_is_wrong(tmp_path):
    wrong = re.sub("@[0-9a-f]{40}", "@v7", FILE.read_text())
    wrong = wrong.replace('make "$TARGET"', "make ${{ matrix.target }} ${{ github.head_ref }}")
    (tmp_path / "ci.yml").write_text(wrong)
    code, printed = command(str(SCRIPTS / "zizmor"), "--offline", "--persona", "pedantic", str(tmp_path / "ci.yml"))
    assert code != 0
    assert "template-injection" in printed
    assert "unpinned-uses" in printed
    (tmp_path / "ci.yml").write_text(FILE.read_text().replace("runs-on", "run-on"))
    schema = ("--builtin-schema", "vendor.github-workflows")
    assert command(str(SCRIPTS / "check-jsonschema"), *schema, str(tmp_path / "ci.yml"))[0] != 0


def test_no_finding_of_zizmor_is_silenced():
    assert not [file for file in FILE.parent.iterdir() if "zizmor: ignore" in file.read_text()]
    assert not [path for path in (ROOT / "zizmor.yml", ROOT / ".github" / "zizmor.yml") if path.exists()]


def test_every_action_is_pinned_by_commit_with_its_version():
    used = [one for file in FILE.parent.iterdir() for one in re.findall(r"uses: (\S+)(.*)", file.read_text())]
    assert used
    for action, comment in used:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", action), action
        assert re.fullmatch(r"  # v\d+\.\d+\.\d+", comment), comment


def test_a_job_may_read_the_code_and_nothing_else():
    assert load()["permissions"] == {}
    for name, job in load()["jobs"].items():
        assert job["permissions"] == ({} if name == "verdict" else {"contents": "read"}), name
        assert "timeout-minutes" in job, name
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"] == {"persist-credentials": False}, name


def test_the_site_is_published_from_the_default_branch_alone():
    workflow = yaml.safe_load((FILE.parent / "docs.yml").read_text())
    build, publish = workflow["jobs"]["build"], workflow["jobs"]["publish"]
    assert workflow["permissions"] == {}
    assert build["permissions"] == {"contents": "read"}
    assert [step["run"] for step in build["steps"] if "run" in step] == ["make site"]
    assert build["steps"][-1]["with"]["path"] == yaml.safe_load(_without_tags("mkdocs.yml"))["site_dir"]
    assert publish["permissions"] == {"pages": "write", "id-token": "write"}
    assert publish["if"] == "github.ref == format('refs/heads/{0}', github.event.repository.default_branch)"
    assert not [step for step in publish["steps"] if "run" in step or "checkout" in step["uses"]]


def _without_tags(name):
    """Return a file of YAML without the tags by which MkDocs names Python's objects."""
    return re.sub(r"!!python/\S+", "", (ROOT / name).read_text())


def test_self_hosted_cells_do_what_hosted_ones_do_behind_a_gate():
    hosted, own = load()["jobs"]["hosted"], load()["jobs"]["self-hosted"]
    assert own.pop("if") == GATE
    assert hosted["strategy"].pop("matrix") == "${{ fromJSON(needs.plan.outputs.hosted) }}"
    assert own["strategy"].pop("matrix") == "${{ fromJSON(needs.plan.outputs.self_hosted) }}"
    assert own == hosted


@needs_make
def test_the_examples_are_checked_by_their_own_test():
    assert [step["run"] for step in load()["jobs"]["examples"]["steps"] if "run" in step] == ["make examples"]
    (tests,) = [line for line in recipe("examples") if "pytest" in line]
    assert tests == ".venv-examples/bin/python -m pytest -q tests/docs/test_openvino_backend.py"
    assert (ROOT / tests.split()[-1]).exists()


def test_the_verdict_needs_every_job():
    jobs = load()["jobs"]
    assert set(jobs["verdict"]["needs"]) == set(jobs) - {"verdict"}
    assert jobs["verdict"]["if"] == "always()"
    (step,) = jobs["verdict"]["steps"]
    assert step["env"]["WANTS_SELF_HOSTED"] == f"${{{{ {GATE} }}}}"


@needs_make
def test_the_test_command_and_the_workflow_run_the_same():
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == "exec make --no-print-directory test"
    assert [step["run"] for step in load()["jobs"]["lint"]["steps"] if "run" in step] == ["make lint"]
    unit = yaml.safe_load((configs_dir() / "ci" / "unit-tests.yaml").read_text())
    whole = recipe("test")
    for target in ("lint", unit["target"]):
        assert set(recipe(target)) <= set(whole), target
    command = ".venv-unit/bin/python -m pytest -q -n 2 --durations=15 --write-passed=.venv-unit/passed.txt"
    assert any(line.endswith(command) for line in recipe(unit["target"]))


@needs_make
@pytest.mark.parametrize("file", sorted((configs_dir() / "ci").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_target_of_a_cell_is_the_makefiles(file):
    assert recipe(yaml.safe_load(file.read_text())["target"])
