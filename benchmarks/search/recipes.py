"""Search for a candidate that beats the default recipe, and report what the search took.

Usage: python benchmarks/search/recipes.py [--trials 30] [--model zoo:resnet8] [--folder FOLDER] [--out FILE]
       python benchmarks/search/recipes.py --from FOLDER [--out FILE]

Runs ``pipeline search --target arm64`` with the user's own settings, which are the default ones; --from
reads a search that has ended or still runs, and starts nothing. Reports whether a candidate on the front
beats the own settings in two objectives and loses none, the wall time, the stage seconds that trials saved
because they share the store, and how the trials ended. A score or robustness is better or worse only if the
paired 95 % interval of the difference says so, on the samples that the search judges on. Time in which a
search was interrupted does not count. The bars are one such candidate within 60 minutes on two
cores, and 40 % of stage seconds saved.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from idle import machine

from pipeline.loading.load import load_data
from pipeline.preparation.prepare import prepare_model
from pipeline.quantize.candidates import answers_of
from pipeline.quantize.metadata import add_metadata
from pipeline.run import recorded, recorded_store
from pipeline.searching.front import BASELINE, baseline, beats
from pipeline.searching.objectives import Outcome, cost_ratio
from pipeline.searching.report import figure_text, seconds, short_name
from pipeline.store import Store
from pipeline.training.evidence import Evidence

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.searching.objectives import Figures
    from pipeline.training.evidence import Answers, Gains

MAX_MINUTES, MIN_SAVED, MIN_BETTER = 60, 0.40, 2


def main() -> None:
    parser = argparse.ArgumentParser(description="A search on the default model.")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--model")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("search-benchmark"))
    parser.add_argument("--from", dest="given", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    folder = options.given or options.folder / "search"
    if options.given is None:
        words: list[Any] = [
            Path(sys.executable).with_name("pipeline"), "search", "--target", "arm64", "--out", folder,
            "--store", options.folder / "store", "--trials", options.trials, "--workers", options.workers,
            "--seed", options.seed, *(["--model", options.model] if options.model else []),
        ]  # fmt: skip
        subprocess.run(list(map(str, words)), stdout=subprocess.DEVNULL, check=False)
    if not (folder / "search.json").exists():
        sys.exit(f"{folder}: no search.json; no trial has ended there")
    found = facts_of(folder, gains_over_own(folder))
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(not show(found))


def facts_of(folder: Path, gains: Callable[[int], Gains]) -> dict[str, Any]:
    """Return what a search has found so far; gains: of a trial over the user's own settings."""
    raw = json.loads((folder / "search.json").read_text())
    outcomes = {int(number): Outcome.from_dict(trial) for number, trial in raw["trials"].items()}
    objectives, base = tuple(raw["objectives"]), baseline(outcomes)
    spent, saved = seconds(outcomes)
    rows = []
    for number in raw["front"]:
        figures = outcomes[number].figures
        if number == BASELINE or base is None or figures is None:
            continue
        better, worse = compare(outcomes[number], base, objectives, gains(number))
        rows.append(
            {
                "number": number,
                "recipe": outcomes[number].recipe,
                "better": better,
                "worse": worse,
                "costs": cost_ratio(figures, base, objectives),
                "values": dict(zip(objectives, outcomes[number].values(objectives), strict=True)),
            }
        )
    return {
        "objectives": objectives,
        "own": None if base is None else {name: base.of(name) for name in objectives},
        "trials": len(outcomes.keys() - {BASELINE}),
        "states": dict(Counter(each.state for number, each in outcomes.items() if number != BASELINE)),
        "front": rows,
        "chosen": raw["chosen"],
        "validated": raw["validated"],
        "minutes": minutes(folder / "events.jsonl"),
        "stage_seconds": spent,
        "saved_seconds": saved,
        "machine": machine(),
    }


