"""What a person asks of a service: a summary of its statistics, and answers from its socket."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest

RAW = np.random.default_rng(3).integers(0, 256, (20, 4, 4, 1)).astype(np.uint8)


@pytest.fixture
def samples(tmp_path):
    np.save(tmp_path / "image.npy", RAW)
    return tmp_path / "image.npy"


def _line(text):
    lines = text.splitlines()
    assert len(lines) == 1, text
    return lines[0]


def test_stats_is_a_summary_for_a_person(installed, runner, samples):
    runner(installed, "run", "--observe", "all", samples)
    state = installed.parents[1] / "state"
    statistics = json.loads((state / "statistics.json").read_text())
    statistics["outputs"][0]["classes"] = [15, 0, 5]
    (state / "statistics.json").write_text(json.dumps(statistics))

    ran = runner(installed, "stats")

    assert (ran.returncode, ran.stderr) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in ran.stdout.splitlines())
    assert lines["model"] == "tiny 1.0 (arm64)"
    assert lines["digest"] == installed.name[:12]
    assert lines["inferences"] == "20, 20 of them in the histograms"
    assert re.fullmatch(r"p50 [0-9.e+]+ (us|ms)", lines["latency"]), "20 are too few for a p90"
    assert lines["class"] == 'left 75%, a "third", \\ and é 25%'
    assert re.fullmatch(
        r"ai-edge-litert [0-9.]+, started \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", lines["service"]
    )
    assert lines["errors"] == "0 requests refused since it started"
    assert re.fullmatch(r"\d+ MB, \d+ MB at most", lines["memory"])


def test_statistics_without_facts_of_the_service_have_a_shorter_summary(installed, runner, samples):
    runner(installed, "run", samples)
    (installed.parents[1] / "state" / "service.json").unlink()  # as releases of earlier versions leave it

    ran = runner(installed, "stats")

    assert ran.returncode == 0
    assert ran.stdout.splitlines()[0] == "model         tiny 1.0 (arm64)"
    assert "memory" not in ran.stdout


def test_ask_sends_the_samples_of_files_to_a_service(installed, runner, samples, tmp_path):
    path = tmp_path / "model.sock"
    command = [sys.executable, installed / "runner.py", "run", "--socket", path]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as service:
        try:
            deadline = time.monotonic() + 60
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            asked = runner(installed, "ask", "--socket", path, samples)
        finally:
            service.terminate()

    assert asked.returncode == 0, asked.stderr
    assert asked.stdout == runner(installed, "run", samples).stdout


def test_ask_without_a_service_is_one_line(installed, runner, samples, tmp_path):
    ran = runner(installed, "ask", "--socket", tmp_path / "none.sock", samples)

    assert ran.returncode == 1
    assert _line(ran.stderr) == (
        f"runner.py: {tmp_path / 'none.sock'}: No such file or directory; "
        "start the service, or join the group edge-models"
    )
