"""The tutorial, word for word, from the model to the prediction; its output is as the page shows it.

Set-up, the first block, is what made the environment of the tests. The build trains less than a user's.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tutorial" / "first-release.md").read_text()
BLOCKS = [
    (commands, "".join(re.findall(r"```text\n(.*?)```", after, re.DOTALL)))
    for commands, after in re.findall(r"```sh\n(.*?)```(.*?)(?=```sh|\Z)", PAGE, re.DOTALL)
]
"""Each block of commands, and the output that follows it."""
HEADS = {
    "Gates",
    "Float",
    "Chosen",
    "result",
    "release",
    "digest",
    "Next",
    "inspect",
    "report",
    "predict",
    "verify",
    "deploy",
}
"""First words in the output of a build, whatever its outcome."""
FASTER = "--fast --method ptq --set validate.operators=false --set validate.shift.samples=64"
MAX_COMMANDS = 10

pytestmark = pytest.mark.xdist_group("tiny build")


def shape(line: str) -> str:
    """Return a line without what differs between machines: numbers, digests, widths, the order of answers."""
    return " ".join(sorted(re.sub(r"\b[0-9a-f]{12,}\b|[-+]?\d[\d,.]*", "#", line).replace(",", " ").split()))


def labels(text: str) -> list[str]:
    """Return the first word of each line that begins a row."""
    return [line.split()[0] for line in text.splitlines() if line[:1].strip()]


def test_the_tutorial_has_at_most_ten_commands():
    assert sum(len(commands.splitlines()) for commands, _ in BLOCKS) <= MAX_COMMANDS


def test_the_tutorial_makes_a_release_and_a_prediction_as_it_shows(tmp_path):
    examples = tmp_path / "clone" / "examples"
    examples.mkdir(parents=True)
    (examples / "train_shapes.py").write_bytes((ROOT / "examples" / "train_shapes.py").read_bytes())
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "COLUMNS": "110",
    }
    folder = examples.parent
    (_, *blocks) = BLOCKS
    for commands, shown in blocks:
        program = commands.replace("pipeline build", f"pipeline build {FASTER}")
        done = subprocess.run(
            ["sh", "-e", "-c", f"{program}\npwd >&2"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{program}\n{done.stdout}\n{done.stderr}"
        folder = Path(done.stderr.splitlines()[-1])
        if "pipeline build" in commands:  # trained otherwise, it may choose otherwise
            assert set(labels(shown)) >= HEADS
            missing = HEADS - set(labels(done.stdout))
        else:
            given = {shape(line) for line in done.stdout.splitlines()}
            missing = {line for line in shown.splitlines() if shape(line) not in given}
        assert not missing, f"{commands}\n{done.stdout}"
    assert (folder / "build/release/model-0.1.0-arm64/release.sig").is_file()
