"""Every example runs as its first lines say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

pytestmark = pytest.mark.xdist_group("tiny build")


def test_a_release_runs_and_gives_its_golden_outputs(built):
    run = subprocess.run(
        [sys.executable, EXAMPLES / "run_release.py", built.release],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines()[-1] == "64 of 64 golden outputs are equal to the bit"


def test_every_example_is_run_here():
    assert [path.name for path in EXAMPLES.glob("*.py")] == ["run_release.py"]
