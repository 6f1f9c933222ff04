"""The tables of benchmarks, made from a finished build: the names in its files are those that they read."""

from __future__ import annotations

import importlib
import json
import runpy
from dataclasses import replace
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


@pytest.fixture
def race(built, tiny, monkeypatch, tmp_path):
    """Start a race of stand-ins for scripts, whose cases come from the stages of the tiny build."""
    for folder in ("benchmarks", "benchmarks/peers"):
        monkeypatch.syspath_prepend(str(ROOT / folder))
    command, cells, rows = (importlib.import_module(name) for name in ("command", "cells", "rows"))
    copying, failing = tmp_path / "copy.py", tmp_path / "fail.py"
    copying.write_text(
        f"import shutil, sys\nopen('{tmp_path}/ran', 'a').write('1')\n"
        "shutil.copy(sys.argv[2] + '/float.tflite', sys.argv[3])\n"
    )
    failing.write_text("raise SystemExit('ValueError: no such layer')\n")
    scripts = {"float": copying, "tflite-ptq": copying, "tfmot-qat": failing}
    for name, script in scripts.items():
        monkeypatch.setitem(rows.ROWS, name, replace(rows.ROWS[name], script=str(script)))
    monkeypatch.setattr(cells, "store_of", lambda _: built.out / "store")
    (tmp_path / "page.md").write_text(f"# Title\n\n{command.markdown.MARK}\nold\n")
    options = [
        "--config",
        f"{tiny}/pipeline.toml",
        "--name",
        "tiny",
        "--out",
        f"{tmp_path}/out",
        "--seeds",
        "1",
    ]
    return command.Race(command.parsed([*options, "--rows", *scripts, "--page", f"{tmp_path}/page.md"]))


def test_contenders_are_compared_in_pairs_and_run_again_only_after_a_change(race, tmp_path):
    race.run()
    race.report()

    found = json.loads((tmp_path / "out" / "results" / "tiny.json").read_text())
    made = {cell["row"]: cell for cell in found["cells"]}
    assert made["tfmot-qat"]["failed"] == "ValueError: no such layer"
    assert made["tflite-ptq"]["value"] == made["float"]["value"] > 90
    assert made["tflite-ptq"]["against"]["float"][0]["gain"] == 0
    assert made["float"]["peak_bytes"] > 10**6
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("# Title\n")
    assert "old" not in page
    assert "| TF-MOT QAT | failed |" in page

    race.run()
    assert len((tmp_path / "ran").read_text()) == 2
    (tmp_path / "copy.py").write_text((tmp_path / "copy.py").read_text() + "print('changed')\n")
    race.run()
    assert len((tmp_path / "ran").read_text()) == 4
