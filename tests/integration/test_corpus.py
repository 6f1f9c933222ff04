"""The short form of benchmarks/corpus: a build that is refused with advice, and some float models."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "benchmarks" / "corpus" / "run.py"


CHECKED = ["heart_in_another_order", "anomalies"]


@pytest.fixture
def corpus(tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, RUN, *arguments, "--out", tmp_path], capture_output=True, text=True
        )

    return run


def test_a_case_that_cannot_be_built_is_refused_with_advice(corpus):
    ran = corpus("sounds")

    assert "| sounds | advised |" in ran.stdout, ran.stdout + ran.stderr
    assert ran.returncode == 0


def test_float_models_of_the_corpus_are_read_as_their_authors_measured_them(corpus):
    ran = corpus("--check", *CHECKED)

    for name in CHECKED:
        assert f"| {name} | right |" in ran.stdout, ran.stdout + ran.stderr
    assert ran.returncode == 0
