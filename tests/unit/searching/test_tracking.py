"""A search in MLflow: its own server application on loopback, with SQLite; the trials are synthetic."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from synthetic_trials import figures_of

from pipeline.errors import ConfigError, ToolchainError
from pipeline.events import TrialFinished, Warned, emit, listening
from pipeline.searching import tracking
from pipeline.searching.mlflow_runs import PARENT, SEARCH, TRIAL
from pipeline.searching.objectives import Outcome
from pipeline.searching.space import space_of
from pipeline.searching.study import Study
from pipeline.searching.tracking import read_tracking, tracked

pytestmark = pytest.mark.xdist_group("search")
SUPPORT = Path(__file__).parents[2] / "support"
STEPS, OBJECTIVES = ("channels", "weights"), ("score", "download")
RESULT = {
    "chosen": 0,
    "validated": [{"number": 0, "digest": "a1b2"}],
    "trials": {"0": {"recipe": "channels50"}},
}


class Server:
    """An MLflow server that can be killed and started again."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{port}"
        command = [sys.executable, str(SUPPORT / "mlflow_server.py"), str(folder), str(port)]
        with (folder / "log").open("w") as log:
            self.program = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def start(self):
        self.program.stdin.write("\n")
        self.program.stdin.flush()
        self.pid = int(self.program.stdout.readline())  # it listens then

    def signal(self, number):
        os.kill(self.pid, number)

    def client(self):
        from mlflow.tracking import MlflowClient

        return MlflowClient(self.uri)

    def runs(self, search):
        """The run of a search, and those of its trials by number."""
        client = self.client()
        experiment = client.get_experiment_by_name("pipeline search").experiment_id
        found = client.search_runs([experiment], f"tags.`{SEARCH}` = '{search}'")
        trials = sorted(
            (run for run in found if run.data.tags[TRIAL]), key=lambda run: int(run.data.tags[TRIAL])
        )
        (parent,) = (run for run in found if not run.data.tags[TRIAL])
        return parent, trials

    def files(self, run):
        return {file.path for file in self.client().list_artifacts(run.info.run_id)}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    made = Server(tmp_path_factory.mktemp("mlflow"))
    made.start()
    yield made
    made.signal(signal.SIGKILL)
    made.program.communicate(timeout=30)


def study_in(folder):
    return Study(folder, {"target": "arm64", "objectives": list(OBJECTIVES)}, space_of(STEPS), OBJECTIVES)


def end_trial(study, state="complete", **others):
    """End another trial as a driver does."""
    number = study.ask(
        {"channels": 0.5, "weights": 0.7, "order": "channels first", "method": "qat"}
        | {
            "learning rate": 1.0,
            "epochs": 1,
        }
    )
    figures = figures_of({"compress": [], "quantize": {"method": "qat"}}) if state == "complete" else None
    study.tell(number, Outcome(state=state, recipe="r", seconds=2.5, figures=figures, **others))
    emit(
        TrialFinished(
            number=number,
            state=state,
            recipe="r",
            reason="",
            values={},
            seconds=2.5,
            finished=0,
            total=0,
            front=[],
        )
    )


@contextmanager
def searching(study, folder, uri):
    """A search whose trials the block ends; yields the warnings."""
    warnings = []
    (folder / "search.json").write_text(json.dumps(RESULT))

    def hear(record):
        if isinstance(record.event, Warned):
            warnings.append(record.event.text)

    with listening(hear), tracked(f"mlflow:{uri}", study, folder, lambda number: f"seed = {number}\n"):
        yield warnings


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_search_that_is_killed_and_continued_logs_every_trial_once(server, tmp_path):
    (tmp_path / "model.keras").write_bytes(b"model")
    np.savez(tmp_path / "data.npz", x_train=np.zeros(1))
    out = tmp_path / "search"
    files = [str(tmp_path / name) for name in ("search", "model.keras", "data.npz")]
    options = json.dumps({"trials": 5, "workers": 1, "lag": 2, "tracking": f"mlflow:{server.uri}"})
    command = [sys.executable, str(SUPPORT / "run_search.py"), *files, options]

    def start(seconds):
        environment = os.environ | {"PYTHONPATH": str(SUPPORT), "TRIAL_SECONDS": seconds}
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    killed = start("0.5")
    wait_for(lambda: len(list(out.glob("trials/*"))) >= 3)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    finished = start("0")
    stdout, stderr = finished.communicate(timeout=120)
    assert finished.returncode == 0, stderr
    assert json.loads(stdout)["trials"] == 5

    import optuna

    study = optuna.load_study(study_name="search", storage=f"sqlite:///{out / 'study.db'}")
    parent, trials = server.runs(study.user_attrs["id"])
    assert [run.data.tags[TRIAL] for run in trials] == ["-1", "0", "1", "2", "3", "4"]
    assert {run.data.tags[PARENT] for run in trials} == {parent.info.run_id}
    assert {run.info.status for run in (parent, *trials)} == {"FINISHED"}
    assert parent.data.params["seed"] == "0"
    assert server.files(parent) == {"search.html", "search.json", "settings.toml"}


