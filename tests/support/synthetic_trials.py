"""Trials of a search without models: figures follow from the settings, in milliseconds."""

import hashlib
import json
import os
import time
from pathlib import Path

from pipeline.searching.objectives import Figures, Outcome


def figures_of(settings):
    """A smooth trade-off: fewer channels and more zeros make a model cheaper and, beyond a point, worse."""
    amounts = {table["method"]: table for table in settings["compress"]}
    channels = amounts.get("channels", {}).get("macs", 1.0)
    zeros = amounts.get("weights", {}).get("sparsity", 0.0)
    bits = amounts.get("low_bit", {}).get("weights", 8)
    lost = 4 * (1 - channels) ** 3 + 3 * max(zeros - 0.5, 0) ** 2 + (8 - bits) ** 2 / 20
    lost += 0.2 * (settings["quantize"]["method"] == "ptq")
    return Figures(
        metric="accuracy",
        score=93 - lost,
        drop=lost,
        robustness=80 - 2 * lost,
        worst=lost,
        size_bytes=90_000,
        size_ratio=0.3,
        download_bytes=round(80_000 * channels * (1 - 0.7 * zeros) * bits / 8),
        memory_bytes=round(30_000 * channels),
        instructions={"rpi4": round(9e6 * channels), "rpi5": round(5e6 * channels**0.8)},
    )


def trial(spec):
    """Count that it ran, in a file, and end as the settings say."""
    assert Path(spec.inputs.model.location).is_file()  # wherever the worker runs
    spec.folder.mkdir(parents=True, exist_ok=True)
    with (spec.folder / "runs").open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(float(os.environ.get("TRIAL_SECONDS", "0")))
    figures = figures_of(spec.settings)
    return Outcome(
        state="complete",
        recipe=hashlib.sha256(json.dumps(spec.settings, sort_keys=True).encode()).hexdigest()[:8],
        seconds=0.0,
        figures=figures,
        missed=spec.limits.missed(figures),
    )


def deadly(spec):
    """End the worker in trial 1, and run the others."""
    if spec.number == 1:
        os._exit(1)
    return trial(spec)
