"""Damaged .tflite files through the whole of ``pipeline validate``: each kind of damage once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("tiny build")

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "validation" / "mutants.py"


def test_every_damaged_file_ends_with_a_verdict_or_one_line_and_the_judging_process_lives(built):
    quantized = next(built.release.glob("*.tflite"))

    run = subprocess.run([sys.executable, PROGRAM, quantized, "--runs", "7"], capture_output=True, text=True)

    assert run.returncode == 0, run.stdout + run.stderr
    assert "parent alive 7 of 7" in run.stdout
    assert "one line: bad input" in run.stdout
    assert "verdict: " in run.stdout
