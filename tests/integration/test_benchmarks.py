"""The tables of benchmarks, made from a finished build: the names in its files are those that they read."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.xdist_group("tiny build")

ROOT = Path(__file__).parents[2]


def program(name: str) -> dict[str, object]:
    """The names of a benchmark, which is not run."""
    return runpy.run_path(str(ROOT / "benchmarks" / name))


def test_the_table_of_a_build_has_its_figures(built):
    benchmark = program("build.py")
    validation_s = benchmark["validation_seconds"](built.record)

    table = benchmark["rows"](built.result, 60.0, 10**9, validation_s)

    finished = json.loads((built.record / "events.jsonl").read_text().splitlines()[-1])
    assert 0 < validation_s < finished["seconds"]
    assert f"| validation, both cores | <= 90 s | {validation_s:.0f} s |" in table
    assert [row for row in table if "per inference, rpi5 | >= 2.5x fewer" in row]


def test_the_table_of_the_zoo_has_a_row_of_each_build(built):
    benchmark = program("zoo.py")

    row = benchmark["row"]("tiny", built.result["report"], 60.0)

    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert len(cells) == len(benchmark["COLUMNS"])
    assert all(cells)


def test_a_build_on_a_busy_machine_lists_its_unclear_gates(built):
    rows = built.result["report"]["verdicts"]
    unclear = [row["gate"] for row in rows if row["outcome"] in ("inconclusive", "warning")]

    assert program("busy.py")["unclear"](built.out) == unclear


def test_the_stages_that_a_busy_build_keeps_are_those_before_its_measurements(built):
    stages = [step["stage"] for step in json.loads((built.record / "run.json").read_text())["steps"]]
    before = stages[: stages.index(program("build.py")["MODEL"]) + 1]

    assert [stage for stage in before if not stage.startswith(program("busy.py")["COMPILING"])] == []


def test_a_corpus_case_is_judged_by_its_report(built, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "corpus"))
    corpus = program("corpus/run.py")
    metric = built.result["report"]["accuracy"][0]["metrics"][0]
    expected = corpus["Expected"](model="", data="", metric=metric["baseline"], loss=100.0)

    ended, said = corpus["judge"](expected, 0, "", built.result["report"])

    assert ended == "right"
    assert said.startswith(f"{metric['name']} {metric['baseline']:.2f} -> ")


def test_drift_is_measured_on_what_a_build_stored(built):
    drift = program("deploy/drift.py")
    build = drift["Build"].read(built.out)
    samples = build.samples()
    clean = build.all_of(samples)

    found = drift["Trial"](build, clean, samples.target(0), 20).run(clean, 2)

    assert found.drifted in (0, 0.5, 1)
    assert np.isclose(found.right, 1, atol=0.2)


def test_observing_is_timed_on_a_release(built, monkeypatch, capsys):
    observing = program("deploy/observing.py")
    main = observing["main"]
    for name, value in {"PAIRS": 2, "BLOCK_S": 0.001, "WARM_S": 0.0}.items():
        monkeypatch.setitem(main.__globals__, name, value)
    monkeypatch.setattr("sys.argv", ["observing.py", str(built.release), "--observe", "all"])

    assert main() == 0
    assert "of the inference time" in capsys.readouterr().out
