"""The short form of benchmarks/corpus: one case that is built and one that is refused with advice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).parents[2] / "benchmarks" / "corpus" / "run.py"


def test_cases_of_the_corpus_end_as_they_should(tmp_path):
    ran = subprocess.run(
        [sys.executable, RUN, "heart_in_another_order", "sounds", "--out", tmp_path],
        capture_output=True,
        text=True,
    )

    assert "| heart_in_another_order | right |" in ran.stdout, ran.stdout + ran.stderr
    assert "| sounds | advised |" in ran.stdout, ran.stdout
    assert ran.returncode == 0
