"""`Workflow`: `.github/workflows/ci.yml` as its jobs and steps, with expressions evaluated for an event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.ci.expressions import as_text, evaluate, substitute

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / ".github" / "workflows" / "ci.yml"
DEFAULT_BRANCH = "trunk"
_REPOSITORY = {"repository": {"default_branch": DEFAULT_BRANCH}}
EVENTS: dict[str, dict[str, Any]] = {
    "pull_request": {"event_name": "pull_request", "ref": "refs/pull/7/merge", "event": _REPOSITORY},
    "push": {"event_name": "push", "ref": f"refs/heads/{DEFAULT_BRANCH}", "event": _REPOSITORY},
    "push of another branch": {"event_name": "push", "ref": "refs/heads/topic", "event": _REPOSITORY},
    "schedule": {"event_name": "schedule", "ref": f"refs/heads/{DEFAULT_BRANCH}", "event": {}},
    "workflow_dispatch": {"event_name": "workflow_dispatch", "ref": "refs/heads/topic", "event": _REPOSITORY},
}
"""The context `github` of each kind of event; `push` is one to the default branch."""


@dataclass(frozen=True)
class Step:
    """A step with a script."""

    job: str
    name: str
    script: str
    environment: tuple[tuple[str, str], ...]
    """What the job's and the step's `env` set."""
    id: str | None = None


def load() -> dict[str, Any]:
    """Return the workflow as it is written."""
    workflow: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return workflow


def runs(job: str, contexts: Mapping[str, Any]) -> bool:
    """Return whether the `if` of a job holds; a job without one runs."""
    return bool(evaluate(load()["jobs"][job].get("if", "always()"), contexts))


def steps(job: str, contexts: Mapping[str, Any]) -> Iterator[Step]:
    """Yield the steps of a job that have a script and whose `if` holds."""
    said = load()["jobs"][job]
    for step in said["steps"]:
        if "run" not in step or not evaluate(step.get("if", "always()"), contexts):
            continue
        assert "${{" not in step["run"], "a script takes what it needs from its environment"
        environment = {**said.get("env", {}), **step.get("env", {})}
        values = {name: as_text(substitute(value, contexts)) for name, value in environment.items()}
        yield Step(job, step["name"], step["run"], tuple(values.items()), step.get("id"))
