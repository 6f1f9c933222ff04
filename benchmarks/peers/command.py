"""Race this project against the tools that others quantize with: same model, data, samples and training.

Usage: python benchmarks/peers.py [--zoo NAME ...] [--model M --data D] [--config FILE] [--seeds 3]
           [--rows ROW ...] [--out FOLDER] [--results FOLDER] [--page FILE] [--jobs N]
           [--share-stages] [--report]

Each contender makes a .tflite from the same Keras model, the same preprocessed arrays and calibration
samples, with the epochs, batch sizes and learning rates of the build's own settings, in a process of its own.
All files then answer the whole test set on LiteRT with XNNPACK, and are compared in pairs.

Results are kept in the folder --out. An interrupted run continues with what is missing; what depends on a
change of the model, the data, the settings or the code of a contender is run again. A table for each model is
printed and written, with the raw results as JSON, into the folder --results.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cells
import markdown
from cases import Contest
from comparisons import Judge, compare_all
from rows import ROWS, available
from under_trained import MADE

from models.zoo.catalogue import ZOO
from pipeline.emulation.bundle import cache_folder

SUMMARY = ("training", "train_samples", "test_samples", "calibration_samples", "tasks", "model", "data")


def contests(options: argparse.Namespace) -> list[Contest]:
    """Return what races: the models that are named, or the zoo and the under-trained models."""
    given = options.model or options.config
    named = options.zoo or ([] if given else [*ZOO, *MADE])
    found = []
    for name in named:
        if name in MADE:
            found.append(Contest(name, config=options.out / name / "source" / "pipeline.toml"))
        else:
            found.append(Contest(name, zoo=name))
    if given:
        name = options.name or Path(options.model or options.config.parent.name).stem
        found.append(Contest(name, config=options.config, model=options.model or "", data=options.data or ""))
    return found


def ensure_made(contest: Contest) -> None:
    """Train an under-trained model, in another process, if it is not there."""
    if contest.name not in MADE or contest.config is None or contest.config.exists():
        return
    program = [sys.executable, str(cells.HERE / "under_trained.py"), contest.name, str(contest.config.parent)]
    subprocess.run(program, check=True)


class Race:
    """All cells of some models, rows and seeds, and what is written of them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.out = options, options.out
        self.contests = contests(options)
        self.lock = threading.Lock()
        self.done = 0

    def run(self) -> None:
        """Run what is missing, seed by seed, so that early results cover all models."""
        todo = [
            (contest, seed, row)
            for seed in range(self.options.seeds)
            for contest in self.contests
            for row in self.options.rows or available()
        ]
        for contest in self.contests:
            ensure_made(contest)
        cases: dict[tuple[str, int], Path] = {}

        def cell(task: tuple[Contest, int, str]) -> None:
            contest, seed, row = task
            with self.lock:
                if (contest.name, seed) not in cases:
                    cases[contest.name, seed] = cells.prepare(contest, seed, self.out)
            case, shares = cases[contest.name, seed], self.options.share_stages
            result = cells.run(contest, row, seed, case, self.out, shares_stages=shares)
            with self.lock:
                self.done += 1
                found = self.summarize(contest)
                print(f"[{self.done}/{len(todo)}] {line(contest, result, found)}", flush=True)

        with ThreadPoolExecutor(self.options.jobs) as pool:
            for _ in pool.map(cell, todo):
                pass

    def summarize(self, contest: Contest) -> dict[str, Any]:
        """Compare the finished cells of a model; write them as JSON."""
        folder = self.out / contest.name
        results = [json.loads(file.read_text()) for file in sorted(folder.glob("*/result.json"))]
        results = [each for each in results if each["row"] in ROWS]
        judges = {
            seed: Judge(folder, seed, folder / f"case-{seed}")
            for seed in sorted({each["seed"] for each in results})
        }
        compared, duels = compare_all(results, judges)
        settings = next(iter(judges.values())).settings
        found = {"name": contest.name, **{key: settings[key] for key in SUMMARY}}
        found |= {"cells": compared, "duels": duels}
        self.options.results.mkdir(parents=True, exist_ok=True)
        (self.options.results / f"{contest.name}.json").write_text(json.dumps(found, indent=1) + "\n")
        return found

    def report(self) -> None:
        """Write the tables of all models that have results, those of other runs among them."""
        for contest in self.contests:
            if any((self.out / contest.name).glob("*/result.json")):
                self.summarize(contest)
        models = [json.loads(file.read_text()) for file in sorted(self.options.results.glob("*.json"))]
        order = [*ZOO, *MADE]
        models.sort(key=lambda each: order.index(each["name"]) if each["name"] in order else len(order))
        tables = markdown.page(models)
        print(tables)
        if self.options.page:
            page = self.options.page
            page.write_text(markdown.renewed(page.read_text(encoding="utf-8"), tables), encoding="utf-8")


def line(contest: Contest, result: dict[str, Any], found: dict[str, Any]) -> str:
    """Return what to print of a finished cell."""
    name = f"{contest.name} {result['row']} seed {result['seed']}"
    if "failed" in result:
        return f"{name}: {result['failed']}"
    cell = next(
        each for each in found["cells"] if (each["row"], each["seed"]) == (result["row"], result["seed"])
    )
    value = "" if cell["value"] is None else f"{cell['value']:.2f}, "
    took = "" if result["seconds"] is None else f", {result['seconds']:.0f} s"
    return f"{name}: {value}{result['size_bytes']:,} bytes{took}"


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = ", ".join([*ZOO, *MADE])
    parser.add_argument("--zoo", nargs="+", choices=[*ZOO, *MADE], metavar="NAME", help=f"of {known}")
    parser.add_argument("--model", help="a Keras model of your own, as pipeline build takes it")
    parser.add_argument("--data", help="its data")
    parser.add_argument("--config", type=Path, help="its settings file, for preprocessing and training")
    parser.add_argument("--name", help="of its results; default: that of its file")
    parser.add_argument("--seeds", type=int, default=3, help="how many: 0, 1, ...; default 3")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--out", type=Path, default=cache_folder() / "peers" / "runs", help="working folder")
    parser.add_argument("--results", type=Path, help="folder of the JSON results; default: OUT/results")
    parser.add_argument("--page", type=Path, help="Markdown page below whose mark to put the tables")
    parser.add_argument(
        "--jobs", type=int, default=1, help="cells at once; times are of a shared machine then"
    )
    parser.add_argument(
        "--share-stages", action="store_true", help="builds share their stages, and have no times then"
    )
    parser.add_argument("--report", action="store_true", help="run nothing; only write the tables again")
    options = parser.parse_args(arguments)
    options.out = options.out.absolute()
    options.results = options.results or options.out / "results"
    return options


def main() -> None:
    race = Race(parsed())
    if not race.options.report:
        race.run()
    race.report()
