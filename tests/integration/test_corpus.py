"""The short form of benchmarks/corpus: one case is built, one refused with advice, and some are checked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "benchmarks" / "corpus" / "run.py"


CHECKED = ["several_labels", "anomalies"]


@pytest.fixture
def corpus(tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, RUN, *arguments, "--out", tmp_path], capture_output=True, text=True
        )

    return run


def test_cases_of_the_corpus_end_as_they_should(corpus):
    ran = corpus("heart_in_another_order", "sounds")

    assert "| heart_in_another_order | right |" in ran.stdout, ran.stdout + ran.stderr
    assert "| sounds | advised |" in ran.stdout, ran.stdout
    assert ran.returncode == 0


def test_float_models_of_the_corpus_are_read_as_their_authors_measured_them(corpus):
    ran = corpus("--check", *CHECKED)

    for name in CHECKED:
        assert f"| {name} | right |" in ran.stdout, ran.stdout + ran.stderr
    assert ran.returncode == 0
