"""Search for a candidate that beats the default recipe, and report what the search took.

Usage: python benchmarks/search/recipes.py [--trials 30] [--model zoo:resnet8] [--folder FOLDER] [--out FILE]
       python benchmarks/search/recipes.py --from FOLDER [--out FILE]

Runs ``pipeline search --target arm64`` with the user's own settings, which are the default ones; --from
reads a search that has ended or still runs, and starts nothing. Reports whether a candidate on the front
beats the own settings in two objectives and loses none, the wall time, the stage seconds that trials saved
because they share the store, and how the trials ended. Time in which a search was interrupted does not
count. The bars are one such candidate within 60 minutes on two cores, and 40 % of stage seconds saved.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from idle import machine

from pipeline.searching.front import BASELINE, baseline, beats
from pipeline.searching.objectives import Outcome, cost_ratio
from pipeline.searching.report import figure_text, seconds, short_name

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
    found = facts_of(folder)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(not show(found))


def facts_of(folder: Path) -> dict[str, Any]:
    """Return what a search has found so far."""
    raw = json.loads((folder / "search.json").read_text())
    outcomes = {int(number): Outcome.from_dict(trial) for number, trial in raw["trials"].items()}
    objectives, base = tuple(raw["objectives"]), baseline(outcomes)
    spent, saved = seconds(outcomes)
    rows = []
    for number in raw["front"]:
        figures = outcomes[number].figures
        if number == BASELINE or base is None or figures is None:
            continue
        better, worse = beats(outcomes[number], base, objectives)
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
    names = found["objectives"]
    print(f"| trial | recipe | better | worse | costs | {' | '.join(map(short_name, names))} |")
    print("|---" * (5 + len(names)) + "|")
    if found["own"]:
        own = " | ".join(figure_text(name, found["own"][name]) for name in names)
        print(f"| own | | | | 1.00x | {own} |")
    for row in sorted(found["front"], key=lambda each: each["costs"]):
        values = " | ".join(figure_text(name, row["values"][name]) for name in names)
        head = f"{row['number']} | `{row['recipe']}` | {row['better']} | {row['worse']}"
        print(f"| {head} | {row['costs']:.2f}x | {values} |")
    winners = [row["number"] for row in found["front"] if row["better"] >= MIN_BETTER and not row["worse"]]
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