def test_a_run_has_what_the_trial_proposed_measured_and_ended_with(server, tmp_path):
    study = study_in(tmp_path)
    with searching(study, tmp_path, server.uri):
        end_trial(study, missed={"drop": -0.5})
        end_trial(study, "stopped", reason="after 33% of the training")
        end_trial(study, "refused", reason="no kernel " * 1000)
    parent, (complete, stopped, refused) = server.runs(study.id)
    states = [run.info.status for run in (complete, stopped, refused)]
    assert states == ["FINISHED", "KILLED", "FAILED"]
    assert complete.data.params["channels"] == "0.5"
    assert complete.data.metrics["rpi4 instructions"] == 9e6
    assert complete.data.metrics["missed/drop"] == -0.5
    assert complete.info.end_time - complete.info.start_time == 2500
    assert stopped.data.tags["reason"] == "after 33% of the training"
    assert refused.data.tags["state"] == "refused"
    assert server.files(complete) == {"pipeline.toml"}
    assert [parent.data.tags[name] for name in ("chosen", "recipe", "digest")] == ["0", "channels50", "a1b2"]


def test_an_interrupted_search_leaves_no_run_running(server, tmp_path):
    study = study_in(tmp_path)
    with suppress(KeyboardInterrupt), searching(study, tmp_path, server.uri):
        end_trial(study)
        raise KeyboardInterrupt
    parent, trials = server.runs(study.id)
    assert parent.info.status == "KILLED"
    assert [run.info.status for run in trials] in ([], ["FINISHED"])  # a continued search logs it


def test_a_run_that_was_left_half_logged_is_completed(server, tmp_path):
    study, client = study_in(tmp_path), server.client()
    with searching(study, tmp_path, server.uri):
        end_trial(study)
    left = server.runs(study.id)[1][0].info.run_id
    client.update_run(left, status="RUNNING")
    client.delete_tag(left, "state")
    with searching(study, tmp_path, server.uri):
        pass
    (run,) = server.runs(study.id)[1]
    assert (run.info.run_id, run.info.status, run.data.tags["state"]) == (left, "FINISHED", "complete")
    assert len(client.get_metric_history(left, "score")) == 1


def test_a_server_that_hangs_delays_no_trial_and_the_end_by_a_limit(server, tmp_path, monkeypatch):
    monkeypatch.setitem(tracking.MAX_END_S, "finished", 0.5)
    study = study_in(tmp_path)
    with searching(study, tmp_path, server.uri) as warnings:
        server.signal(signal.SIGSTOP)
        end_trial(study)
        end_trial(study)
        assert warnings == []  # no time-out has passed
    server.signal(signal.SIGCONT)
    assert len(warnings) == 1
    assert "not everything is logged" in warnings[0]


def test_a_server_that_dies_costs_a_warning_and_no_trial(server, tmp_path):
    study = study_in(tmp_path)
    with searching(study, tmp_path, server.uri) as warnings:
        end_trial(study)
        wait_for(lambda: [run.info.status for run in server.runs(study.id)[1]] == ["FINISHED"])
        server.signal(signal.SIGKILL)
        end_trial(study)
        end_trial(study)
    assert study.finished == [0, 1, 2]
    assert "Connection refused; the search goes on" in warnings[0]
    assert len(warnings) == 2

    server.start()
    with searching(study, tmp_path, server.uri) as warnings:
        end_trial(study)
    parent, trials = server.runs(study.id)
    assert warnings == []
    assert [run.data.tags[TRIAL] for run in trials] == ["0", "1", "2", "3"]
    assert {run.info.status for run in (parent, *trials)} == {"FINISHED"}


def test_a_server_that_is_down_at_the_start_is_refused_without_its_password(tmp_path):
    with (
        pytest.raises(ConfigError) as refused,
        searching(study_in(tmp_path), tmp_path, "http://me:word@127.0.0.1:1"),
    ):
        pytest.fail("the search has begun")
    assert str(refused.value) == (
        "--tracking mlflow:http://127.0.0.1:1: cannot be used (Connection refused); "
        "check server, address and credentials"
    )


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(ToolchainError, match=r"needs mlflow: pip install '\.\[search,mlflow\]'"):
        read_tracking("mlflow:http://127.0.0.1:5000")


@pytest.mark.parametrize(
    ("option", "said"),
    [("mlfow:http://127.0.0.1:5000", "did you mean 'mlflow'"), ("mlflow", "no URI"), ("mlflow:", "no URI")],
)
def test_an_option_that_names_no_tracker_is_refused_with_what_to_write(option, said):
    with pytest.raises(ConfigError, match=said):
        read_tracking(option)
