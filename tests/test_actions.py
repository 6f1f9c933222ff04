"""The GitHub action and the workflows: linted, pinned, and safe against what is in their inputs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ACTION = ROOT / "action.yml"
FILES = [ACTION, *sorted((ROOT / ".github" / "workflows").glob("*.yml"))]
USES = re.compile(r"uses: (\S+)(.*)")


def test_the_linter_finds_nothing() -> None:
    linter = Path(sys.executable).parent / "actionlint"
    done = subprocess.run([linter, "-no-color"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_foreign_actions_are_pinned_to_a_commit_that_says_its_version(path: Path) -> None:
    for used, comment in USES.findall(path.read_text()):
        if used != "./":
            assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", used), used
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), used


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_script_has_an_expression_in_it(path: Path) -> None:
    """What an expression gives may hold a command; environment variables are only ever values."""
    scripts = re.findall(r"run: (?:\|\n((?:(?: {8,}.*)?\n)+)|(.*)\n)", path.read_text())
    assert scripts
    for block, line in scripts:
        assert "${{" not in block + line


def test_every_input_of_the_action_reaches_the_build() -> None:
    text = ACTION.read_text()
    inputs = re.findall(r"^  ([\w-]+):$", text.partition("inputs:")[2].partition("outputs:")[0], re.MULTILINE)
    assert len(inputs) > 5
    for name in inputs:
        assert f"${{{{ inputs.{name} }}}}" in text, name


def test_the_workflow_that_releases_uses_this_action() -> None:
    assert "uses: ./" in (ROOT / ".github/workflows/release.yml").read_text()


def test_a_failed_build_hands_on_no_release_that_an_earlier_one_left(tmp_path: Path) -> None:
    earlier = tmp_path / "build/release/model-1.0-arm64"
    earlier.mkdir(parents=True)
    output = tmp_path / "output"
    output.touch()
    refusing = tmp_path / "pipeline"
    refusing.write_text("#!/bin/sh\nexit 1\n")
    refusing.chmod(0o755)
    inputs = {"TARGET": "arm64", "COUNTER": "1", "OUT": str(tmp_path / "build"), "PIPELINE": str(refusing)}
    others = ("CONFIG", "VERSION", "VALID_DAYS", "ARGUMENTS")
    keys = ("EDGE_PIPELINE_SIGNING_KEY", "EDGE_PIPELINE_SIGNING_PASSWORD")
    files = {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}

    done = subprocess.run(
        [ROOT / ".ci/build-in-actions"],
        env=dict(os.environ) | dict.fromkeys((*others, *keys), "") | inputs | files,
        check=False,
    )

    assert (done.returncode, output.read_text()) == (1, "")
    assert earlier.is_dir()
