"""Measure what the driver of a search spends on a trial, with more and more trials in the study.

Usage: python benchmarks/search/driver.py [--trials 100,1000,10000] [--nsga2 1000] [--open 2000] [--out FILE]

CPU time of this process, of the parts that a driver runs for each trial: the proposal, the study in
SQLite, the front, the event, and the page that it writes now and then; and of continuing a search. Also
the sizes of the study, the page, and of what is sent to a worker and comes back. Trials are those of
``surrogate.py``, with as many stages as a build. NSGA-II is only asked up to --nsga2 trials.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from idle import machine
from synthetic import outcome_of

from deploy.facts import Builder
from pipeline.artifacts import Source
from pipeline.compiling import Inputs
from pipeline.config import GatesConfig
from pipeline.release.documents import Origin
from pipeline.searching.front import BASELINE, Front
from pipeline.searching.halving import may_stop
from pipeline.searching.objectives import Limits, objectives_of
from pipeline.searching.page import PAGE, VALUES, write_result
from pipeline.searching.proposals import Proposals
from pipeline.searching.result import Found
from pipeline.searching.search import MAX_COMPARED
from pipeline.searching.space import STEPS, settings_with, space_of
from pipeline.searching.study import FILE, Study
from pipeline.searching.trial import Spec
from pipeline.searching.written import settings_text
from pipeline.targets import get_target

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.searching.objectives import Outcome
    from pipeline.searching.space import Params

TARGET, LAG, AVERAGED = "arm64", 4, 50
SPACE, OBJECTIVES = space_of(STEPS), objectives_of(get_target(TARGET), ())
LIMITS = Limits.of(GatesConfig(), None)
INPUTS = Inputs(
    name="model-1.0.0-arm64",
    model=Source(location="/shared/model.keras", digest="0" * 64),
    data=Source(location="/shared/data.npz", digest="0" * 64),
    against=None,
    field=None,
    origin=Origin(root="/shared", created=None, builder=Builder(), commit=None),
)
OWN_SETTINGS: dict[str, Any] = {
    "model": {"path": "resnet8.keras"},
    "data": {"source": "fashion_mnist.npz"},
    "compress": [{"method": "weights", "sparsity": 0.5}],
    "quantize": {"method": "qat"},
    "project": {"name": "resnet8"},
    "seed": 0,
}


class Clock:
    """CPU seconds of parts, by name, of which the last ones are averaged."""

    def __init__(self) -> None:
        self._spent: dict[str, list[float]] = defaultdict(list)

    def __call__(self, name: str, part: Callable[..., Any], *given: Any) -> Any:
        """Call a part, and keep how long it took."""
        began = time.process_time()
        found = part(*given)
        self._spent[name].append(time.process_time() - began)
        return found

    def last(self) -> dict[str, float]:
        """Return the mean of the last times, in seconds."""
        return {name: sum(each[-AVERAGED:]) / len(each[-AVERAGED:]) for name, each in self._spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of the driver for each trial.")
    parser.add_argument("--trials", default="100,1000,10000")
    parser.add_argument("--nsga2", type=int, default=1000)
    parser.add_argument("--open", type=int, default=2000, help="Open trials of a large cluster.")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    marks = sorted(int(each) for each in options.trials.split(","))
    with tempfile.TemporaryDirectory() as folder:
        rows = grow(Path(folder), marks)
    few = [mark for mark in marks if mark <= options.nsga2]
    many = [mark for mark in marks if mark >= 2 * options.open]
    for sampler, lag, at in (("nsga2", LAG, few), ("tpe", LAG, marks), ("tpe", options.open, many)):
        for mark, seconds in proposal_seconds(sampler, lag, at).items():
            kind = f"{sampler}, {lag:,} open"
            rows[mark] |= {f"ask {kind}": seconds["ask"], f"replay {kind}": seconds["replay"]}
    front = {f"a front of {size}": front_seconds(size) for size in (100, 1000)}
    found = {"by_trials": rows, "front": front, "bytes": sizes(), "machine": machine()}
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    show(found)


def grow(folder: Path, marks: list[int]) -> dict[int, dict[str, float]]:
    """Fill a study; return what a trial takes when there are so many.

    Only the last trials of each size are written one by one; before them are copies of their rows.
    """
    rows = {}
    study, proposals = Study(folder, {}, SPACE, OBJECTIVES), Proposals(SPACE, OBJECTIVES, "random", LAG, 0)
    study.tell(BASELINE, outcome_of(spec_of(BASELINE, None)))
    _write(study, proposals, min(AVERAGED, marks[0] // 2), Clock())
    for mark in marks:
        last = min(AVERAGED, mark // 2)
        copy_trials(folder / FILE, mark - last)
        began = time.process_time()
        study = Study(folder, {}, SPACE, OBJECTIVES)
        opened = time.process_time() - began
        resident, clock = psutil.Process().memory_info().rss, Clock()
        _write(study, proposals, last, clock)
        rows[mark] = {**clock.last(), "open": opened, "resident bytes": resident, **_page(study, folder)}
        print(f"{mark} trials", file=sys.stderr, flush=True)
    return rows


def _write(study: Study, proposals: Proposals, count: int, clock: Clock) -> None:
    for _ in range(count):
        params = proposals.next(study.outcomes)
        number = clock("write a new trial", study.ask, params)
        settings = clock("settings of a trial", settings_with, OWN_SETTINGS, params)
        clock("their text", settings_text, settings, Path("/search"))
        clock("write an outcome", study.tell, number, outcome_of(spec_of(number, params)))


def copy_trials(file: Path, count: int) -> None:
    """Copy the rows of the trials of a study, until it has so many."""
    with closing(sqlite3.connect(file)) as database, database:
        [own] = database.execute("SELECT COUNT(*) FROM trials").fetchone()
        for table in ("trials", "trial_params", "trial_values", "trial_user_attributes"):
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            key = "number" if table == "trials" else columns[0]
            for offset in range(own, count, own):
                moved = {"trial_id": f"trial_id + {offset}"}
                moved[key] = f"number + {offset}" if table == "trials" else "NULL"
                values = ", ".join(moved.get(name, name) for name in columns)
                within = f"trial_id <= {min(own, count - offset)}"
                database.execute(f"INSERT INTO {table} SELECT {values} FROM {table} WHERE {within}")


def front_seconds(size: int) -> float:
    """Return the CPU seconds of comparing a trial with a front of so many."""
    outcome = outcome_of(spec_of(BASELINE, None))
    assert outcome.figures is not None
    front, seconds = Front(OBJECTIVES), 0.0
    for number in range(size):
        figures = replace(outcome.figures, download_bytes=size + number, memory_bytes=size - number)
        began = time.process_time()
        front.add(number, replace(outcome, figures=figures))
        seconds = time.process_time() - began
    return seconds


def _page(study: Study, folder: Path) -> dict[str, float]:
    found = Found(
        objectives=OBJECTIVES, outcomes=dict(study.outcomes), front=tuple(study.front.numbers),
        validated=(), chosen=None, folder=folder,
    )  # fmt: skip
    began = time.process_time()
    write_result(found, TARGET, 10**6)
    return {
        "page": time.process_time() - began,
        "front trials": len(found.front),
        "page bytes": (folder / PAGE).stat().st_size,
        "values bytes": (folder / VALUES).stat().st_size,
        "study bytes": (folder / FILE).stat().st_size,
    }


def proposal_seconds(sampler: str, lag: int, marks: list[int]) -> dict[int, dict[str, float]]:
    """Return the CPU seconds of a proposal after so many trials, and of making them again when it continues.

    Up to the last ones, trials are given, as when a search is continued.

    Args:
        lag: trials that are open.
    """
    rows = {}
    chance = Proposals(SPACE, OBJECTIVES, "random", LAG, 0)
    given: list[Params] = []
    outcomes: dict[int, Outcome] = {}
    for number in range(max(marks, default=0)):
        given.append(chance.next(outcomes))
        outcomes[number] = outcome_of(spec_of(number, given[-1]))
    for mark in marks:
        proposals = Proposals(SPACE, OBJECTIVES, sampler, lag, 0)
        asks = min(AVERAGED, mark // 2)
        began = time.process_time()
        for number in range(mark - asks):
            proposals.next(outcomes, given[number])
        replayed = time.process_time()
        for _ in range(asks):
            proposals.next(outcomes)
        ended = time.process_time()
        rows[mark] = {"replay": replayed - began, "ask": (ended - replayed) / asks}
    return rows


def spec_of(number: int, params: Params | None) -> Spec:
    """Return what a worker gets for a trial, with as many earlier ones to compare with as there may be."""
    settings = OWN_SETTINGS if params is None else settings_with(OWN_SETTINGS, params)
    values = tuple((-90.0 - each / 7, 5e4 + each, 3e6 + each, 1e6 + each) for each in range(MAX_COMPARED))
    return Spec(
        number=number,
        settings=settings,
        inputs=INPUTS,
        target=TARGET,
        limits=LIMITS,
        folder=Path("/shared/search/trials/0001"),
        store="s3://bucket/prefix",
        may_stop=number >= 0 and may_stop(number),
        others=values if number >= 0 else (),
    )


def sizes() -> dict[str, int]:
    """Return the bytes of what goes to a worker and comes back, as Dask pickles it, and of what is kept."""
    proposals = Proposals(SPACE, OBJECTIVES, "random", LAG, 0)
    spec = spec_of(0, proposals.next({}))
    outcome = outcome_of(spec)
    return {
        "spec without early stops": len(pickle.dumps(spec_of(BASELINE, None))),
        "spec with 200 earlier trials": len(pickle.dumps(spec)),
        "outcome": len(pickle.dumps(outcome)),
        "outcome in the study": len(json.dumps(outcome.to_dict())),
    }


def show(found: dict[str, Any]) -> None:
    """Print the tables."""
    rows = found["by_trials"]
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    print(f"| {' | '.join(['CPU ms, or bytes', *(f'{mark:,} trials' for mark in rows)])} |")
    print("|---" * (1 + len(rows)) + "|")
    for name in names:
        cells = []
        for row in rows.values():
            value = row.get(name)
            is_count = name.endswith(("bytes", "front trials"))
            cells.append("" if value is None else f"{value:,.0f}" if is_count else f"{1e3 * value:,.1f}")
        print(f"| {name} | {' | '.join(cells)} |")
    print("\n| a trial more for | CPU ms |")
    print("|---|---|")
    for name, value in found["front"].items():
        print(f"| {name} | {1e3 * value:.2f} |")
    print("\n| what | bytes |")
    print("|---|---|")
    for name, value in found["bytes"].items():
        print(f"| {name} | {value:,} |")
    print(f"\n{found['machine']}")


if __name__ == "__main__":
    main()