def gains_over_own(folder: Path) -> Callable[[int], Gains]:
    """Return a function that compares a trial with the user's own settings on the samples of the search.

    It reads nothing before it is called: a search that runs may not have judged them yet.
    """

    @cache
    def judged() -> tuple[Store, Evidence, Answers]:
        own = folder / "trials" / "own"
        store = Store(recorded_store(own))
        [data, *_], [prepared, *_] = recorded(own, store, load_data), recorded(own, store, prepare_model)
        evidence = Evidence.of(data, prepared.keras)
        return store, evidence, answers(own, store, evidence)

    def answers(trial: Path, store: Store, evidence: Evidence) -> Answers:
        [*_, quantized] = recorded(trial, store, add_metadata)
        return answers_of(quantized, evidence)

    def gains(number: int) -> Gains:
        store, evidence, own = judged()
        return evidence.gains(own, answers(folder / "trials" / f"{number:04}", store, evidence))

    return gains


def compare(
    outcome: Outcome, base: Figures, objectives: tuple[str, ...], gains: Gains
) -> tuple[list[str], list[str]]:
    """Return the objectives in which a trial is better than other figures, and those in which it is worse."""
    shown = {"score": gains.clean, "robustness": gains.corrupted}
    better, worse = [], []
    for name in objectives:
        is_better, is_worse = map(bool, beats(outcome, base, (name,)))
        if (gain := shown.get(name)) is not None:
            is_better, is_worse = gain.low > 0, gain.high < 0
        better += [name] * is_better
        worse += [name] * is_worse
    return better, worse


def minutes(events: Path) -> float:
    """Return the minutes in which a search ran, by its events: from each start to the last event after it."""
    sessions: list[list[float]] = []
    for line in events.read_text().splitlines():
        row = json.loads(line)
        if not sessions or (row["event"] == "progress" and row["task"] == "search" and not row["seconds"]):
            sessions.append([])
        sessions[-1].append(datetime.fromisoformat(row["time"]).timestamp())
    return sum(times[-1] - times[0] for times in sessions) / 60


def show(found: dict[str, Any]) -> bool:
    """Print the front and the figures beside their bars; return whether all are kept."""
    names, rows = found["objectives"], found["front"]
    heads = ("trial", "recipe", "better", "worse", "costs", *map(short_name, names))
    print(f"| {' | '.join(heads)} |")
    print("|---" * len(heads) + "|")
    if found["own"]:
        own = " | ".join(figure_text(name, found["own"][name]) for name in names)
        print(f"| own | | | | 1.00x | {own} |")
    for row in sorted(rows, key=lambda each: each["costs"]):
        values = " | ".join(figure_text(name, row["values"][name]) for name in names)
        better, worse = (", ".join(row[which]) for which in ("better", "worse"))
        head = f"{row['number']} | `{row['recipe']}` | {better} | {worse}"
        print(f"| {head} | {row['costs']:.2f}x | {values} |")
    winners = [row["number"] for row in rows if len(row["better"]) >= MIN_BETTER and not row["worse"]]
    total = found["stage_seconds"] + found["saved_seconds"]
    share = found["saved_seconds"] / total if total else 0.0
    bars = [
        ("candidates that are better in two figures and worse in none", winners or "none", bool(winners)),
        (f"minutes, at most {MAX_MINUTES}", f"{found['minutes']:.1f}", found["minutes"] <= MAX_MINUTES),
        (
            f"stage seconds saved, at least {MIN_SAVED:.0%}",
            f"{share:.0%} of {total:,.0f}",
            share >= MIN_SAVED,
        ),
    ]
    print("\n| what | measured | kept |")
    print("|---|---|---|")
    for what, value, is_kept in bars:
        print(f"| {what} | {value} | {'yes' if is_kept else 'no'} |")
    states = ", ".join(f"{count} {state}" for state, count in found["states"].items())
    print(f"\n{found['trials']} trials: {states}; {found['machine']}")
    return all(is_kept for _, _, is_kept in bars)


if __name__ == "__main__":
    main()
