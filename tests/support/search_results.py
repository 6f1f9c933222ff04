"""Results of searches that were not run, for their views."""

from __future__ import annotations

import random
from pathlib import Path

from pipeline.searching.front import BASELINE, by_cost, pareto_front
from pipeline.searching.objectives import Figures, Outcome
from pipeline.searching.result import Found, Validated

STOPPED = "after 33% of the training a third of the trials were better in every figure"
REFUSED = "prune_channels: layer 'block_7_depthwise': 3 of 32 channels are fewer than its groups need"
OBJECTIVES = ("score", "robustness", "download", "memory", "rpi4 instructions", "rpi5 instructions")


def figures(channels=1.0, zeros=0.5, noise=0.0):
    """What is left of a model with so many channels and zeros."""
    lost = 9 * max(0.55 - channels, 0) ** 1.5 + 60 * max(zeros - 0.75, 0) ** 2 + noise
    return Figures(
        metric="accuracy",
        score=94.2 - lost,
        drop=lost,
        robustness=81 - 2 * lost,
        worst=2 * lost,
        size_bytes=round(320_000 * channels),
        size_ratio=0.28 * channels,
        download_bytes=round(260_000 * channels**1.6 * (1 - 0.8 * zeros)),
        memory_bytes=round(49_152 * channels),
        instructions={"rpi4": round(31e6 * channels**1.4), "rpi5": round(14e6 * channels**1.2)},
    )


def outcome(recipe="channels50-qat8", state="complete", reason="", missed=None, steps=(), **amounts):
    """How one trial ended."""
    return Outcome(
        state=state,
        recipe=recipe,
        seconds=61.4,
        reason=reason,
        figures=figures(**amounts) if state == "complete" else None,
        missed=missed or {"drop": -0.2, "shift": -0.5, "size ratio": -0.1},
        steps=steps,
        worker="board-1",
    )


def steps(number):
    """Stages of a trial; all but its own come from the store after the first."""
    seconds = 1.0 if number else 14.0
    shared = [
        {"stage": stage, "key": "shared", "digest": "", "cached": number > 0, "seconds": seconds}
        for stage in ("load_model", "prepare_model", "convert_float")
    ]
    own = {"stage": "prune_channels", "key": f"{number // 2}", "digest": "", "cached": bool(number % 2)}
    return (*shared, own | {"seconds": 44.0 if number % 2 == 0 else 0.1})


def search_result(trials=40, seed=3, folder=Path("search"), objectives=OBJECTIVES):
    """A search of which some trials were stopped, refused or beyond a limit."""
    dice = random.Random(seed)
    outcomes = {BASELINE: outcome("weights50-qat8", steps=steps(0))}
    for number in range(trials):
        channels, zeros = dice.uniform(0.1, 1), dice.choice([0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
        recipe = f"channels{100 * channels:.0f}-low_rank97-weights{100 * zeros:.0f}-qat8"
        if number % 7 == 5:
            outcomes[number] = outcome(recipe, "stopped", STOPPED, steps=steps(number))
        elif number % 11 == 9:
            outcomes[number] = outcome(recipe, "refused", REFUSED, steps=steps(number))
        else:
            noise = dice.expovariate(1.5) + (45 if number == 12 else 0)
            lost = figures(channels, zeros, noise).drop
            missed = {"drop": lost / 2 - 1, "shift": lost / 4 - 1, "size ratio": -0.1}
            outcomes[number] = outcome(
                recipe, missed=missed, steps=steps(number), channels=channels, zeros=zeros, noise=noise
            )
    front = pareto_front(outcomes, objectives)
    built = by_cost(front, outcomes, objectives)[:3]
    return Found(
        objectives=objectives,
        outcomes=outcomes,
        front=tuple(front),
        validated=tuple(
            Validated(number=number, folder=folder / "front" / f"{number:04d}", digest="5e" * 32)
            if place or len(built) == 1
            else Validated(number=number, folder=folder, problem="gate accuracy failed: -1.31 points")
            for place, number in enumerate(built)
        ),
        chosen=built[:2][-1],
        folder=folder,
    )
