"""A real search on the small model: candidates are built, one is chosen, and its settings rebuild it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import replace

import pytest

from pipeline.compiling import Inputs
from pipeline.searching.objectives import Limits
from pipeline.searching.trial import Spec, run_trial
from pipeline.settings import make_config
from pipeline.targets import get_target

pytestmark = pytest.mark.xdist_group("tiny build")
GATES = 'gates.enabled=["accuracy", "full integer", "size", "bit-exactness", "finite outputs"]'


@pytest.fixture(scope="module")
def searched(tiny, built, start, tmp_path_factory):
    """Two trials, in the store of the build, from which the user's own settings come."""
    out = tmp_path_factory.mktemp("searched")
    process = start(
        "search", "--target", "arm64", "--out", out, "--store", built.out / "store", "--trials", "2",
        "--step", "weights", "--validate", "1", "--set", GATES, "--json", cwd=tiny,
    )  # fmt: skip
    stdout, stderr = process.communicate(timeout=1500)
    assert process.returncode == 0, stderr
    return out, json.loads(stdout), stderr


def test_known_recipes_come_first_and_all_trials_end(searched):
    _, found, _ = searched
    recipes = {number: trial["recipe"] for number, trial in found["trials"].items()}
    assert recipes == {"-1": "weights50-qat8", "0": "ptq8", "1": "weights70-qat8"}
    assert {trial["state"] for trial in found["trials"].values()} == {"complete"}


def test_the_users_own_settings_are_not_trained_again(searched):
    _, found, _ = searched
    steps = found["trials"]["-1"]["steps"]
    made = {step["stage"] for step in steps if not step["cached"]}
    assert {"train_qat", "judge_on_held_out"} <= {step["stage"] for step in steps}
    assert made <= {"judge_on_held_out"}


def test_the_cheapest_candidate_that_passes_every_gate_is_chosen_and_released(searched):
    out, found, _ = searched
    assert found["chosen"] == found["validated"][0]["number"]
    folder = "own" if found["chosen"] == -1 else f"{found['chosen']:04d}"
    report = json.loads((out / f"front/{folder}/release/tiny-1.0-arm64/report.json").read_text())
    assert {verdict["outcome"] for verdict in report["verdicts"]} <= {
        "passed",
        "warning",
        "inconclusive",
        "skipped",
    }


def test_the_written_settings_rebuild_the_release(searched, built, start, tmp_path):
    out, found, _ = searched
    process = start(
        "build", "--target", "arm64", "--config", out / "pipeline.toml", "--out", tmp_path,
        "--store", built.out / "store", "--json", cwd=tmp_path,
    )  # fmt: skip
    stdout, stderr = process.communicate(timeout=1500)
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["reproducible_digest"] == found["validated"][0]["digest"]


@pytest.fixture(scope="module")
def own(searched, built):
    """The trial of the user's own settings, whose stages are in the store."""
    out, _, _ = searched
    settings = tomllib.loads((out / "trials/own/pipeline.toml").read_text())
    for table, key in ((settings["model"], "path"), (settings["data"], "source")):
        table[key] = str((out / "trials/own" / table[key]).resolve())
    config, target = make_config(settings, "test"), get_target("arm64")
    return Spec(
        number=-1, settings=settings, inputs=Inputs.of(config, target), target="arm64",
        limits=Limits.of(config.gates, None), folder=out, store=built.out / "store",
    )  # fmt: skip


def test_a_worker_reads_neither_model_nor_data_if_the_store_has_them(searched, own, tiny, tmp_path):
    _, found, _ = searched
    hidden = tiny.rename(tiny.with_name("hidden"))
    try:
        outcome = run_trial(replace(own, folder=tmp_path))
    finally:
        hidden.rename(tiny)
    assert outcome.to_dict()["figures"] == found["trials"]["-1"]["figures"]
    assert all(step["cached"] for step in outcome.steps)


def test_without_the_extra_a_search_says_what_to_install_and_a_build_does_not_need_it(tmp_path):
    hide = "import sys; sys.modules.update(dict.fromkeys(('optuna', 'distributed', 'dask', 'tomli_w')))"
    for words, code, text in (
        (["search", "--target", "arm64"], 4, "pip install '.[search]'"),
        (["build", "--target", "nowhere"], 2, "nowhere"),
        (["--help"], 0, "search"),
    ):
        program = f"{hide}; sys.argv = ['pipeline', *{words}]; from pipeline.cli import main; main()"
        process = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=os.environ,
            check=False,
        )
        assert process.returncode == code, process.stderr
        assert text in process.stdout + process.stderr
