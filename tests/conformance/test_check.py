import re
from pathlib import Path

import pytest

from aegisrt.conformance.catalogue import all_checks, select
from aegisrt.conformance.check import check, declares
from aegisrt.conformance.configured import configured
from aegisrt.core.capabilities import Capabilities
from aegisrt.core.resources import configs_dir
from aegisrt.core.result import ResultError
from aegisrt.core.tensor import DataType

CHECKS = all_checks()
PROFILES = sorted(file.stem for file in (configs_dir() / "conformance").glob("*.yaml"))


def test_the_six_rules_of_the_original_design_are_checks():
    rules = (
        "load-valid-model", "execute-after-load", "not-loaded-before-load", "unload-any-number-of-times",
        "load-after-unload", "errors-are-results",
    )  # fmt: skip
    assert [f"lifecycle.{rule}" for rule in rules] == list(CHECKS)[:6]


@pytest.mark.parametrize("one", CHECKS.values(), ids=lambda one: one.id)
def test_a_check_says_what_it_wants_and_why_and_how_to_mend_it(one):
    assert re.fullmatch(r"[A-Z`].*[.]", one.rule.replace("\n", " "), re.DOTALL), one.rule
    assert len(one.why) > 30
    assert len(one.fix) > 20


def test_ids_are_stable():
    """Reports of different years are compared by these ids: add new ones to the file, and change none of the old."""
    listed = Path(__file__).with_name("check_ids.txt").read_text(encoding="utf-8").split()
    assert sorted(listed) == sorted(CHECKS)
    assert len(set(listed)) == len(listed)


def test_an_id_is_registered_once():
    with pytest.raises(ValueError, match="registered already"):
        check("dtypes.fp32", why="", fix="", rule="x")(lambda subject: None)


@pytest.mark.parametrize("name", ["Lifecycle.x", "lifecycle", "a.b.c", "a.b_c", "a. b"])
def test_a_malformed_id_is_refused(name):
    with pytest.raises(ValueError, match="malformed"):
        check(name, why="", fix="", rule="x")(lambda subject: None)


def test_a_need_that_is_not_met_says_what_is_declared():
    can = Capabilities(formats=(".x",), dtypes=frozenset({DataType.FP32}))
    assert declares("dynamic_shapes").unmet == "declares dynamic_shapes=False"
    assert not declares("dynamic_shapes").met_by(can)
    assert declares("dynamic_shapes", False).met_by(can)
    assert CHECKS["dtypes.fp16"].unmet(can) == "declares no FP16"
    assert CHECKS["dtypes.fp32"].unmet(can) is None


def test_exclusion_wins():
    assert [one.id for one in select(["dtypes.fp*"], ["*.fp16"])] == ["dtypes.fp32", "dtypes.fp64"]
    with pytest.raises(ResultError, match=r"no check matches `dtypes\.q"):
        select(["*"], ["dtypes.q*"])


@pytest.mark.parametrize("profile", PROFILES)
def test_every_packaged_profile_chooses_checks(profile):
    options = configured([f"conformance={profile}"]).unwrap()
    assert select(options.checks, options.exclude)


def test_full_is_the_default_and_chooses_everything():
    options = configured([]).unwrap()
    assert options == configured(["conformance=full"]).unwrap()
    assert len(select(options.checks, options.exclude)) == len(CHECKS)


def test_the_purposes_together_cover_every_check():
    chosen = set()
    for profile in ("contract", "files", "values", "load", "leaks"):
        options = configured([f"conformance={profile}"]).unwrap()
        chosen |= {one.id for one in select(options.checks, options.exclude)}
    assert set(CHECKS) - chosen == set()


@pytest.mark.parametrize(
    ("override", "column", "words"),
    [
        ("conformance.cyles=3", 13, "`cyles` is not a field"),
        ("conformance.cycles=x", 20, "`cycles` must be a whole number"),
        ("conformance.cycles=1", 20, "2"),
        ("conformance=quik", 13, "there is no `quik`"),
        ("conformance.checks=lifecycle.*", 20, "`checks` must be a list"),
        ("conformance.tolerances.FP32=-1", 29, "must be"),
    ],
)
def test_a_wrong_override_is_a_diagnostic_with_its_place(override, column, words):
    (found,) = configured([override]).unwrap_err().diagnostics
    assert found.location.file == f"override {override}"
    assert found.location.column == column
    assert words in found.message
