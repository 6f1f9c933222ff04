"""Compare the fronts of a learning sampler with those of random search, of the same number of trials.

Usage: python benchmarks/search/hypervolume.py [--samplers tpe,nsga2] [--trials 30] [--seeds 3] [--first 0]
           [--lag 4] [--objective NAME ...] [--out FILE]
       python benchmarks/search/hypervolume.py --real [--config FILE] [--trials 30] [--seeds 3] [--out FILE]
           [--store FOLDER] [--folder FOLDER]

By default trials are those of ``surrogate.py``, in seconds. With --real they are builds, by
``pipeline search``: as many searches as samplers times seeds, which share a store; an interrupted command
resumes in --folder.

Every sampler starts with the same known recipes, and with one seed its random trials are those of random
search, so that a pair differs only in what was learned. The hypervolume is Optuna's, over the feasible
trials: costs as a share of the user's own settings, up to 1.1, and points lost as a share of what the
gates allow, up to 1. The bar is a larger one than random search with every seed. Prints a Markdown table;
fails if the first sampler misses the bar.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from surrogate import OWN, surrogate_trial

from pipeline.config import GatesConfig
from pipeline.searching.front import BASELINE, baseline, pareto_front
from pipeline.searching.objectives import Limits, Outcome, is_maximized, objectives_of
from pipeline.searching.proposals import Proposals
from pipeline.searching.search import MAX_COMPARED
from pipeline.searching.space import STEPS, space_of
from pipeline.searching.starts import KNOWN
from pipeline.targets import get_target

if TYPE_CHECKING:
    from collections.abc import Mapping

WORST_COST = 1.1
"""Of the user's own settings: what costs more adds no volume."""
CHANCE = "random"


class Row(NamedTuple):
    """How a sampler did with one seed."""

    sampler: str
    seed: int
    hypervolume: float
    front: int
    complete: int
    stopped: int
    refused: int


def main() -> None:
    parser = argparse.ArgumentParser(description="Hypervolume of samplers and of random search.")
    parser.add_argument("--samplers", default="tpe,nsga2")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="First seed.")
    parser.add_argument("--lag", type=int, default=4)
    parser.add_argument("--target", default="arm64")
    parser.add_argument("--objective", action="append", default=[])
    parser.add_argument("--real", action="store_true", help="Run builds.")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("hypervolume"))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    samplers = [*options.samplers.split(","), CHANCE]
    objectives = objectives_of(get_target(options.target), tuple(options.objective))
    seeds = range(options.first, options.first + options.seeds)
    rows = []
    for seed in seeds:
        for sampler in samplers:
            outcomes = searched(sampler, seed, options) if options.real else simulated(sampler, seed, options)
            rows.append(_row(sampler, seed, outcomes, objectives))
    if options.out:
        options.out.write_text(json.dumps([row._asdict() for row in rows], indent=1) + "\n")
    sys.exit(not show(rows, samplers[:-1]))


def simulated(sampler: str, seed: int, options: argparse.Namespace) -> dict[int, Outcome]:
    """Search with the surrogate, as the driver does."""
    target = get_target(options.target)
    objectives = objectives_of(target, tuple(options.objective))
    limits = Limits.of(GatesConfig(), None)
    proposals = Proposals(space_of(STEPS), objectives, sampler, options.lag, seed)
    outcomes = {BASELINE: surrogate_trial(BASELINE, OWN, {}, limits, is_known=True)}
    for number in range(options.trials):
        given = KNOWN[number] if number < len(KNOWN) else None
        params = proposals.next(outcomes, given)
        visible = range(max(number - options.lag + 1, 0))[-MAX_COMPARED:]
        earlier = {each: outcomes[each] for each in visible}
        outcomes[number] = surrogate_trial(number, params, earlier, limits, is_known=given is not None)
    return outcomes


def searched(sampler: str, seed: int, options: argparse.Namespace) -> dict[int, Outcome]:
    """Search with builds, by the command; one that has ended already is read."""
    out = options.folder / f"{sampler}-{seed}"
    command: list[Any] = [
        Path(sys.executable).with_name("pipeline"), "search", "--target", options.target, "--out", out,
        "--trials", options.trials, "--seed", seed, "--sampler", sampler, "--validate", 1,
        "--store", options.store or options.folder / "store",
    ]  # fmt: skip
    command += ["--config", options.config] if options.config else []
    for objective in options.objective:
        command += ["--objective", objective]
    run = subprocess.run(list(map(str, command)), stdout=subprocess.DEVNULL, check=False)
    if run.returncode not in {0, 1}:  # 1: no candidate passed its gates, which does not matter here
        sys.exit(run.returncode)
    found = json.loads((out / "search.json").read_text())
    return {int(number): Outcome.from_dict(trial) for number, trial in found["trials"].items()}


def hypervolume(outcomes: Mapping[int, Outcome], objectives: tuple[str, ...]) -> float:
    """Return the volume that the front dominates, up to the worst point that counts."""
    from optuna._hypervolume import compute_hypervolume  # Optuna has no public function of it

    base, limits = baseline(outcomes), GatesConfig()
    assert base is not None
    allowed = {"score": limits.accuracy_drop_points, "robustness": limits.shift_drop_points}
    points = []
    for number in pareto_front({each: outcomes[each] for each in outcomes if each != BASELINE}, objectives):
        figures = outcomes[number].figures
        assert figures is not None
        points.append(
            [
                (base.of(name) - figures.of(name)) / allowed[name]
                if is_maximized(name)
                else figures.of(name) / base.of(name)
                for name in objectives
            ]
        )
    worst = np.array([1.0 if is_maximized(name) else WORST_COST for name in objectives])
    kept = np.array([point for point in points if np.all(point <= worst)])
    return float(compute_hypervolume(kept, worst)) if len(kept) else 0.0


def _row(sampler: str, seed: int, outcomes: Mapping[int, Outcome], objectives: tuple[str, ...]) -> Row:
    states = [outcome.state for number, outcome in outcomes.items() if number != BASELINE]
    return Row(
        sampler, seed, hypervolume(outcomes, objectives), len(pareto_front(outcomes, objectives)),
        *(states.count(state) for state in ("complete", "stopped", "refused")),
    )  # fmt: skip


def show(rows: list[Row], samplers: list[str]) -> bool:
    """Print the rows; return whether the first sampler has the larger volume with every seed."""
    print("| sampler | seed | hypervolume | of random | front | complete | stopped | refused |")
    print("|---|---|---|---|---|---|---|---|")
    chance = {row.seed: row.hypervolume for row in rows if row.sampler == CHANCE}
    for row in rows:
        ratio = f"{row.hypervolume / chance[row.seed]:.2f}x" if chance[row.seed] else ""
        cells = (row.sampler, row.seed, f"{row.hypervolume:.4f}", ratio, *row[3:])
        print(f"| {' | '.join(map(str, cells))} |")
    print()
    wins = {
        sampler: sum(row.hypervolume > chance[row.seed] for row in rows if row.sampler == sampler)
        for sampler in samplers
    }
    for sampler, count in wins.items():
        print(f"{sampler}: larger than random search with {count} of {len(chance)} seeds")
    return wins[samplers[0]] == len(chance)


if __name__ == "__main__":
    main()
