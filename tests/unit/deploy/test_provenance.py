"""Where a project stands and who builds it, as far as git and the environment say; neither is an error."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from deploy.facts import Builder, Commit
from deploy.provenance import builder_of, commit_of


def git(folder, *arguments):
    names = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a"}
    names |= {"GIT_COMMITTER_EMAIL": "a@b", "GIT_CONFIG_GLOBAL": "/dev/null"}
    subprocess.run(["git", *arguments], cwd=folder, env=os.environ | names, check=True, capture_output=True)


def test_the_commit_is_the_projects_and_says_whether_there_are_changes(tmp_path):
    (file := tmp_path / "file").write_text("a")
    assert commit_of(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert commit_of(tmp_path) is None
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-qm", "one")
    clean = commit_of(tmp_path)
    file.write_text("b")

    assert clean == Commit(sha=clean.sha, dirty=False)
    assert commit_of(tmp_path) == Commit(sha=clean.sha, dirty=True)
    assert commit_of(tmp_path / "missing") is None


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    assert commit_of(Path()) is None


def test_the_builder_is_the_workflow_where_there_is_one():
    environment = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_SERVER_URL": "https://github.com",
        "GITHUB_REPOSITORY": "owner/name",
        "GITHUB_WORKFLOW_REF": "owner/name/.github/workflows/release.yml@refs/tags/v1",
    }

    assert builder_of({}) == Builder()
    assert builder_of(environment) == Builder(
        id="https://github.com/owner/name/.github/workflows/release.yml@refs/tags/v1",
        repository="https://github.com/owner/name",
    )
    assert builder_of(environment | {"GITHUB_SERVER_URL": "file:///etc"}) == Builder()
