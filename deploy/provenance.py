"""``provenance.json``: how a release came to be, as an in-toto statement with SLSA's predicate.

Formats: https://in-toto.io/Statement/v1 and https://slsa.dev/spec/v1.0/provenance. No time, no host, no user
and no place on this machine is in it: a build of the same inputs by the same builder has the same bytes.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.facts import Builder, Commit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deploy.facts import ReleaseFacts

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:edge-deploy-pipeline:build:v1"
GIT_TIMEOUT_S = 10.0
# Content of a folder or of several files: no single file has this sum.
CONTENT_DIGEST = "contentSha256"
_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?\Z")
_URL = re.compile(r"https://[A-Za-z0-9.-]+(:\d+)?\Z")
_PATH = re.compile(r"[A-Za-z0-9_./@+-]{1,300}\Z")


def provenance(facts: ReleaseFacts) -> str:
    """Return the statement as JSON; equal facts give equal bytes."""
    statement = {
        "_type": STATEMENT,
        "subject": [{"name": facts.file, "digest": {"sha256": facts.sha256}}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"target": facts.target, "config": facts.config},
                "resolvedDependencies": _dependencies(facts),
            },
            "runDetails": {
                "builder": {
                    "id": facts.builder.id,
                    "version": {"edge-deploy-pipeline": facts.project},
                },
            },
        },
    }
    return json.dumps(statement, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"


def _dependencies(facts: ReleaseFacts) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {
            "name": source.role,
            "digest": {CONTENT_DIGEST: source.digest},
            "annotations": {"location": source.location},
        }
        for source in facts.sources
    ]
    found.append({"name": "calibration.json", "digest": {"sha256": facts.calibration_sha256}})
    if facts.commit is not None:
        project: dict[str, Any] = {
            "name": "project",
            "digest": {"gitCommit": facts.commit.sha},
            "annotations": {"dirty": facts.commit.dirty},
        }
        if facts.builder.repository:
            project["uri"] = f"git+{facts.builder.repository}"
        found.append(project)
    found += [
        {"name": name, "uri": f"pkg:pypi/{name.lower().replace('_', '-')}@{version}"}
        for name, version in sorted(facts.tools.items())
    ]
    return found


def builder_of(environment: Mapping[str, str]) -> Builder:
    """Return the builder: the workflow in a run of GitHub Actions, else ``"local"``."""
    if environment.get("GITHUB_ACTIONS") != "true":
        return Builder()
    server = environment.get("GITHUB_SERVER_URL", "")
    workflow = environment.get("GITHUB_WORKFLOW_REF", "")
    repository = environment.get("GITHUB_REPOSITORY", "")
    if not (_URL.match(server) and _PATH.match(workflow) and _PATH.match(repository)):
        return Builder()
    return Builder(id=f"{server}/{workflow}", repository=f"{server}/{repository}")


def work_tree_of(folder: Path) -> Path | None:
    """Return the top folder of the git work tree that ``folder`` is in; None if it is in none."""
    top = _git(folder, "rev-parse", "--show-toplevel")
    return Path(top) if top else None


def commit_of(folder: Path) -> Commit | None:
    """Return the git commit of the project around ``folder``; None if there is none, or git fails."""
    sha = _git(folder, "rev-parse", "--verify", "HEAD")
    if sha is None or not _SHA.match(sha):
        return None
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return Commit(sha=sha, dirty=changes is None or bool(changes))


def _git(folder: Path, *arguments: str) -> str | None:
    # A project's own settings may name programs that these commands would run.
    quiet = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
    try:
        run = subprocess.run(
            ["git", *quiet, "-C", str(folder), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return run.stdout.decode(errors="replace").strip() if run.returncode == 0 else None
