"""Simulate how busy the workers of a search are, if no trial begins before the one LAG earlier has ended.

Usage: python benchmarks/search/utilization.py [--workers 2,100,1000] [--lags 2,3,4,8] [--trials 40]

A search asks for trial K only after the trials up to K - LAG have ended, so that its proposals depend on
nothing else; a trial that takes long then leaves workers idle. LAG is given in multiples of the workers,
and so are the trials. Durations are simulated, not measured: log-normal, with a spread of 0.5 (95 % of
the trials within a factor of 2.7 of the median) and of 1.0 (a factor of 7). Prints the share of the time
in which workers compute.
"""

from __future__ import annotations

import argparse
import heapq
import json
from pathlib import Path

import numpy as np

SPREADS = (0.5, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description="Share of the time in which workers compute.")
    parser.add_argument("--workers", default="2,100,1000")
    parser.add_argument("--lags", default="2,3,4,8", help="Open trials for each worker.")
    parser.add_argument("--trials", type=int, default=40, help="For each worker.")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lags = [int(each) for each in options.lags.split(",")]
    rows = {
        f"{workers:,}, {spread}": {
            lag: utilization(workers, lag * workers, options.trials, spread) for lag in lags
        }
        for workers in map(int, options.workers.split(","))
        for spread in SPREADS
    }
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"| workers, spread | {' | '.join(f'{lag} open for each' for lag in lags)} |")
    print("|---" * (1 + len(lags)) + "|")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(f'{share:.0%}' for share in row.values())} |")


def utilization(workers: int, lag: int, rounds: int, spread: float, seed: int = 0) -> float:
    """Return the share of the time in which workers compute, up to the last trial that can begin at once."""
    dice = np.random.default_rng(seed)
    durations = dice.lognormal(0, spread, rounds * workers)
    free = [0.0] * workers  # when each worker is free
    first_ended: list[float] = []  # when all trials up to one have ended
    for number, duration in enumerate(durations):
        allowed = first_ended[number - lag] if number >= lag else 0.0
        ended = max(heapq.heappop(free), allowed) + duration
        heapq.heappush(free, ended)
        first_ended.append(max(ended, first_ended[-1] if first_ended else 0.0))
    return float(sum(durations) / (workers * np.mean(free)))


if __name__ == "__main__":
    main()
