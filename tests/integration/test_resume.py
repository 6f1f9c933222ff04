"""A build that is interrupted again and again ends like one that was not; a finished one costs nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("tiny build")

MEASURED = {"report.json", "report.txt", "report.html", "SHA256SUMS"}


def wait_for(what, process, seconds=300):
    deadline = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def descendants(process):
    """Ids of all processes below ``process``."""
    below, parents = [], [process.pid]
    while parents:
        parent = parents.pop()
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            found = [int(child) for child in task.read_text().split()]
            below += found
            parents += found
    return below


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Interrupted:
    """What one interruption found: how the build ended, and which of its processes outlived it."""

    def __init__(self, process, out, stage, ending, min_children):
        wait_for(lambda: [*out.glob(f"store/.{stage}-*")], process)
        wait_for(lambda: len(descendants(process)) >= min_children, process)
        time.sleep(0.5)
        children, began = descendants(process), time.monotonic()
        if ending == signal.SIGINT:
            os.killpg(process.pid, ending)  # as a terminal does
        else:
            process.send_signal(ending)
        _, self.stderr = process.communicate(timeout=120)
        self.code, self.seconds = process.returncode, time.monotonic() - began
        deadline = time.monotonic() + 60
        while [child for child in children if alive(child)] and time.monotonic() < deadline:
            time.sleep(0.02)
        self.orphans = [child for child in children if alive(child)]
        self.children = children


@pytest.fixture(scope="module")
def journey(tiny, start, build, tmp_path_factory):
    """A build stopped by Ctrl-C and by SIGKILL in several stages, then left to finish."""
    out = tmp_path_factory.mktemp("journey")
    command = ("build", "--target", "arm64", "--out", out, "--store", out / "store")
    stops = {}
    for stage, ending, children in (
        ("convert_float", signal.SIGINT, 2),
        ("prune_weights", signal.SIGKILL, 1),
        ("infer_test_set", signal.SIGINT, 2),
        ("soak_model", signal.SIGKILL, 2),
    ):
        process = start(*command, cwd=tiny)
        stops[stage, ending] = Interrupted(process, out, stage, ending, children)
    return stops, build(out, cwd=tiny)


@pytest.mark.parametrize("stage", ["convert_float", "infer_test_set"])
def test_ctrl_c_ends_with_130_one_line_and_no_child_left(stage, journey):
    stop = journey[0][stage, signal.SIGINT]

    assert stop.code == 130
    assert stop.stderr.splitlines()[-1] == "pipeline: interrupted; run the same command again to continue"
    assert "Traceback" not in stop.stderr
    assert stop.children
    assert stop.orphans == []


@pytest.mark.parametrize("stage", ["prune_weights", "soak_model"])
def test_no_process_outlives_a_killed_build(stage, journey):
    stop = journey[0][stage, signal.SIGKILL]

    assert stop.code == -signal.SIGKILL
    assert stop.orphans == []


def test_the_resumed_build_has_the_same_digest_and_bytes_in_another_folder(journey, built):
    resumed = journey[1]

    assert resumed.result["reproducible_digest"] == built.result["reproducible_digest"]
    for path in built.release.rglob("*"):
        if path.is_file() and path.name not in MEASURED:
            other = resumed.release / path.relative_to(built.release)
            assert other.read_bytes() == path.read_bytes(), path.name


def test_nothing_half_written_stays(journey):
    out = journey[1].out

    made = ["events.jsonl", "release", "report", "run.json", "store", "tensorboard"]
    assert sorted(path.name for path in out.iterdir()) == made
    assert [path.name for path in out.glob("**/.*")] == []


def test_a_second_build_takes_every_step_from_the_store_without_tensorflow(built, build, tiny):
    again = build(built.out, cwd=tiny, python=("-X", "importtime"))
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in again.stderr.splitlines()}

    assert again.stdout == built.stdout
    assert all(step["cached"] for step in json.loads((built.out / "run.json").read_text())["steps"])
    assert "pipeline" in imported
    assert not imported & {"tensorflow", "keras", "tf_keras", "tensorflow_model_optimization"}


def test_the_recipe_in_a_release_builds_the_same_release(built, build, tiny):
    recipe = built.result["report"]["recipe"]
    again = build(built.out, "--recipe", recipe, cwd=tiny)

    assert recipe == "weights50-qat8"
    assert again.stdout == built.stdout


def test_a_failed_gate_ends_with_1_the_whole_report_and_no_release(built, tiny, tmp_path, start):
    """Only the gates differ from the finished build, so everything that was measured is taken from it."""
    gates = '\n[gates]\naccuracy_drop_points = 0.01\ninconclusive = "fail"\n'
    (strict := tiny / "strict.toml").write_text((tiny / "pipeline.toml").read_text() + gates)
    command = ("build", "--target", "arm64", "--out", tmp_path / "out", "--config", strict.name, "--json")
    command += ("--store", built.out / "store")

    process = start(*command, cwd=tiny)
    stdout, stderr = process.communicate(timeout=120)

    found = json.loads(stdout)
    assert (process.returncode, found["release"]) == (1, None)
    assert stderr.splitlines()[-1].startswith("pipeline: no release: accuracy: got ")
    report = json.loads((tmp_path / "out/report/tiny-1.0-arm64/report.json").read_text())
    assert found["report"] == report
    assert not report["passed"]
    assert len(report["verdicts"]) >= 9
    assert "FAILED" in (tmp_path / "out/report/tiny-1.0-arm64/report.txt").read_text()
    assert not (tmp_path / "out/release").exists()
    steps = json.loads((tmp_path / "out/run.json").read_text())["steps"]
    assert [step["stage"] for step in steps if not step["cached"]] == ["judge"]


def test_a_failed_gate_leaves_the_earlier_release_of_the_name_and_says_so(
    built, build, tiny, tmp_path, start
):
    copy = tmp_path / "build"
    shutil.copytree(built.out, copy, symlinks=True)
    earlier = copy / "release" / built.release.name
    digest = hashlib.sha256((earlier / "manifest.json").read_bytes()).hexdigest()
    gates = '\n[gates]\naccuracy_drop_points = 0.01\ninconclusive = "fail"\n'
    strict = tiny / "strict-again.toml"
    strict.write_text((tiny / "pipeline.toml").read_text() + gates)

    command = ("build", "--target", "arm64", "--out", copy, "--store", copy / "store")
    process = start(*command, "--config", strict, "--json", cwd=tiny)
    stdout, stderr = process.communicate(timeout=120)

    found = json.loads(stdout)
    assert (process.returncode, found["release"], found["report"]["passed"]) == (1, None, False)
    assert f"{earlier} is unchanged: the release of " in stderr
    assert f"digest {digest[:12]}, not this build's" in stderr
    assert hashlib.sha256((earlier / "manifest.json").read_bytes()).hexdigest() == digest
