"""The driver of a search, with real workers and a real study; the trials are synthetic."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.xdist_group("search")
SUPPORT = Path(__file__).parents[2] / "support"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(SUPPORT)}
TRIALS = 14


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A model and data, which synthetic trials do not open."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "model.keras").write_bytes(b"model")
    np.savez(folder / "data.npz", x_train=np.zeros(1))
    return folder / "model.keras", folder / "data.npz"


def start(folder, files, function="trial", seconds=0.0, **options):
    options = {"trials": TRIALS, "workers": 2, "lag": 3} | options
    command = [sys.executable, str(SUPPORT / "run_search.py"), str(folder), *map(str, files)]
    return subprocess.Popen(
        [*command, json.dumps(options), function],
        env=ENVIRONMENT | {"TRIAL_SECONDS": str(seconds)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process):
    stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    return json.loads(stdout)


def study_of(folder):
    import optuna

    return optuna.load_study(study_name="search", storage=f"sqlite:///{folder / 'study.db'}")


def recipes(folder):
    return [trial.user_attrs["recipe"] for trial in study_of(folder).trials]


def runs(folder):
    """How often each trial was started."""
    return {path.parent.name: len(path.read_text().split()) for path in folder.glob("trials/*/runs")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, files):
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, finish(start(folder, files))


def alive_in(group):
    """The processes of a group, without those that have ended and are not collected yet."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, members = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(members) == group and state != "Z":
            found.append(stat.parent.name)
    return found


def wait_for_trials(folder, count, process):
    deadline = time.monotonic() + 120
    while len(list(folder.glob("trials/*"))) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_every_trial_that_was_asked_for_ends_once(undisturbed):
    folder, found = undisturbed
    states = [trial.state.name for trial in study_of(folder).trials]
    assert found["trials"] == TRIALS
    assert states == ["COMPLETE"] * TRIALS
    assert runs(folder) == {"own": 1, **{f"{number:04d}": 1 for number in range(TRIALS)}}


def test_a_search_killed_three_times_ends_like_an_undisturbed_one_with_other_workers(
    undisturbed, files, tmp_path
):
    for count in (2, 5, 9):
        process = start(tmp_path, files, seconds=0.3)
        wait_for_trials(tmp_path, count, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert finish(start(tmp_path, files, workers=1, lag=0)) == undisturbed[1]
    assert recipes(tmp_path) == recipes(undisturbed[0])
    assert [trial.state.name for trial in study_of(tmp_path).trials] == ["COMPLETE"] * TRIALS


def test_ctrl_c_leaves_no_trial_running_and_no_process(files, tmp_path):
    process = start(tmp_path, files, seconds=30, workers=1)
    wait_for_trials(tmp_path, 1, process)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=25)  # the trials would take 30 s
    states = {trial.state.name for trial in study_of(tmp_path).trials}
    assert "RUNNING" not in states
    assert not alive_in(process.pid)


def test_a_dead_worker_costs_what_it_held_another_run_and_nothing_else(undisturbed, files, tmp_path):
    process = start(tmp_path, files, seconds=0.5, trials=6)
    wait_for_trials(tmp_path, 3, process)
    newest = max(tmp_path.glob("trials/*/runs"), key=lambda path: path.stat().st_mtime)
    os.kill(int(newest.read_text().split()[-1]), signal.SIGKILL)
    assert finish(process)["trials"] == 6
    # besides the trial that ran, one whose result the worker still held
    assert sum(count - 1 for count in runs(tmp_path).values()) <= 2
    assert {trial.state.name for trial in study_of(tmp_path).trials} == {"COMPLETE"}
    before = runs(tmp_path)

    finish(start(tmp_path, files))  # of a finished search more trials can be asked for
    assert recipes(tmp_path) == recipes(undisturbed[0])
    assert before.items() <= runs(tmp_path).items()


def test_a_trial_that_kills_its_worker_every_time_is_refused(files, tmp_path):
    finish(start(tmp_path, files, "deadly", trials=3, workers=1))
    trials = study_of(tmp_path).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert "its worker died" in trials[1].user_attrs["reason"]
    assert runs(tmp_path) == {"own": 1, "0000": 1, "0002": 1}  # what was done is not done again
